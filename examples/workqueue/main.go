// Workqueue runs background jobs: a job that fails is tried again in its place,
// and what its handler returns decides about each one.
//
//	go run ./examples/workqueue
//	go run ./examples/workqueue -brokers 127.0.0.1:9092   # topic "jobs" must exist
package main

import (
	"context"
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

type job struct {
	Queue string // one run of this example
	Name  string
}

func main() {
	brokers := flag.String("brokers", os.Getenv("DUPLEX_BROKERS"), "a Kafka to use, instead of an embedded broker")
	within := flag.Duration("within", 30*time.Second, "how long it may take")
	flag.Parse()
	if err := run(*brokers, *within); err != nil {
		fmt.Fprintln(os.Stderr, "workqueue:", err)
		os.Exit(1)
	}
}

func run(brokers string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	jobs := duplex.Topic[job]{Name: "jobs", Key: func(j job) string { return j.Queue }} // one key: one after the other
	cluster := duplex.Cluster{Brokers: strings.Split(brokers, ",")}
	if brokers == "" {
		b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: jobs.Name, Partitions: 3}}})
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
	queue := strconv.FormatInt(time.Now().UnixNano(), 36)
	for _, r := range producer.PublishBatch(ctx, p, jobs,
		job{queue, "resize"}, job{queue, "upload"}, job{queue, "invoice"}, job{queue, "unreadable"}, job{queue, "mail"}) {
		if r.Err != nil {
			return r.Err
		}
	}

	ctx, done := context.WithCancel(ctx)
	w := &worker{queue: queue, done: done}
	c, err := consumer.New(consumer.Config{
		Cluster: cluster, Group: "workers-" + queue, RetryMin: 20 * time.Millisecond, HandlerTimeout: time.Minute,
		Handlers: []consumer.Handler{consumer.Handle(jobs, w.work)},
	})
	if err != nil {
		return err
	}
	if err := c.Run(ctx); err != nil {
		return err
	}
	return w.check("resize 1", "upload 1", "upload 2", "invoice 1", "invoice 2", "invoice 3", "unreadable 1", "mail 1")
}
