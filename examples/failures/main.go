// Failures sends mails whose handler fails in every way: what may pass is tried again
// through retry topics, what cannot becomes a dead letter, and the rest does not wait
// for either. At the end it reads the dead letters.
//
//	go run ./examples/failures
//	go run ./examples/failures -brokers 127.0.0.1:9092   # topic "mails" must exist
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/producer"
)

type mail struct{ To string }

func main() {
	brokers := flag.String("brokers", os.Getenv("DUPLEX_BROKERS"), "a Kafka to use, instead of an embedded broker")
	within := flag.Duration("within", 30*time.Second, "how long it may take")
	flag.Parse()
	if err := run(*brokers, *within); err != nil {
		fmt.Fprintln(os.Stderr, "failures:", err)
		os.Exit(1)
	}
}

func run(brokers string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	mails := duplex.Topic[mail]{Name: "mails", Key: func(m mail) string { return m.To }}
	cluster := duplex.Cluster{Brokers: strings.Split(brokers, ",")}
	if brokers == "" {
		b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: mails.Name, Partitions: 3}}})
		if err != nil {
			return err
		}
		defer b.Close()
		cluster = b.Cluster()
	}
	start := time.Now()
	if err := publish(ctx, cluster, mails); err != nil {
		return err
	}

	o := &office{ended: make(chan string, 6)}
	group := "office-" + strconv.FormatInt(start.UnixNano(), 36)
	c, err := consumer.New(consumer.Config{
		Cluster: cluster, Group: group, StartOffset: consumer.StartAt(start),
		Failures: dlq.Policy{Delays: []time.Duration{100 * time.Millisecond, 300 * time.Millisecond}, OnDead: o.alert},
		Handlers: []consumer.Handler{consumer.Handle(mails, o.send)},
	})
	if err != nil {
		return err
	}
	ran := make(chan error, 1)
	working, stop := context.WithCancel(ctx)
	defer stop()
	go func() { ran <- c.Run(working) }()
	if err := o.await(ctx, ran); err != nil {
		return err
	}
	stop()
	if err := <-ran; err != nil { // until here, dead letters may be on their way
		return err
	}
	return readDeadLetters(ctx, cluster, dlq.DeadTopic(group, mails.Name))
}

// publish sends five mails, and a value that is none.
func publish(ctx context.Context, cluster duplex.Cluster, mails duplex.Topic[mail]) error {
	p, err := producer.New(producer.Config{Cluster: cluster})
	if err != nil {
		return err
	}
	defer p.Close() //nolint:contextcheck // it flushes, for a time of its own
	for _, to := range []string{"joan", "grace", "nobody", "spam", "ada"} {
		if _, err := producer.Publish(ctx, p, mails, mail{to}); err != nil {
			return err
		}
	}
	_, err = p.Publish(ctx, &kgo.Record{Topic: mails.Name, Value: []byte(`{"To": 19`)})
	return err
}
