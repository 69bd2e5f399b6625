package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/producer"
)

type Departure struct {
	Origin string
	Flight string
}

var Departures = duplex.Topic[Departure]{Name: "departures", Key: func(d Departure) string { return d.Origin }}

// withDepartures stands for a Kafka with some departures in one partition.
func withDepartures(departures ...Departure) *broker.Broker {
	b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: Departures.Name}}})
	if err != nil {
		log.Fatal(err)
	}
	p, err := producer.New(producer.Config{Cluster: b.Cluster()})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	for _, r := range producer.PublishBatch(context.Background(), p, Departures, departures...) {
		if r.Err != nil {
			panic(r.Err)
		}
	}
	return b
}

// runUntil runs a consumer until ctx ends.
func runUntil(ctx context.Context, cfg consumer.Config) {
	c, err := consumer.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

func Example() {
	b := withDepartures(Departure{"FRA", "LH 454"}, Departure{"FRA", "LH 400"})
	defer b.Close()
	ctx, stop := context.WithCancel(context.Background())

	c, err := consumer.New(consumer.Config{
		Cluster: b.Cluster(),
		Group:   "boards",
		Handlers: []consumer.Handler{consumer.Handle(Departures, func(_ context.Context, d Departure) error {
			fmt.Println(d.Origin, d.Flight)
			if d.Flight == "LH 400" {
				stop() // usually a signal does
			}
			return nil
		})},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Run(ctx))
	// Output:
	// FRA LH 454
	// FRA LH 400
	// <nil>
}

// A batch handler says which of its records failed; those are tried again, the
// others are finished.
func ExampleHandleBatch() {
	b := withDepartures(Departure{"FRA", "LH 454"}, Departure{"FRA", "LH 400"})
	defer b.Close()
	ctx, stop := context.WithCancel(context.Background())

	down := true // the store, for the first write of LH 400
	runUntil(ctx, consumer.Config{
		Cluster: b.Cluster(), Group: "stores", RetryMin: time.Millisecond,
		Handlers: []consumer.Handler{consumer.HandleBatch(Departures, func(_ context.Context, departures []Departure) error {
			var failed consumer.BatchError
			for i, d := range departures {
				if down && d.Flight == "LH 400" {
					failed.Fail(i, errors.New("the store is down"))
					continue
				}
				fmt.Println("stored", d.Flight)
				if d.Flight == "LH 400" {
					stop()
				}
			}
			down = false
			return failed.Err()
		})},
	})
	// Output:
	// stored LH 454
	// stored LH 400
}

// A raw handler sees the record, and its context the delivery.
func ExampleHandleRecord() {
	b := withDepartures(Departure{"FRA", "LH 454"})
	defer b.Close()
	ctx, stop := context.WithCancel(context.Background())

	runUntil(ctx, consumer.Config{
		Cluster: b.Cluster(), Group: "raw", RetryMin: time.Millisecond,
		Handlers: []consumer.Handler{consumer.HandleRecord("departures", func(ctx context.Context, r *kgo.Record) error {
			d := consumer.FromContext(ctx)
			fmt.Printf("offset %d, key %s, attempt %d\n", r.Offset, r.Key, d.Attempt)
			if d.Attempt == 1 {
				return errors.New("try again")
			}
			stop()
			return nil
		})},
	})
	// Output:
	// offset 0, key FRA, attempt 1
	// offset 0, key FRA, attempt 2
}

// What a handler returns says what becomes of the record.
func ExampleHandle_verdicts() {
	b := withDepartures(Departure{"FRA", "no such flight"}, Departure{"FRA", "LH 454"})
	defer b.Close()
	ctx, stop := context.WithCancel(context.Background())

	runUntil(ctx, consumer.Config{
		Cluster: b.Cluster(), Group: "verdicts",
		Handlers: []consumer.Handler{consumer.Handle(Departures, func(ctx context.Context, d Departure) error {
			switch attempt := consumer.FromContext(ctx).Attempt; {
			case d.Flight == "no such flight":
				fmt.Println("dropped:", d.Flight)
				return duplex.Drop("no such flight") // finished, without being handled
			case attempt == 1:
				fmt.Println("in a moment:", d.Flight)
				return duplex.RetryAfter(10*time.Millisecond, errors.New("the gate is closed"))
			default:
				fmt.Println("handled:", d.Flight)
				stop()
				return nil
			}
		})},
	})
	// Output:
	// dropped: no such flight
	// in a moment: LH 454
	// handled: LH 454
}

// Middleware wraps every handler, the first one outermost.
func ExampleConfig_middleware() {
	b := withDepartures(Departure{"FRA", "LH 454"})
	defer b.Close()
	ctx, stop := context.WithCancel(context.Background())

	logging := func(next duplex.Next) duplex.Next {
		return func(ctx context.Context, r *kgo.Record) error {
			fmt.Println("begin", r.Offset)
			err := next(ctx, r)
			fmt.Println("end", r.Offset, err)
			return err
		}
	}
	runUntil(ctx, consumer.Config{
		Cluster: b.Cluster(), Group: "logged", Middleware: []duplex.Middleware{logging},
		Handlers: []consumer.Handler{consumer.Handle(Departures, func(_ context.Context, d Departure) error {
			fmt.Println("handle", d.Flight)
			stop()
			return nil
		})},
	})
	// Output:
	// begin 0
	// handle LH 454
	// end 0 <nil>
}

// A new group begins where StartOffset says, here after all that is there.
func ExampleStartLatest() {
	b := withDepartures(Departure{"FRA", "LH 454"}, Departure{"FRA", "LH 400"})
	defer b.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	c, err := consumer.New(consumer.Config{
		Cluster: b.Cluster(), Group: "tails", StartOffset: consumer.StartLatest(),
		Handlers: []consumer.Handler{consumer.Handle(Departures, func(_ context.Context, d Departure) error {
			fmt.Println("unexpected:", d.Flight)
			return nil
		})},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	for len(c.Status().Partitions) == 0 { // until it has its partition
		<-time.After(time.Millisecond)
	}
	fmt.Println("begins at", c.Status().Partitions[0].Watermark)
	stop()
	fmt.Println(<-ended)
	// Output:
	// begins at 2
	// <nil>
}

// Status says how a consumer is doing, and what is wrong.
func ExampleConsumer_Status() {
	b := withDepartures(Departure{"FRA", "LH 454"})
	defer b.Close()
	ctx, stop := context.WithCancel(context.Background())

	c, err := consumer.New(consumer.Config{
		Cluster: b.Cluster(), Group: "watched",
		Handlers: []consumer.Handler{consumer.Handle(Departures, func(context.Context, Departure) error {
			stop()
			return nil
		})},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Status().Code, c.Status().Code.Healthy())
	fmt.Println(c.Run(ctx))
	fmt.Println(c.Status().Code, c.Status().Counts["handled"])
	// Output:
	// joining false
	// <nil>
	// closed 1
}
