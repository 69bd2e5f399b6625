package integration

import (
	"context"
	"sync"
	"time"
)

// shared is something that all tests of a run use. It is started when one first
// asks for it, and not again if that fails.
type shared[T interface{ remove(context.Context) error }] struct {
	start  func(context.Context) (T, error)
	within time.Duration

	once    sync.Once
	started bool
	it      T
	err     error
}

func (s *shared[T]) get() (T, error) {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.within)
		defer cancel()
		s.it, s.err = s.start(ctx)
		s.started = s.err == nil
	})
	return s.it, s.err
}

func (s *shared[T]) close(ctx context.Context) error {
	if !s.started {
		return nil
	}
	return s.it.remove(ctx)
}
