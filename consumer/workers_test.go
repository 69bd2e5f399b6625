package consumer

import (
	"sync"
	"sync/atomic"
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
		turns := map[*assignment]int{}
		var p *pool
		p = newPool(4, func(_ *worker, a *assignment) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			running--
			turns[a]++
			if turns[a] < 10 {
				p.add(a)
			}
		})
		assignments := make([]assignment, 12)
		for i := range assignments {
			p.add(&assignments[i])
		}
		// 12 assignments × 10 turns of 1 ms on 4 workers: if they take turns, all are
		// near the same count at any time.
		time.Sleep(15*time.Millisecond + time.Microsecond)
		synctest.Wait()
		mu.Lock()
		least, top := 1000, 0
		for i := range assignments {
			least, top = min(least, turns[&assignments[i]]), max(top, turns[&assignments[i]])
		}
		mu.Unlock()
		require.LessOrEqual(t, top-least, 1, "assignments did not take turns")
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		for i := range assignments {
			require.Equal(t, 10, turns[&assignments[i]])
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
		p := newPool(1, func(_ *worker, a *assignment) {
			ran++
			if a.partition == 1 {
				goexit()
			}
		})
		p.add(&assignment{partition: 1})
		p.add(&assignment{partition: 2})
		synctest.Wait()
		require.Equal(t, 2, ran)
		p.close()
		p.done.Wait()
	})
}

// Workers stay for a moment, because work comes in bursts, and go when there is none.
func TestPoolKeepsWorkersForAMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ran atomic.Int64
		p := newPool(1000, func(*worker, *assignment) {
			ran.Add(1)
			time.Sleep(10 * time.Millisecond)
		})
		burst := func() {
			for range 1000 {
				p.add(&assignment{})
			}
		}
		started := func() int {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.workers
		}
		for range 50 {
			burst()
			time.Sleep(100 * time.Millisecond)
			require.Equal(t, 1000, started())
		}
		require.Equal(t, int64(50_000), ran.Load())
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, keptIdle, started())
		for range 100 { // a trickle needs few
			p.add(&assignment{})
			time.Sleep(50 * time.Millisecond)
		}
		require.LessOrEqual(t, started(), keptIdle)
		burst()
		time.Sleep(time.Second)
		require.Equal(t, int64(51_100), ran.Load())
		p.close()
		p.done.Wait()
		require.Zero(t, started())
	})
}
