// Departures publishes departures of flights, keyed by airport, and has a group of
// consumers show the last one of each airport on a board.
//
//	go run ./examples/departures
//	go run ./examples/departures -brokers 127.0.0.1:9092   # topic "departures" must exist
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

type departure struct {
	Run, Origin, Flight string
}

func main() {
	brokers := flag.String("brokers", os.Getenv("DUPLEX_BROKERS"), "a Kafka to use, instead of an embedded broker")
	within := flag.Duration("within", 30*time.Second, "how long it may take")
	flag.Parse()
	if err := run(*brokers, *within); err != nil {
		fmt.Fprintln(os.Stderr, "departures:", err)
		os.Exit(1)
	}
}

func run(brokers string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	departures := duplex.Topic[departure]{Name: "departures", Key: func(d departure) string { return d.Origin }}
	cluster := duplex.Cluster{Brokers: strings.Split(brokers, ",")}
	if brokers == "" {
		b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: departures.Name, Partitions: 6}}})
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
	id := strconv.FormatInt(time.Now().UnixNano(), 36) // others may use the topic too
	airports := []string{"FRA", "JFK", "NRT"}
	for i := range 12 {
		d := departure{Run: id, Origin: airports[i%3], Flight: fmt.Sprintf("DX %d", 100+i)}
		if _, err := producer.Publish(ctx, p, departures, d); err != nil {
			return err
		}
	}
	fmt.Println("published 12 departures, each stored by Kafka")

	board := newBoard(12)
	c, err := consumer.New(consumer.Config{
		Cluster: cluster, Group: "boards-" + id,
		Handlers: []consumer.Handler{consumer.Handle(departures, func(_ context.Context, d departure) error { return board.show(id, d) })},
	})
	if err != nil {
		return err
	}
	if err := c.Run(board.untilFull(ctx)); err != nil {
		return err
	}
	return board.check(map[string]string{"FRA": "DX 109", "JFK": "DX 110", "NRT": "DX 111"})
}
