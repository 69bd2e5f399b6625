package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/producer"
)

// refused shows errors that prove that the record is not in the log.
func refused(ctx context.Context, p *producer.Producer, orders duplex.Topic[order], id string) error {
	_, err := producer.Publish(ctx, p, orders, order{id, strings.Repeat("x", 2<<20)})
	if !errors.Is(err, duplex.ErrTooLarge) || errors.Is(err, duplex.ErrOutcomeUnknown) {
		return fmt.Errorf("%w: a large order: %w", errWrong, err)
	}
	fmt.Println("too large:   refused; send less, for instance where the data can be fetched")

	busy := make(chan struct{})
	result := make(chan error, 1)
	taken := func(_ duplex.Position, err error) { <-busy; result <- err }
	if err := producer.TryPublish(p, orders, order{id + "-first", ""}, taken); err != nil {
		return err
	}
	err = producer.TryPublish(p, orders, order{id, "second"}, nil)
	close(busy)
	if !errors.Is(err, duplex.ErrBufferFull) {
		return fmt.Errorf("%w: a full buffer: %w", errWrong, err)
	}
	fmt.Println("buffer full: refused; tell the caller to come back, or wait with Publish")
	return <-result
}

// unknown loses the answer to a publish, and publishes again.
func unknown(ctx context.Context, p *producer.Producer, line *network, orders duplex.Topic[order], id string) error {
	line.cut()
	brief, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err := producer.Publish(brief, p, orders, order{id, "paid"})
	line.heal()
	if !errors.Is(err, duplex.ErrOutcomeUnknown) {
		return fmt.Errorf("%w: a lost answer: %w", errWrong, err)
	}
	fmt.Println("no answer:   unknown; it may be in the log, once, so publish it again under its ID")
	_, err = producer.Publish(ctx, p, orders, order{id, "paid"})
	return err
}
