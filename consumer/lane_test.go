package consumer

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPoolTakesTurnsAndKeepsItsLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		turns := map[*lane]int{}
		var p *pool
		p = newPool(4, func(_ *worker, l *lane) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			running--
			turns[l]++
			if turns[l] < 10 {
				p.add(l)
			}
		})
		lanes := make([]lane, 12)
		for i := range lanes {
			p.add(&lanes[i])
		}
		// 12 lanes × 10 turns of 1 ms on 4 workers: if lanes take turns, all are
		// near the same count at any time.
		time.Sleep(15*time.Millisecond + time.Microsecond)
		synctest.Wait()
		mu.Lock()
		least, top := 1000, 0
		for i := range lanes {
			least, top = min(least, turns[&lanes[i]]), max(top, turns[&lanes[i]])
		}
		mu.Unlock()
		require.LessOrEqual(t, top-least, 1, "lanes did not take turns")
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		for i := range lanes {
			require.Equal(t, 10, turns[&lanes[i]])
		}
		require.Equal(t, 4, most)
		p.close()
		p.done.Wait()
	})
}

func TestPoolReplacesAWorkerThatEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ran := 0
		p := newPool(1, func(_ *worker, l *lane) {
			ran++
			if l.attempt == 1 {
				goexit()
			}
		})
		p.add(&lane{attempt: 1})
		p.add(&lane{attempt: 2})
		synctest.Wait()
		require.Equal(t, 2, ran)
		p.close()
		p.done.Wait()
	})
}

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
