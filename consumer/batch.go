package consumer

import (
	"errors"
	"fmt"
)

// BatchError says which records of a batch failed; the others are handled. The
// zero value is ready to use:
//
//	var failed consumer.BatchError
//	for i, v := range values {
//		if err := store(v); err != nil {
//			failed.Fail(i, err)
//		}
//	}
//	return failed.Err()
//
// It is not safe for concurrent use.
type BatchError struct {
	failed map[int]error
}

// Fail notes that the i-th record of the batch, counted from 0, failed with err,
// which may be a verdict. A nil err is ignored; the last call for an i wins.
func (e *BatchError) Fail(i int, err error) {
	if err == nil {
		return
	}
	if e.failed == nil {
		e.failed = map[int]error{}
	}
	e.failed[i] = err
}

// Err returns e if any record failed, and nil otherwise.
func (e *BatchError) Err() error {
	if len(e.failed) == 0 {
		return nil
	}
	return e
}

// Error names the first failure and how many there are.
func (e *BatchError) Error() string {
	first := -1
	for i := range e.failed {
		if first < 0 || i < first {
			first = i
		}
	}
	if first < 0 {
		return "no record of the batch failed"
	}
	return fmt.Sprintf("%d records of the batch failed, the first at index %d: %v", len(e.failed), first, e.failed[first])
}

// merge adds the result of a handler that saw only the records at the given
// places.
func (e *BatchError) merge(at []int, err error) error {
	if be, ok := errors.AsType[*BatchError](err); ok {
		for i, cause := range be.failed {
			if i < 0 || i >= len(at) {
				return fmt.Errorf("consumer: handling a batch: BatchError names index %d of %d records", i, len(at))
			}
			e.Fail(at[i], cause)
		}
		return e.Err()
	}
	if err == nil {
		return e.Err()
	}
	for _, i := range at {
		e.Fail(i, err)
	}
	return e
}
