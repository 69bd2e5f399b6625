package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

// worker does jobs and remembers every attempt.
type worker struct {
	queue string
	done  func() // called after the last job

	mu       sync.Mutex
	attempts []string
}

// work is the handler; what it returns is the verdict on the job.
func (w *worker) work(ctx context.Context, j job) error {
	if j.Queue != w.queue {
		return nil // of another run
	}
	attempt := consumer.FromContext(ctx).Attempt
	w.mu.Lock()
	w.attempts = append(w.attempts, fmt.Sprint(j.Name, " ", attempt))
	w.mu.Unlock()
	switch {
	case j.Name == "upload" && attempt == 1:
		return w.say(j, attempt, "connection reset, again with backoff", errors.New("connection reset"))
	case j.Name == "invoice" && attempt < 3:
		busy := errors.New("the printer is busy")
		return w.say(j, attempt, "the printer is busy, again in 50 ms", duplex.RetryAfter(50*time.Millisecond, busy))
	case j.Name == "unreadable":
		return w.say(j, attempt, "makes no sense, dropped", duplex.Drop("no such job"))
	case j.Name == "mail":
		defer w.done()
	}
	return w.say(j, attempt, "done", nil)
}

func (*worker) say(j job, attempt int, what string, verdict error) error {
	fmt.Printf("%s, attempt %d: %s\n", j.Name, attempt, what)
	return verdict
}

func (w *worker) check(want ...string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.attempts, want) {
		return fmt.Errorf("the attempts were %q, want %q", w.attempts, want)
	}
	fmt.Println("every job has its verdict, in the order of the queue")
	return nil
}
