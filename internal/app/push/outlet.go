package push

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

const (
	// maxHeld is how much of one command's output is held back until it ends.
	maxHeld = 1 << 20
	// maxLine is where a line on standard error is broken.
	maxLine = 8 << 10
	// maxExcerpt is how much of a command's last words goes into its error.
	maxExcerpt = 200
)

// outlet is standard output, which commands that run at once share: what each
// writes stays in one piece.
type outlet struct {
	out    io.Writer
	turn   chan struct{} // has room for whoever writes
	failed atomic.Pointer[error]
}

func newOutlet(out io.Writer) *outlet { return &outlet{out: out, turn: make(chan struct{}, 1)} }

// err is why nothing more can be written, nil if nothing is known against it.
func (o *outlet) err() error {
	if err := o.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (o *outlet) write(b []byte) error {
	if err := o.err(); err != nil {
		return err
	}
	n, err := o.out.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		err = fmt.Errorf("writing to standard output: %w; what was not written is not committed", err)
		o.failed.CompareAndSwap(nil, &err)
		return o.err()
	}
	return nil
}

// piece is the output of one command. Up to maxHeld it waits for the end of the
// command; a command that writes more takes the outlet for itself until it ends.
type piece struct {
	outlet *outlet
	ctx    context.Context //nolint:containedctx // io.Writer has none, and this one lives as long as the command
	held   bytes.Buffer
	mine   bool // the turn is ours
}

// Write implements io.Writer.
func (p *piece) Write(b []byte) (int, error) {
	if !p.mine && p.held.Len()+len(b) <= maxHeld {
		return p.held.Write(b)
	}
	if err := p.flush(); err != nil {
		return 0, err
	}
	if err := p.outlet.write(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// flush writes what is held and keeps the turn.
func (p *piece) flush() error {
	if !p.mine {
		select {
		case p.outlet.turn <- struct{}{}:
		default:
			select {
			case p.outlet.turn <- struct{}{}:
			case <-p.ctx.Done():
				return p.ctx.Err()
			}
		}
		p.mine = true
	}
	if p.held.Len() == 0 {
		return nil
	}
	err := p.outlet.write(p.held.Bytes())
	p.held = bytes.Buffer{}
	return err
}

// end writes what is left and gives the turn back.
func (p *piece) end() error {
	var err error
	if p.held.Len() > 0 {
		err = p.flush()
	}
	if p.mine {
		<-p.outlet.turn
	}
	return err
}

// lineWriter passes on whole lines, each behind a prefix that says whose it is. A
// line that is too long is broken.
type lineWriter struct {
	mu     sync.Mutex
	to     io.Writer
	prefix string
	line   []byte
	last   string // the start of the last line that was not empty
}

// Write implements io.Writer. It never fails: nobody is left to be told.
func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for rest := b; len(rest) > 0; {
		room := rest[:min(len(rest), maxLine-len(w.line))]
		if i := bytes.IndexByte(room, '\n'); i >= 0 {
			w.line = append(w.line, room[:i]...)
			rest = rest[i+1:]
			w.pass()
			continue
		}
		w.line = append(w.line, room...)
		rest = rest[len(room):]
		if len(w.line) == maxLine {
			w.pass()
		}
	}
	return len(b), nil
}

func (w *lineWriter) pass() {
	if text := bytes.TrimSpace(w.line); len(text) > 0 {
		w.last = string(bytes.ToValidUTF8(text[:min(len(text), maxExcerpt)], []byte("\ufffd")))
	}
	whole := append([]byte(w.prefix), w.line...)
	_, _ = w.to.Write(append(whole, '\n'))
	w.line = w.line[:0]
}

// end passes on a last line without an end, and gives the start of the last line
// that says something.
func (w *lineWriter) end() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.line) > 0 {
		w.pass()
	}
	return w.last
}
