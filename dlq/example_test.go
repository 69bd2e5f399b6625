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

// A queue is looked at by its causes: which failures are the same, and how many of each.
func ExampleInspector_Causes() {
	b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: Bookings.Name}}})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	bookAll(b)

	inspector, err := dlq.NewInspector(dlq.InspectorConfig{Cluster: b.Cluster()})
	if err != nil {
		panic(err)
	}
	defer inspector.Close()
	causes, err := inspector.Causes(context.Background(), dlq.DeadTopic("desk", Bookings.Name), dlq.CausesConfig{})
	if err != nil {
		panic(err)
	}
	for _, c := range causes.All {
		fmt.Println(c.Open, "open:", c.Reason, "of", c.Groups, "such as", c.Message)
	}
	fmt.Println(causes.Scanned.Total().Read, "letters read")
	// Output:
	// 2 open: exhausted of [desk] such as no seat for passenger 2
	// 1 open: permanent of [desk] such as permanent: the passenger has no name
	// 3 letters read
}

// A filter says which letters are meant; what is wrong with one is shown.
func ExampleParseFilter() {
	f, err := dlq.ParseFilter(`reason=exhausted message~"no seat" !group=archive age>1h`)
	if err != nil {
		panic(err)
	}
	fmt.Println(f.Match(&dlq.Letter{Failure: dlq.Failure{Reason: dlq.ReasonExhausted, ErrorMessage: "no seat for Ada", LastFailed: time.Now().Add(-2 * time.Hour)}}))
	_, err = dlq.ParseFilter("reason=exhausted mesage~seat")
	fmt.Println(err)
	// Output:
	// true
	// dlq: filter, at character 18: there is no field "mesage": did you mean message?
	//   reason=exhausted mesage~seat
	//                    ^
}

// bookAll has two bookings fail for one cause, and one for another.
func bookAll(b *broker.Broker) {
	p, err := producer.New(producer.Config{Cluster: b.Cluster()})
	if err != nil {
		panic(err)
	}
	defer p.Close()
	for _, passenger := range []string{"1", "nobody", "2"} {
		if _, err := producer.Publish(context.Background(), p, Bookings, Booking{passenger}); err != nil {
			panic(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	dead := 0
	c, err := consumer.New(consumer.Config{
		Cluster: b.Cluster(), Group: "desk", Failures: dlq.NoRetry, Concurrency: 1,
		Handlers: []consumer.Handler{consumer.Handle(Bookings, func(_ context.Context, b Booking) error {
			dead++
			if dead == 3 {
				stop()
			}
			if b.Passenger == "nobody" {
				return duplex.Permanent(errors.New("the passenger has no name"))
			}
			return fmt.Errorf("no seat for passenger %s", b.Passenger)
		})},
	})
	if err != nil {
		panic(err)
	}
	if err := c.Run(ctx); err != nil { // what has failed is written before it ends
		panic(err)
	}
}
