package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/demo"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/terminal"
)

const demoLong = `demo streams 2,000 departures of real flights through a topic to two groups. Three
members keep figures per airport; while records flow, one is stopped and another one
started. For each departure 15 minutes late or more the gate calls a service for a
fare and waits for the answer; one of its two instances is killed meanwhile. A desk
rebooks passengers of late departures; while its booking service is down, what it
cannot book goes through retry topics. Three lines are damaged on purpose and become
dead letters, which are grouped by cause, mended, sent back to the desk alone, as 'duplex
redrive run --edit' does, and handled; the same redrive again moves nothing. Each
acknowledgement, each end of a record or of a call, each run of a call and the state of
each dead letter is recorded, and the summary is computed from that. If it is interrupted,
what was damaged is still mended.

It runs on an embedded broker, inside of this process; --brokers, or --profile, runs it on
a Kafka of yours, in topics and groups of its own that it removes at the end. The topic
dlq-audit, which says who did what with dead letters of all queues of a cluster, stays.

With --json the summary is one object. Of the records it has: published, handled, dropped
and dead (still at the end), redriven (dead letters that were sent back), open (that nobody
closed) and wrong_edits (that came back as something else than the input has). Of the
calls it has: calls (that were made),
answered, errors, unanswered (by their deadlines), wrong_quotes, untrue_errors (that say
what was not so, such as that a call never ran), run_again (begun by both instances,
as calls that are Safe may be), call_p50_ms and call_p99_ms.

Exit codes: 0 all promises were kept, 1 a record was lost, handled twice, out of order,
not acknowledged or mended wrongly, a dead letter is still open, a call had no answer or a wrong one or an error that is not true,
or the demo could not go on, 2 usage, 4 the settings are read-only, 130 interrupted.`

const demoExamples = `  duplex demo
  duplex demo --brokers 127.0.0.1:9092
  duplex demo --json | jq .end_to_end_p99_ms`

type demoOptions struct {
	cluster *config.ClusterFlags
	input   string
	rate    int
	json    bool
}

func demoCommand(environ []string) (*cobra.Command, error) {
	o := &demoOptions{}
	cmd := &cobra.Command{
		Use: "demo", Short: "Watch the main job: departures stream through a topic to two groups, and calls are answered", Long: demoLong, Example: demoExamples, Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.input, "input", "", "other departures: a `file` of JSON objects with origin, distance and delay, one a line")
	flags.IntVar(&o.rate, "rate", 250, "departures to publish a second")
	flags.BoolVar(&o.json, "json", false, "print the summary as one JSON object on standard output, and the story on standard error")
	var err error
	o.cluster, err = config.AddClusterFlags(flags, "duplex-demo")
	config.AddFlags(flags)
	cmd.RunE = command.Body(environ, func(cmd *cobra.Command, _ []string) error { return o.run(cmd) })
	return cmd, errors.Join(err, embeddedByDefault(flags), o.cluster.ProfileOnlyByName())
}

// embeddedByDefault takes the default broker away: without one there is an
// embedded broker.
func embeddedByDefault(flags *pflag.FlagSet) error {
	brokers := flags.Lookup("brokers")
	brokers.Usage = "`host:port` of brokers to run on; several with commas (default: an embedded broker)"
	brokers.DefValue = "[]" // pflag prints no such default
	none, ok := brokers.Value.(pflag.SliceValue)
	if !ok {
		return fmt.Errorf("flag --brokers is a %s, no list", brokers.Value.Type())
	}
	return none.Replace(nil)
}

// run is the command, once its settings are loaded.
func (o *demoOptions) run(cmd *cobra.Command) error {
	if o.rate <= 0 {
		return command.UsageError(fmt.Errorf("--rate %d: must be positive", o.rate))
	}
	input, err := o.read()
	if err != nil {
		return command.UsageError(err)
	}
	out := cmd.OutOrStdout()
	if o.json {
		out = cmd.ErrOrStderr()
	}
	cfg := demo.Config{Input: input, Rate: o.rate, Out: out, Color: terminal.Is(out) && os.Getenv("NO_COLOR") == ""}
	place, err := o.place(cmd.Context(), &cfg)
	if err != nil {
		return err
	}
	summary, runErr := demo.Run(cmd.Context(), cfg)
	// The context may have ended: what was made is removed all the same.
	err = errors.Join(runErr, place.remove(context.WithoutCancel(cmd.Context())))
	if o.json {
		err = errors.Join(err, json.NewEncoder(cmd.OutOrStdout()).Encode(summary))
	}
	if err != nil {
		return err
	}
	if len(o.cluster.Cluster().Brokers) == 0 {
		fmt.Fprintln(out, "Your Kafka: duplex demo --brokers 127.0.0.1:9092   Code: internal/app/demo")
	}
	if !summary.OK() {
		return command.ErrFailed
	}
	return nil
}

func (o *demoOptions) read() ([]demo.Departure, error) {
	if o.input == "" {
		return demo.Flights()
	}
	f, err := os.Open(o.input)
	if err != nil {
		return nil, fmt.Errorf("--input: %w", err)
	}
	defer f.Close()
	return demo.Read(o.input, io.Reader(f))
}

// place is where the story happens, and how to leave it as it was.
type place struct {
	remove func(context.Context) error
}

// place makes a place: an embedded broker, or a topic on a cluster.
func (o *demoOptions) place(ctx context.Context, cfg *demo.Config) (place, error) {
	cfg.Cluster = o.cluster.Cluster()
	if len(cfg.Cluster.Brokers) == 0 {
		cfg.Names = demo.NewNames("", "")
		b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: cfg.Names.Topic, Partitions: demo.Partitions}}})
		if err != nil {
			return place{}, err
		}
		cfg.Cluster, cfg.Where = b.Cluster(), "embedded broker (figures are not Kafka's)"
		return place{remove: func(context.Context) error { return b.Close() }}, nil
	}
	if err := o.cluster.Writes("demo: making topics"); err != nil {
		return place{}, err
	}
	cfg.Names = demo.NewNames("duplex-demo-", "."+time.Now().UTC().Format("20060102-150405.000000"))
	cfg.Where = "Kafka at " + strings.Join(cfg.Cluster.Brokers, ",")
	return onCluster(ctx, cfg)
}

func onCluster(ctx context.Context, cfg *demo.Config) (place, error) {
	with := func(ctx context.Context, fn func(context.Context, *kgo.Client) error) error {
		return withClient(ctx, "demo", cfg.Cluster, fn)
	}
	err := with(ctx, func(ctx context.Context, cl *kgo.Client) error {
		created, err := kafka.EnsureTopic(ctx, cl, "demo", cfg.Names.Topic, demo.Partitions)
		if err == nil && !created {
			return fmt.Errorf("demo: creating topic %q: it exists already: try again", cfg.Names.Topic)
		}
		return err
	})
	if err != nil {
		return place{}, err
	}
	return place{remove: func(ctx context.Context) error {
		return with(ctx, func(ctx context.Context, cl *kgo.Client) error {
			return sweep(ctx, cl, "demo", cfg.Names.Groups(), cfg.Names.Topics())
		})
	}}, nil
}
