package push

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync/atomic"
)

// maxHeld is how much of one command's output is held back until it ends.
const maxHeld = 1 << 20

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
