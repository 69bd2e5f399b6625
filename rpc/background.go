package rpc

import "sync"

// background is what a client does beside its calls, and is waited for when it is closed.
type background struct {
	mu    sync.Mutex
	ended bool
	group sync.WaitGroup
}

// run runs fn on a goroutine of its own, unless wait was called.
func (b *background) run(fn func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.group.Go(fn)
	}
}

func (b *background) wait() {
	b.mu.Lock()
	b.ended = true
	b.mu.Unlock()
	b.group.Wait()
}
