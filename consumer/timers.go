package consumer

import (
	"container/heap"
	"slices"
	"sync"
	"time"
)

// timers wakes lanes when they are due, and assignments whose records waited long
// enough for others to make a batch with, with one timer for all.
type timers struct {
	mu     sync.Mutex
	heap   dueHeap
	timer  *time.Timer
	closed bool
}

// due is kept small: there is one for each key that waits.
type due struct {
	at         int64 // in ns since 1970
	lane       *lane // nil for the wait for a batch
	assignment *assignment
}

// add has the assignment woken at the given time.
func (t *timers) add(d due) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	first := len(t.heap) == 0 || d.at < t.heap[0].at
	heap.Push(&t.heap, d)
	if first {
		t.arm()
	}
}

// remove takes back what wakes lanes, and returns those that it did so for: the others
// are being woken.
func (t *timers) remove(lanes []*lane) (removed []*lane) {
	of := make(map[*lane]bool, len(lanes))
	for _, l := range lanes {
		of[l] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := slices.DeleteFunc(t.heap, func(d due) bool {
		if of[d.lane] {
			removed = append(removed, d.lane)
		}
		return of[d.lane]
	})
	t.heap = kept
	heap.Init(&t.heap)
	return removed
}

func (t *timers) arm() {
	wait := time.Until(time.Unix(0, t.heap[0].at))
	if t.timer == nil {
		t.timer = time.AfterFunc(wait, t.fire)
		return
	}
	t.timer.Reset(wait)
}

func (t *timers) fire() {
	dues := t.take(time.Now())
	for len(dues) > 0 {
		n := 1 // those of one assignment that are due together run together in a batch
		for n < len(dues) && dues[n].assignment == dues[0].assignment {
			n++
		}
		dues[0].assignment.wake(dues[:n])
		dues = dues[n:]
	}
}

func (t *timers) take(now time.Time) (dues []due) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.heap) > 0 && t.heap[0].at <= now.UnixNano() {
		d, _ := heap.Pop(&t.heap).(due)
		dues = append(dues, d)
	}
	if len(t.heap) > 0 && !t.closed {
		t.arm()
	}
	return dues
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
func (h dueHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { d, _ := x.(due); *h = append(*h, d) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = due{}
	*h = old[:len(old)-1]
	return last
}
