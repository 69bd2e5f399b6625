package consumer

import (
	"container/heap"
	"sync"
	"time"
)

// timers wakes lanes when they are due, with one timer for all.
type timers struct {
	mu     sync.Mutex
	heap   dueHeap
	timer  *time.Timer
	closed bool
}

type due struct {
	at   time.Time
	lane *lane
}

// add wakes l at the given time; waking a lane that is not waiting any more does
// nothing.
func (t *timers) add(l *lane, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	heap.Push(&t.heap, due{at, l})
	if t.heap[0].lane == l {
		t.arm()
	}
}

func (t *timers) arm() {
	wait := time.Until(t.heap[0].at)
	if t.timer == nil {
		t.timer = time.AfterFunc(wait, t.fire)
		return
	}
	t.timer.Reset(wait)
}

func (t *timers) fire() {
	for _, l := range t.take(time.Now()) {
		l.assignment.wake()
	}
}

func (t *timers) take(now time.Time) []*lane {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lanes []*lane
	for len(t.heap) > 0 && !t.heap[0].at.After(now) {
		d, _ := heap.Pop(&t.heap).(due)
		lanes = append(lanes, d.lane)
	}
	if len(t.heap) > 0 && !t.closed {
		t.arm()
	}
	return lanes
}

func (t *timers) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.heap = true, nil
	if t.timer != nil {
		t.timer.Stop()
	}
}

// dueHeap implements heap.Interface, the earliest on top.
type dueHeap []due

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { d, _ := x.(due); *h = append(*h, d) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = due{}
	*h = old[:len(old)-1]
	return last
}
