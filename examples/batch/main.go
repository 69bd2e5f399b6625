// Batch writes payments into a store, many at once: the handler says which of them
// failed, and those alone are tried again or dropped.
//
//	go run ./examples/batch
//	go run ./examples/batch -brokers 127.0.0.1:9092   # topic "payments" must exist
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/producer"
)

type payment struct {
	Run, ID string
	Cents   int64
}

func main() {
	brokers := flag.String("brokers", os.Getenv("DUPLEX_BROKERS"), "a Kafka to use, instead of an embedded broker")
	within := flag.Duration("within", 30*time.Second, "how long it may take")
	flag.Parse()
	if err := run(*brokers, *within); err != nil {
		fmt.Fprintln(os.Stderr, "batch:", err)
		os.Exit(1)
	}
}

func run(brokers string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	payments := duplex.Topic[payment]{Name: "payments", Key: func(p payment) string { return p.ID }}
	cluster := duplex.Cluster{Brokers: strings.Split(brokers, ",")}
	if brokers == "" {
		b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: payments.Name, Partitions: 3}}})
		if err != nil {
			return err
		}
		defer b.Close()
		cluster = b.Cluster()
	}

	p, err := producer.New(producer.Config{Cluster: cluster})
	if err != nil {
		return err
	}
	defer p.Close()
	ctx, done := context.WithCancel(ctx)
	s := newStore(strconv.FormatInt(time.Now().UnixNano(), 36), 1000, done)
	var batch []payment
	for i := range int64(1000) { // p000 pays nothing
		batch = append(batch, payment{Run: s.run, ID: fmt.Sprintf("p%03d", i), Cents: i})
	}
	for _, r := range producer.PublishBatch(ctx, p, payments, batch...) {
		if r.Err != nil {
			return r.Err
		}
	}

	c, err := consumer.New(consumer.Config{
		Cluster: cluster, Group: "stores-" + s.run, MaxBatch: 200, BatchWait: 50 * time.Millisecond,
		Handlers: []consumer.Handler{consumer.HandleBatch(payments, s.write)},
	})
	if err != nil {
		return err
	}
	return errors.Join(c.Run(ctx), s.check(999, 999*1000/2))
}
