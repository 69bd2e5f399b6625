package demo

import (
	"context"
	"sync"
	"time"

	"github.com/duplex-go/duplex/rpc"
)

// askFrom is by how many minutes a departure is late whose passengers are quoted a fare.
const askFrom = 15

func late(d Departure) bool { return d.Delay >= askFrom }

// How long the gate waits for a quote: longer where passengers have an hour or more. That
// is longer than the session of an instance that was killed, and the other is not.
const (
	hurried  = 4 * time.Second
	patient  = 12 * time.Second
	calmFrom = 60
)

// patience is how long the gate waits for an answer.
func (d Departure) patience() time.Duration {
	if d.Delay >= calmFrom {
		return patient
	}
	return hurried
}

// gate asks for a quote for each late departure, and waits for the answer while further
// ones leave. One goroutine uses it.
type gate struct {
	cfg    *Config
	calls  *calls
	client *rpc.Client
	opened bool
	asking sync.WaitGroup
}

// open makes the client, and waits until it can get answers.
func (g *gate) open(ctx context.Context) error {
	c, err := rpc.NewClient(rpc.ClientConfig{Cluster: g.cfg.Cluster, Service: g.cfg.Names.Gate, ReplyPartitions: 1, WaitForServer: true})
	if err != nil {
		return err
	}
	g.client = c
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return c.Ready(ctx)
}

// departed asks for a quote for a departure, if it is late and the gate is open.
func (g *gate) departed(ctx context.Context, d Departure) {
	if g.opened {
		g.ask(ctx, d)
	}
}

// ask asks for a quote if a departure is late.
func (g *gate) ask(ctx context.Context, d Departure) {
	if !late(d) {
		return
	}
	trip, done := g.calls.ask(d)
	g.asking.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, d.patience())
		defer cancel()
		done(rpc.Call(ctx, g.client, quoteMethod(g.cfg.Names.Fares), trip))
	})
}

// close ends the client. Calls that were still under way have an error then.
func (g *gate) close() error {
	if g.client == nil {
		return nil
	}
	err := g.client.Close()
	g.asking.Wait()
	return err
}
