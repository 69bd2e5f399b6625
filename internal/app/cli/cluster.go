package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/terminal"
)

// asking are the flags of commands that ask a cluster something, or change something there.
type asking struct {
	cluster *config.ClusterFlags
	timeout time.Duration
	json    bool
}

func (a *asking) addFlags(cmd *cobra.Command, clientID string) (err error) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&a.json, "json", false, "print JSON")
	flags.DurationVar(&a.timeout, "timeout", 10*time.Second, "how long the cluster may take to be found, and then to answer")
	a.cluster, err = config.AddClusterFlags(flags, clientID)
	config.AddFlags(flags)
	return err
}

// run asks the cluster, once it answers. op is the command's name, for errors.
func (a *asking) run(cmd *cobra.Command, op string, ask func(context.Context, *cobra.Command, *kgo.Client) error) error {
	if a.timeout <= 0 {
		return command.UsageError(fmt.Errorf("--timeout %s: must be positive", a.timeout))
	}
	client, err := kafka.NewClient(a.cluster.Cluster(), nil)
	if err != nil {
		return command.UsageError(err)
	}
	defer client.Close()
	if err := kafka.Reach(cmd.Context(), client, op, a.timeout); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
	defer cancel()
	err = ask(ctx, cmd, client)
	if err != nil && cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return context.Cause(cmd.Context())
	}
	return err
}

// counting shows a person how many of so many things were asked for, until end is called.
func counting(out io.Writer, what string, all int) (done *atomic.Int64, end func()) {
	done = &atomic.Int64{}
	shown := terminal.Show(out, func() string { return fmt.Sprintf("asked for %d of %d %s", done.Load(), all, what) })
	return done, shown.Close
}
