package main

import (
	"context"
	"fmt"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

// readBack handles each order once, by its ID, however often it is in the log.
func readBack(ctx context.Context, cluster duplex.Cluster, orders duplex.Topic[order], id string) error {
	ctx, done := context.WithCancel(ctx)
	defer done()
	handled, copies := 0, 0
	c, err := consumer.New(consumer.Config{
		Cluster: cluster, Group: "readers-" + id, Concurrency: 1,
		Handlers: []consumer.Handler{consumer.Handle(orders, func(_ context.Context, o order) error {
			if o.ID != id {
				return nil
			}
			copies++
			if copies > 1 {
				done()
				return nil // known already
			}
			handled++ // the work; a real one remembers the ID in the same transaction
			return nil
		})},
	})
	if err != nil {
		return err
	}
	if err := c.Run(ctx); err != nil {
		return err
	}
	if handled != 1 || copies != 2 {
		return fmt.Errorf("%w: the order was handled %d times, from %d copies", errWrong, handled, copies)
	}
	fmt.Println("the reader:  found the order twice and handled it once")
	return nil
}
