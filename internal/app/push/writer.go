package push

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

// errLimit is why Run stops at --limit.
var errLimit = errors.New("the limit is reached")

// writer writes records to standard output. A batch is handled once all of it is
// written and flushed.
type writer struct {
	format format
	stop   context.CancelCauseFunc

	mu      sync.Mutex // held while a write goes on, which may be for ever
	out     *bufio.Writer
	limit   int64 // 0 = none
	written int64
	line    []byte

	failed atomic.Pointer[error]
}

func newWriter(out io.Writer, f format, limit int64, stop context.CancelCauseFunc) *writer {
	return &writer{format: f, stop: stop, out: bufio.NewWriterSize(out, 64<<10), limit: limit}
}

// notNow keeps a record unfinished, for the group's next member: this one is
// about to stop.
func notNow() error { return duplex.Snooze(100 * time.Millisecond) }

// write is the handler.
func (w *writer) write(_ context.Context, records []*kgo.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err() != nil {
		return notNow()
	}
	n := len(records)
	if w.limit > 0 {
		n = int(min(int64(n), w.limit-w.written))
	}
	for _, r := range records[:n] {
		w.line = w.format(w.line[:0], r)
		if _, err := w.out.Write(w.line); err != nil {
			return w.broken(err)
		}
	}
	if err := w.out.Flush(); err != nil {
		return w.broken(err)
	}
	w.written += int64(n)
	if w.limit > 0 && w.written >= w.limit {
		w.stop(errLimit)
	}
	var rest consumer.BatchError
	for i := n; i < len(records); i++ {
		rest.Fail(i, notNow())
	}
	return rest.Err()
}

func (w *writer) broken(err error) error {
	err = fmt.Errorf("writing to standard output: %w; what was not written is not committed", err)
	w.failed.Store(&err)
	w.stop(err)
	return notNow()
}

// err is why nothing more can be written, nil if nothing is known against it. It
// does not wait for a write that is under way.
func (w *writer) err() error {
	if err := w.failed.Load(); err != nil {
		return *err
	}
	return nil
}
