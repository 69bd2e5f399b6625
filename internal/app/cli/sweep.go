package cli

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
)

// sweepPatience bounds finding a cluster, and what is done there then.
const sweepPatience = 10 * time.Second

// withClient gives fn a client, once the cluster answers. op is the command's name, for
// errors.
func withClient(ctx context.Context, op string, c duplex.Cluster, fn func(context.Context, *kgo.Client) error) error {
	cl, err := kafka.NewClient(c, nil)
	if err != nil {
		return command.UsageError(err)
	}
	defer cl.Close()
	if err := kafka.Reach(ctx, cl, op, sweepPatience); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*sweepPatience)
	defer cancel()
	return fn(ctx, cl)
}

// sweep removes what a command made, as far as it came.
func sweep(ctx context.Context, cl *kgo.Client, op string, groups, topics []string) error {
	var errs []error
	for _, group := range groups {
		errs = append(errs, deleteGroup(ctx, cl, op, group))
	}
	for _, topic := range topics {
		if err := kafka.DeleteTopic(ctx, cl, op, topic); !errors.Is(err, duplex.ErrUnknownTopic) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// deleteGroup waits for members that left without a word: until their sessions end.
func deleteGroup(ctx context.Context, cl *kgo.Client, op, group string) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := kafka.DeleteGroup(ctx, cl, op, group)
		if !errors.Is(err, kerr.NonEmptyGroup) {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return err
		}
	}
}
