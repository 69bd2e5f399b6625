// Outcome shows what a failed publish means and what to do about it: a record that
// was refused is not in the log; one whose outcome is unknown may be, so it is
// published again under the same ID, and the reader knows it by that.
//
//	go run ./examples/outcome
//	go run ./examples/outcome -brokers 127.0.0.1:9092   # topic "orders" must exist
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
	"github.com/duplex-go/duplex/producer"
)

type order struct {
	ID, Note string
}

var errWrong = errors.New("this is not what the example shows")

func main() {
	brokers := flag.String("brokers", os.Getenv("DUPLEX_BROKERS"), "a Kafka to use, instead of an embedded broker")
	within := flag.Duration("within", 30*time.Second, "how long it may take")
	flag.Parse()
	if err := run(*brokers, *within); err != nil {
		fmt.Fprintln(os.Stderr, "outcome:", err)
		os.Exit(1)
	}
}

func run(brokers string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	orders := duplex.Topic[order]{Name: "orders", Key: func(o order) string { return o.ID }}
	cluster := duplex.Cluster{Brokers: strings.Split(brokers, ",")}
	if brokers == "" {
		b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: orders.Name}}})
		if err != nil {
			return err
		}
		defer b.Close()
		cluster = b.Cluster()
	}
	line := &network{dial: cluster.Dial}
	through := cluster
	through.Dial = line.open // so that this example can cut it
	p, err := producer.New(producer.Config{Cluster: through, MaxBufferedRecords: 1})
	if err != nil {
		return err
	}
	defer p.Close()
	id := strconv.FormatInt(time.Now().UnixNano(), 36)
	if err := refused(ctx, p, orders, id); err != nil {
		return err
	}
	if err := unknown(ctx, p, line, orders, id); err != nil {
		return err
	}
	return readBack(ctx, cluster, orders, id)
}
