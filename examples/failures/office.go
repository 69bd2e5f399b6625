package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

// office sends mails, and says how each one ended.
type office struct {
	ended chan string
}

// send is the handler. It knows nothing of retry topics: what it returns decides.
func (o *office) send(ctx context.Context, m mail) error {
	attempt := consumer.FromContext(ctx).Attempt
	switch {
	case m.To == "joan", m.To == "grace" && attempt == 1:
		fmt.Printf("%s, attempt %d: the server is busy\n", m.To, attempt)
		return errors.New("the server is busy")
	case m.To == "nobody":
		return duplex.Permanent(errors.New("no such address"))
	case m.To == "spam":
		o.ended <- "spam dropped"
		return duplex.Drop("nobody wants it")
	}
	fmt.Printf("%s, attempt %d: sent\n", m.To, attempt)
	o.ended <- m.To + " sent"
	return nil
}

// alert is told of each dead letter before it is written.
func (o *office) alert(f dlq.Failure) {
	fmt.Printf("dead letter, %s after %d: %s\n", f.Reason, f.Attempts, f.ErrorMessage)
	o.ended <- "dead: " + string(f.Reason)
}

// await waits until all mails have ended, and checks how.
func (o *office) await(ctx context.Context, ran <-chan error) error {
	want := []string{"ada sent", "dead: exhausted", "dead: permanent", "dead: undecodable", "grace sent", "spam dropped"}
	var got []string
	for len(got) < len(want) {
		select {
		case how := <-o.ended:
			got = append(got, how)
		case err := <-ran:
			return fmt.Errorf("the consumer ended before the mails did: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("only %q have ended: %w", got, ctx.Err())
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Errorf("they ended as %q, want %q", got, want)
	}
	fmt.Println("every mail has ended, once")
	return nil
}
