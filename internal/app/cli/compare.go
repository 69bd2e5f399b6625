package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/compare"
	"github.com/duplex-go/duplex/internal/app/demo"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
)

const compareLong = `compare does one workload both ways, as calls and as events: passengers of departures
of real flights are rebooked, by the same function and as many workers, under normal
load, while some of the work fails, on a slow server, on a server that dies, and in a
burst. It takes about a minute and says on standard error what it does. Then it prints
the table of differences: timing, coupling, complexity, scalability, failure handling,
system load and use, each with what was measured in this run, and when to choose which.

It runs on an embedded broker, inside of this process, whose figures are not Kafka's;
--brokers, or --profile, runs it on a Kafka of yours, in topics and groups of its own. They are
deleted at the end, however that comes, unless a promise was broken: then their names
are said. Interrupted while a server is dead it waits for the end of its session, 6s.

--json prints the figures: "scenarios", each with "calls" and "events", has what became
of the trips, how long callers were blocked and when the work was done (p50_ms, p99_ms,
most_ms), what was written and what went over the wire; "outage" those of the dead
server; "table" and "choose" are the sentences, "totals" adds up, "broken" has a
sentence for each promise that was not kept. Names are explained in docs/compare.md.

Exit codes: 0 all promises were kept, 1 one was broken, which is said, or the comparison
could not go on, 2 usage, 4 the settings are read-only, 130 interrupted: then there is no
table.`

const compareExamples = `  duplex compare
  duplex compare --brokers 127.0.0.1:9092 --markdown > differences.md
  duplex compare --json | jq '.scenarios[] | {name, calls: .calls.blocked, events: .events.blocked}'`

// mostRecords bounds the burst: each of its trips is a caller that waits.
const mostRecords = 20_000

type compareOptions struct {
	cluster  *config.ClusterFlags
	records  int
	json     bool
	markdown bool
}

func compareCommand(environ []string) (*cobra.Command, error) {
	o := &compareOptions{}
	cmd := &cobra.Command{
		Use: "compare", Short: "Measure the difference: one workload as calls and as events", Long: compareLong, Example: compareExamples, Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&o.records, "records", compare.DefaultRecords, "how many trips the burst has; most other scenarios have 15 for 100 of them")
	flags.BoolVar(&o.json, "json", false, "print all figures as one JSON object instead of the table")
	flags.BoolVar(&o.markdown, "markdown", false, "print the table as Markdown")
	var err error
	o.cluster, err = config.AddClusterFlags(flags, "duplex-compare")
	config.AddFlags(flags)
	cmd.RunE = command.Body(environ, func(cmd *cobra.Command, _ []string) error { return o.run(cmd) })
	return cmd, errors.Join(err, embeddedByDefault(flags), o.cluster.ProfileOnlyByName())
}

func (o *compareOptions) validate() error {
	var errs []error
	if o.records < 1 || o.records > mostRecords {
		errs = append(errs, fmt.Errorf("--records %d: want 1 to %d", o.records, mostRecords))
	}
	if o.json && o.markdown {
		errs = append(errs, errors.New("--markdown: not with --json"))
	}
	return errors.Join(errs...)
}

// run is the command, once its settings are loaded.
func (o *compareOptions) run(cmd *cobra.Command) error {
	input, err := tripsOfFlights()
	if err := errors.Join(o.validate(), err); err != nil {
		return command.UsageError(err)
	}
	cfg := compare.Config{Input: input, Records: o.records, Progress: cmd.ErrOrStderr()}
	remove, err := o.place(cmd.Context(), &cfg)
	if err != nil {
		return err
	}
	report, err := compare.Run(cmd.Context(), cfg)
	switch {
	case err == nil && !report.OK() && len(o.cluster.Cluster().Brokers) > 0:
		fmt.Fprintln(cmd.ErrOrStderr(), "a promise was broken, so the topics are left to be looked at:", strings.Join(cfg.Names.Topics(), " "))
	default:
		// The context may have ended: what was made is removed all the same.
		err = errors.Join(err, remove(context.WithoutCancel(cmd.Context())))
	}
	if err != nil {
		return err
	}
	if err := o.write(cmd, report); err != nil {
		return fmt.Errorf("compare: writing the report: %w", err)
	}
	if !report.OK() {
		return command.ErrFailed
	}
	return nil
}

func (o *compareOptions) write(cmd *cobra.Command, r compare.Report) error {
	switch out := cmd.OutOrStdout(); {
	case o.json:
		return json.NewEncoder(out).Encode(r)
	case o.markdown:
		return r.WriteMarkdown(out)
	default:
		return r.WriteTable(out)
	}
}

// tripsOfFlights are the departures that are built in.
func tripsOfFlights() ([]compare.Trip, error) {
	flights, err := demo.Flights()
	if err != nil {
		return nil, err
	}
	trips := make([]compare.Trip, 0, len(flights))
	for _, f := range flights {
		trips = append(trips, compare.Trip{Date: f.Date, Origin: f.Origin, Destination: f.Destination, Distance: f.Distance})
	}
	return trips, nil
}

// place makes a place: an embedded broker, or a topic on a cluster. It gives how to
// leave that as it was.
func (o *compareOptions) place(ctx context.Context, cfg *compare.Config) (remove func(context.Context) error, err error) {
	cfg.Cluster = o.cluster.Cluster()
	if len(cfg.Cluster.Brokers) == 0 {
		cfg.Names = compare.NewNames("", "")
		b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: cfg.Names.Topic, Partitions: compare.Partitions}}})
		if err != nil {
			return nil, err
		}
		cfg.Cluster, cfg.Where = b.Cluster(), "embedded broker (figures are not Kafka's)"
		return func(context.Context) error { return b.Close() }, nil
	}
	if err := o.cluster.Writes("compare: making topics"); err != nil {
		return nil, err
	}
	cfg.Names = compare.NewNames("duplex-compare-", "."+time.Now().UTC().Format("20060102-150405.000000"))
	cfg.Where = "Kafka at " + strings.Join(cfg.Cluster.Brokers, ",")
	err = withClient(ctx, "compare", cfg.Cluster, func(ctx context.Context, cl *kgo.Client) error {
		created, err := kafka.EnsureTopic(ctx, cl, "compare", cfg.Names.Topic, compare.Partitions)
		if err == nil && !created {
			return fmt.Errorf("compare: creating topic %q: it exists already: try again", cfg.Names.Topic)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return withClient(ctx, "compare", cfg.Cluster, func(ctx context.Context, cl *kgo.Client) error {
			return sweep(ctx, cl, "compare", cfg.Names.Groups(), cfg.Names.Topics())
		})
	}, nil
}
