package consumer

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBatchErrorMerge(t *testing.T) {
	t.Parallel()
	var inner BatchError
	inner.Fail(1, errTest)
	inner.Fail(0, nil)
	outer := &BatchError{}
	outer.Fail(0, errGoexit)
	err := outer.merge([]int{1, 2}, inner.Err())
	require.ErrorContains(t, err, "2 records of the batch failed, the first at index 0")
	require.Equal(t, map[int]error{0: errGoexit, 2: errTest}, outer.failed)
	require.NoError(t, (&BatchError{}).merge([]int{0}, nil))
	require.ErrorContains(t, (&BatchError{}).merge([]int{5}, &BatchError{failed: map[int]error{1: errTest}}), "index 1 of 1 records")
}
