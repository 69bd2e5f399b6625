package examples_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/producer"
	"github.com/duplex-go/duplex/rpc"
)

// The code of the README, as it stands there.

type Departure struct{ Origin, Flight string }

var Departures = duplex.Topic[Departure]{Name: "departures", Key: func(d Departure) string { return d.Origin }}

func publish(ctx context.Context, cluster duplex.Cluster, departure Departure) error {
	p, err := producer.New(producer.Config{Cluster: cluster})
	if err != nil {
		return err
	}
	defer p.Close()
	position, err := producer.Publish(ctx, p, Departures, departure)
	switch {
	case errors.Is(err, duplex.ErrOutcomeUnknown):
		return fmt.Errorf("may be stored, once: %w", err) // again only if two do no harm
	case err != nil:
		return fmt.Errorf("not stored, and will not be: %w", err)
	}
	fmt.Println("stored at", position)
	return nil
}

func handle(ctx context.Context, cluster duplex.Cluster, board *board) error {
	c, err := consumer.New(consumer.Config{
		Cluster:  cluster,
		Group:    "boards",
		Handlers: []consumer.Handler{consumer.Handle(Departures, board.Update)}, // func(context.Context, Departure) error
	})
	if err != nil {
		return err
	}
	return c.Run(ctx) // until ctx is cancelled: then it drains, commits and leaves
}

func TestDeparturesArePublished(t *testing.T) {
	cluster := duplextest.Cluster(t) // embedded, or the Kafka that DUPLEX_TEST_BROKERS names
	topic := duplextest.Topic(t, cluster, Departures, 6)
	p, err := producer.New(producer.Config{Cluster: cluster})
	require.NoError(t, err)
	defer p.Close()
	_, err = producer.Publish(t.Context(), p, topic, Departure{Origin: "LAX", Flight: "DX 1"})
	require.NoError(t, err)
	duplextest.RequireRecords(t, cluster, topic, Departure{Origin: "LAX", Flight: "DX 1"})
}

type (
	Trip struct{ From, To string }
	Fare struct{ Cents int }
)

var Quote = rpc.Method[Trip, Fare]{Service: "fares", Name: "Quote", Safe: true}

func quote(_ context.Context, t Trip) (Fare, error) {
	if t.To == "ZZZ" {
		return Fare{}, rpc.Errorf(rpc.NotFound, "no flight from %s to %s", t.From, t.To)
	}
	return Fare{Cents: 19_900}, nil
}

func serve(ctx context.Context, cluster duplex.Cluster) error {
	s, err := rpc.NewServer(rpc.ServerConfig{Cluster: cluster, Handlers: []rpc.Handler{rpc.Handle(Quote, quote)}})
	if err != nil {
		return err
	}
	return s.Run(ctx) // quote is a func(context.Context, Trip) (Fare, error)
}

func ask(ctx context.Context, client *rpc.Client, trip Trip) error {
	fare, err := rpc.Call(ctx, client, Quote, trip)
	switch {
	case errors.Is(err, rpc.NotFound):
		return fmt.Errorf("nobody flies there: %w", err) // the server's own answer
	case rpc.ExecutedOf(err) == rpc.Never:
		return fmt.Errorf("nothing has happened, call again: %w", err)
	case err != nil:
		return err
	}
	fmt.Println("costs", fare.Cents)
	return nil
}

// board ends the consumer when a departure came.
type board struct {
	shown chan Departure
}

func (b *board) Update(_ context.Context, d Departure) error {
	b.shown <- d
	return nil
}

func TestCodeOfTheReadmeRuns(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t)
	require.NoError(t, b.CreateTopic(broker.Topic{Name: Departures.Name, Partitions: 6}))
	require.NoError(t, publish(t.Context(), b.Cluster(), Departure{"LAX", "DX 1"}))
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	shown := &board{shown: make(chan Departure, 1)}
	ended := make(chan error, 1)
	go func() { ended <- handle(ctx, b.Cluster(), shown) }()
	require.Equal(t, Departure{"LAX", "DX 1"}, <-shown.shown)
	stop()
	require.NoError(t, <-ended)
}

func TestCallsOfTheReadmeRun(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t)
	client, err := rpc.NewClient(rpc.ClientConfig{Cluster: b.Cluster(), Service: "desk", WaitForServer: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, b.Cluster()) }()
	require.NoError(t, ask(ctx, client, Trip{"LAX", "SFO"}))
	require.ErrorContains(t, ask(ctx, client, Trip{"LAX", "ZZZ"}), "nobody flies there")
	stop()
	require.NoError(t, <-ended)
}

// The blocks of Go in the README are parts of this file.
func TestReadmeHasTheCodeThatRuns(t *testing.T) {
	t.Parallel()
	ours := lines(t, "readme_test.go")
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	blocks := strings.Split(string(readme), "```go\n")[1:]
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		require.Contains(t, ours, flatten(block), "this block of the README is not in readme_test.go:\n%s", block)
	}
}

func lines(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return flatten(string(text))
}

// flatten takes indents away.
func flatten(text string) string {
	var flat strings.Builder
	for line := range strings.Lines(text) {
		flat.WriteString(strings.TrimLeft(line, "\t"))
	}
	return flat.String()
}
