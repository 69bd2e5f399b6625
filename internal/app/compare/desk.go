package compare

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/duplex-go/duplex/rpc"
)

// desk does the work, the same way whoever asks for it. It keeps a history of each
// phase.
type desk struct {
	mu     sync.Mutex
	phases map[string]*phase
	strays int // runs for a phase that nobody has begun
}

func newDesk() *desk { return &desk{phases: map[string]*phase{}} }

// enter has the desk know a phase before its first trip.
func (d *desk) enter(p *phase) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.phases[p.name()] = p
}

func (d *desk) phase(name string) *phase {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.phases[name]
	if p == nil {
		d.strays++
	}
	return p
}

// strayed counts the runs that belong to nothing.
func (d *desk) strayed() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.strays
}

// rebook is the function that serves the calls and handles the events. One trip has one
// booking, however often it is asked for.
func (d *desk) rebook(ctx context.Context, t Trip) (Booking, error) {
	p := d.phase(t.Phase)
	if p == nil {
		return Booking{}, rpc.Errorf(rpc.NotFound, "no phase %q is known", t.Phase)
	}
	attempt, end := p.history.run(t.Number)
	err := wait(ctx, p.scenario.takes)
	if err == nil {
		err = p.scenario.failure(t.Number, attempt)
	}
	end(err)
	if err != nil {
		return Booking{}, err
	}
	return bookingOf(t), nil
}

// wait is the work.
func wait(ctx context.Context, takes time.Duration) error {
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("compare: rebooking: %w", context.Cause(ctx))
	}
}
