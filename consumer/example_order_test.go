package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

// A slow key holds up nobody else: both are in the same partition, and at work at
// the same time.
func ExampleOrdering_byKey() {
	b := withDepartures(Departure{"FRA", "LH 454"}, Departure{"LAX", "AA 1"}, Departure{"FRA", "LH 400"})
	defer b.Close()
	ctx, stop := context.WithCancel(context.Background())
	others := make(chan struct{})
	var left atomic.Int64
	left.Store(3)
	runUntil(ctx, consumer.Config{
		Cluster: b.Cluster(), Group: "boards", Ordering: consumer.ByKey, // the default
		Handlers: []consumer.Handler{consumer.Handle(Departures, func(_ context.Context, d Departure) error {
			if d.Flight == "LH 454" {
				<-others // takes its time
			}
			fmt.Println(d.Origin, d.Flight)
			if d.Origin == "LAX" {
				close(others)
			}
			if left.Add(-1) == 0 {
				stop()
			}
			return nil
		})},
	})
	// Output:
	// LAX AA 1
	// FRA LH 454
	// FRA LH 400
}

// A failed record holds up its partition, as a change log needs it.
func ExampleOrdering_byPartition() {
	b := withDepartures(Departure{"FRA", "LH 454"}, Departure{"LAX", "AA 1"})
	defer b.Close()
	ctx, stop := context.WithCancel(context.Background())
	runUntil(ctx, consumer.Config{
		Cluster: b.Cluster(), Group: "mirror", Ordering: consumer.ByPartition, RetryMin: time.Millisecond,
		Handlers: []consumer.Handler{consumer.Handle(Departures, func(ctx context.Context, d Departure) error {
			attempt := consumer.FromContext(ctx).Attempt
			fmt.Println(d.Flight, "attempt", attempt)
			if d.Flight == "LH 454" && attempt == 1 {
				return errors.New("the mirror is busy")
			}
			if d.Flight == "AA 1" {
				stop()
			}
			return nil
		})},
	})
	// Output:
	// LH 454 attempt 1
	// LH 454 attempt 2
	// AA 1 attempt 1
}

// Independent jobs run in any order, also those of one key.
func ExampleOrdering_unordered() {
	b := withDepartures(Departure{"FRA", "LH 454"}, Departure{"FRA", "LH 400"})
	defer b.Close()
	ctx, stop := context.WithCancel(context.Background())
	second := make(chan struct{})
	runUntil(ctx, consumer.Config{
		Cluster: b.Cluster(), Group: "labels", Ordering: consumer.Unordered,
		Handlers: []consumer.Handler{consumer.HandleRecord(Departures.Name, func(_ context.Context, r *kgo.Record) error {
			if r.Offset == 1 {
				fmt.Println("offset", r.Offset)
				close(second)
				return nil
			}
			<-second
			fmt.Println("offset", r.Offset)
			stop()
			return nil
		})},
	})
	// Output:
	// offset 1
	// offset 0
}

// An operator stops a topic for a while, and has what was published since noon
// handled again.
func ExampleConsumer_Pause() {
	b := withDepartures(Departure{"FRA", "LH 454"})
	defer b.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	handled := make(chan string, 10)
	c, err := consumer.New(consumer.Config{
		Cluster: b.Cluster(), Group: "boards",
		Handlers: []consumer.Handler{consumer.Handle(Departures, func(_ context.Context, d Departure) error {
			handled <- d.Flight
			return nil
		})},
	})
	if err != nil {
		panic(err)
	}
	c.Pause(consumer.Partitions{Topic: Departures.Name})
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	for c.Status().Code != duplex.StatusPausedByOperator {
		<-time.After(time.Millisecond)
	}
	fmt.Println(len(handled), "handled while paused")
	c.Resume()
	fmt.Println(<-handled)

	noon := time.Now().Truncate(24 * time.Hour)
	if err := c.SeekTime(ctx, noon); err != nil {
		panic(err)
	}
	fmt.Println(<-handled, "again")
	stop()
	fmt.Println(<-ended)
	// Output:
	// 0 handled while paused
	// LH 454
	// LH 454 again
	// <nil>
}
