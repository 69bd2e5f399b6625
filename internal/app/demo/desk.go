package demo

import (
	"context"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

// What the desk does: passengers of departures that are late by so many minutes are
// booked on another flight, unless it is so few miles that they go by bus.
const (
	rebookFrom = 30
	busMiles   = 200
)

const byBus = "passengers go by bus"

// rebookingPolicy has a rebooking that fails go through retry topics: each stands for
// itself, and nothing waits for it. The attempts take far longer than the booking
// service is down.
func rebookingPolicy() dlq.Policy {
	return dlq.Policy{Delays: []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second}, MaxAttempts: 10}
}

// delays is how the story writes those of the policy.
const delays = "0.3s → 1s → 3s"

// desk is the group that rebooks passengers, of one member.
type desk struct {
	cfg     *Config
	booking *booking
	history *history
	member  member
}

func newDesk(cfg *Config, h *history) *desk {
	return &desk{cfg: cfg, booking: &booking{}, history: h, member: member{name: "desk"}}
}

// open starts the member.
func (d *desk) open(ctx context.Context, failed context.CancelCauseFunc) error {
	return d.member.start(ctx, consumer.Config{
		Cluster: d.cfg.Cluster, Group: d.cfg.Names.Rebookings, SessionTimeout: sessionTimeout, Failures: rebookingPolicy(),
		Handlers: []consumer.Handler{consumer.Handle(departures(d.cfg.Names.Topic), d.handle)},
	}, failed)
}

// ready reports whether the member has all partitions.
func (d *desk) ready() bool { return len(d.member.owned(d.cfg.Names.Topic)) == Partitions }

// handle is what the desk does with a departure.
func (d *desk) handle(ctx context.Context, departure Departure) error {
	delivery := consumer.FromContext(ctx)
	l, err := d.cfg.life(delivery.Record)
	if err != nil {
		return err
	}
	switch delivery.Record.Topic {
	case d.cfg.Names.Topic, dlq.RedriveTopic(d.cfg.Names.Rebookings, d.cfg.Names.Topic):
	default:
		d.history.retried(l.at)
	}
	if l.generation > 0 {
		d.history.cameBack(l.at, departure)
	}
	if departure.Delay >= rebookFrom && departure.Distance < busMiles {
		d.history.ended(&d.history.desk, dropped, l)
		return duplex.Drop(byBus)
	}
	if departure.Delay >= rebookFrom {
		if err := d.booking.rebook(departure); err != nil {
			d.history.failed(l.at)
			return err
		}
	}
	d.history.ended(&d.history.desk, handled, l)
	d.history.took(delivery.Attempt)
	return nil
}
