package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// Recorder notes events in the order in which they are recorded. It is safe for
// concurrent use.
type Recorder struct {
	mu     sync.Mutex
	last   int64
	events []Event  // in memory
	file   *os.File // or in a file
	err    error    // the first one
}

// NewRecorder returns a recorder that keeps events in memory.
func NewRecorder() *Recorder { return &Recorder{} }

// Create returns a recorder that appends to a file. Each event is with the
// operating system when Record returns, so it is there after a kill -9 too.
func Create(path string) (*Recorder, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("history: opening a file to record in: %w", err)
	}
	return &Recorder{file: f}, nil
}

// Record notes e. Without a time it happens now, and after whatever this recorder
// noted before. After an error every later call returns it: what is recorded after
// a gap would be misleading.
func (r *Recorder) Record(e Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	if e.At == 0 {
		e.At = max(time.Now().UnixNano(), r.last) // the wall clock may be set back
	}
	r.last = max(r.last, e.At)
	if r.file == nil {
		r.events = append(r.events, e)
		return nil
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = r.file.Write(append(line, '\n'))
	}
	if err != nil {
		r.err = fmt.Errorf("history: recording: %w", err)
	}
	return r.err
}

// Events are those that were recorded in memory so far.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Close closes the file, if any. The error is the first of all. Nothing can be
// recorded afterwards.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.err
	if r.file != nil {
		if err := r.file.Close(); err != nil && first == nil {
			first = fmt.Errorf("history: closing the file: %w", err)
		}
	}
	r.err = errors.Join(first, errors.New("history: recording: the recorder is closed"))
	return first
}
