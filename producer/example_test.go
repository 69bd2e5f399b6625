package producer_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/producer"
)

type Departure struct {
	Origin string
	Flight string
}

var Departures = duplex.Topic[Departure]{Name: "departures", Key: func(d Departure) string { return d.Origin }}

// startBroker stands for a Kafka in the examples.
func startBroker() *broker.Broker {
	b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: "departures"}}})
	if err != nil {
		log.Fatal(err)
	}
	return b
}

func newProducer(cfg producer.Config) *producer.Producer {
	p, err := producer.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	return p
}

func Example() {
	b := startBroker()
	defer b.Close()

	p, err := producer.New(producer.Config{Cluster: b.Cluster()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	position, err := producer.Publish(context.Background(), p, Departures, Departure{Origin: "FRA", Flight: "LH 454"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("stored at", position)
	// Output: stored at departures/0/0
}

// A callback gets the result later; Flush waits for all of them.
func ExamplePublishAsync() {
	b := startBroker()
	defer b.Close()
	p := newProducer(producer.Config{Cluster: b.Cluster()})
	defer p.Close()

	ctx := context.Background()
	for _, flight := range []string{"LH 454", "LH 400", "LH 430"} {
		producer.PublishAsync(ctx, p, Departures, Departure{"FRA", flight}, func(at duplex.Position, err error) {
			fmt.Println(flight, at.Offset, err)
		})
	}
	if err := p.Flush(ctx); err != nil {
		fmt.Println(err)
		return
	}
	// Output:
	// LH 454 0 <nil>
	// LH 400 1 <nil>
	// LH 430 2 <nil>
}

// Results are in the order of the values, each with its own error.
func ExamplePublishBatch() {
	b := startBroker()
	defer b.Close()
	p := newProducer(producer.Config{Cluster: b.Cluster()})
	defer p.Close()

	for _, r := range producer.PublishBatch(context.Background(), p, Departures,
		Departure{"FRA", "LH 454"}, Departure{"", "LH 400"}, Departure{"FRA", "LH 430"}) {
		if r.Err != nil {
			fmt.Println("refused:", duplex.CodeOf(r.Err))
			continue
		}
		fmt.Println("stored at", r.Position)
	}
	// Output:
	// stored at departures/0/0
	// refused: empty-key
	// stored at departures/0/1
}

// A request handler that must not wait refuses work instead.
func ExampleTryPublish() {
	b := startBroker()
	defer b.Close()
	p := newProducer(producer.Config{Cluster: b.Cluster(), MaxBufferedRecords: 1})
	defer p.Close()

	busy := make(chan struct{})
	slow := func(duplex.Position, error) { <-busy } // holds its place in the buffer
	fmt.Println(producer.TryPublish(p, Departures, Departure{"FRA", "LH 454"}, slow))
	err := producer.TryPublish(p, Departures, Departure{"FRA", "LH 400"}, nil)
	fmt.Println(errors.Is(err, duplex.ErrBufferFull))
	close(busy)
	// Output:
	// <nil>
	// true
}

// Prepare sees every record before it is sent.
func ExampleConfig_prepare() {
	b := startBroker()
	defer b.Close()
	p := newProducer(producer.Config{Cluster: b.Cluster(), Prepare: func(r *kgo.Record) error {
		if len(r.Value) > 1000 {
			return errors.New("too long for a board")
		}
		duplex.SetHeader(r, "source", "tower")
		return nil
	}})
	defer p.Close()

	r := &kgo.Record{Topic: "departures", Value: []byte("LH 454")}
	_, err := p.Publish(context.Background(), r)
	fmt.Println(r.Headers[0].Key, string(r.Headers[0].Value), err)
	_, err = p.Publish(context.Background(), &kgo.Record{Topic: "departures", Value: []byte(strings.Repeat("x", 2000))})
	fmt.Println(errors.Is(err, duplex.ErrEncode))
	// Output:
	// source tower <nil>
	// true
}

// An error says what is known about the record.
func ExampleProducer_Publish_errors() {
	b := startBroker()
	defer b.Close()
	p := newProducer(producer.Config{Cluster: b.Cluster()})
	defer p.Close()

	_, err := p.Publish(context.Background(), &kgo.Record{Topic: "depatrures", Value: []byte("LH 454")})
	switch {
	case errors.Is(err, duplex.ErrOutcomeUnknown):
		fmt.Println("it may be in the log, once")
	case errors.Is(err, duplex.ErrUnknownTopic):
		fmt.Println("there is no such topic, so it is not in the log")
	}
	// Output: there is no such topic, so it is not in the log
}

// Close publishes what is under way, and nothing after it.
func ExampleProducer_Close() {
	b := startBroker()
	defer b.Close()
	p := newProducer(producer.Config{Cluster: b.Cluster()})

	producer.PublishAsync(context.Background(), p, Departures, Departure{"FRA", "LH 454"}, func(at duplex.Position, _ error) {
		fmt.Println("stored at", at)
	})
	fmt.Println(p.Close())
	_, err := producer.Publish(context.Background(), p, Departures, Departure{"FRA", "LH 400"})
	fmt.Println(errors.Is(err, duplex.ErrClosed))
	// Output:
	// stored at departures/0/0
	// <nil>
	// true
}
