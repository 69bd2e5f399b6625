package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/producer"
)

type Booking struct{ Passenger string }

var Bookings = duplex.Topic[Booking]{Name: "bookings", Key: func(b Booking) string { return b.Passenger }}

// A record that fails goes through a retry topic; one that never succeeds becomes a
// dead letter, and the others do not wait for either.
func ExamplePolicy() {
	b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: Bookings.Name}}})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	p, err := producer.New(producer.Config{Cluster: b.Cluster()})
	if err != nil {
		panic(err)
	}
	defer p.Close()
	for _, passenger := range []string{"Ada", "Grace", "Joan"} {
		if _, err := producer.Publish(context.Background(), p, Bookings, Booking{passenger}); err != nil {
			panic(err)
		}
	}

	ctx, stop := context.WithCancel(context.Background())
	c, err := consumer.New(consumer.Config{
		Cluster: b.Cluster(), Group: "desk", Concurrency: 1,
		Failures: dlq.Policy{
			Delays: []time.Duration{50 * time.Millisecond, 100 * time.Millisecond},
			OnDead: func(f dlq.Failure) {
				fmt.Println("dead:", f.Reason, "after", f.Attempts, "attempts:", f.ErrorMessage)
				stop()
			},
		},
		Handlers: []consumer.Handler{consumer.Handle(Bookings, func(ctx context.Context, b Booking) error {
			attempt := consumer.FromContext(ctx).Attempt
			switch {
			case b.Passenger == "Ada":
				return errors.New("no seat for Ada")
			case b.Passenger == "Grace" && attempt == 1:
				return errors.New("the booking system is busy")
			}
			fmt.Println(b.Passenger, "booked, attempt", attempt)
			return nil
		})},
	})
	if err != nil {
		panic(err)
	}
	if err := c.Run(ctx); err != nil {
		panic(err)
	}
	// Output:
	// Joan booked, attempt 1
	// Grace booked, attempt 2
	// dead: exhausted after 3 attempts: no seat for Ada
}
