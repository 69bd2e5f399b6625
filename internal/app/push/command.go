// Package push is the program consumer: it reads topics in a group and writes
// each record as a line, or runs a command for each, committing only what is
// written or handled.
package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
)

type options struct {
	environ []string
	program string // that the command is in

	cluster *config.ClusterFlags
	topics  []string
	group   string

	instanceID, protocol string

	output string
	from   string

	untilEnd bool
	limit    int64

	exec                               string
	order                              string
	concurrency                        int
	handlerTimeout, retryMin, retryMax time.Duration

	dlq, keepOrder bool
	retry          []time.Duration
	maxAttempts    int

	admin         string
	adminInsecure bool

	commitInterval, drainTimeout, startTimeout, sessionTimeout time.Duration
	verbose                                                    bool
}

// In long and examples, $0 is what people call the command.
const long = `$0 reads topics as a member of a consumer group and writes each record to
standard output. An offset is committed only after its record is written, so none
is lost to a closed pipe, a full disk or a crash; after one of those, records may
come again.

TOPICs are arguments, or --topic. "duplex sub" and "consumer" are one command with two
names.

Output (--output):
  json    one object a line, with exact numbers:
          {"topic":"orders","partition":0,"offset":42,"timestamp":1700000000000,
           "key":"k","value":"v","headers":[["name","value"]]}
          timestamp is in milliseconds since 1970. Bytes that are not UTF-8 are in
          base64, as "key_b64", "value_b64" and ["name","…","b64"]; a missing key or
          value is null. Names of headers are UTF-8 in Kafka: in one that is not, each
          bad byte becomes U+FFFD.
  lines   the value and a newline, nothing for a missing value; a value that has
          newlines in it becomes several lines, so use json to tell them apart
  layout  kgo verbs, such as '%t %p %o %k %v\n'

With --exec CMD, nothing is written: "sh -c CMD" runs for each record, many at once
(--concurrency), those of one key one after the other (--order). An offset is
committed only after its command succeeded.
  input        the value on standard input, as it is; a command need not read it
  environment  ours, and KAFKA_TOPIC, KAFKA_PARTITION, KAFKA_OFFSET, KAFKA_TIMESTAMP
               (milliseconds since 1970; with --dlq, of a retry topic after the first
               attempt, as are the three before), KAFKA_ATTEMPT (1, 2, …), KAFKA_KEY unless the
               key is missing, KAFKA_VALUE_NULL=1 if the value is missing, and
               KAFKA_HEADER_<NAME> for each header that has a value: NAME in upper case,
               with _ for all but letters and digits of ASCII; the last one of a name
               wins. A key or header that is not UTF-8, or has a NUL in it, is in base64
               instead, as KAFKA_KEY_B64 or KAFKA_HEADER_<NAME>_B64. A record that does
               not fit, 64 KiB a variable and 512 KiB in all, fails.
  exit code    0 handled; any other, and death by a signal, failed: it is tried again
               in its place, after --retry-min at first, then twice as long each time up
               to --retry-max. With --dlq it is tried again after each of --retry, and
               goes to the topic dlq.<group>.<topic> then, or at once with exit code 65,
               which says that no retry can help
  output       its standard output goes to ours unchanged and in one piece, whatever the
               exit code: up to 1 MiB when the command ends, while the output of a larger
               one comes the others wait. Its standard error goes to ours, each line after
               "topic/partition@offset: ".
  its end      when --handler-timeout has passed, or the record is no longer ours, the
               command and all it started get SIGTERM, 2 s later SIGKILL. What it leaves
               behind in its process group gets 2 s too, then SIGKILL.
Records are data from others: quote "$KAFKA_KEY" in CMD, and never eval it.

--admin serves /healthz (200 while the program answers), /readyz (200 while it does its
work) and /debug/status (JSON). SIGUSR1 writes the status to standard error:
problems, counts, and a line for each partition.

Settings come from a profile (duplex profile), from --config FILE (YAML, keys as the
flags are named), from variables such as DUPLEX_BROKERS, and from flags, the later ones
winning.

Exit codes: 0 ended by --until-end, --limit or SIGTERM, 1 could not go on, 2 usage,
4 the settings are read-only, 130 interrupted by SIGINT. However it ends, what was
written or handled is committed.`

const examples = `  $0 orders -g audit
  $0 orders -g copy --until-end > orders.ndjson
  $0 orders -g tail --from end --output '%t %k %v\n'
  $0 orders -g mail --exec './send-mail "$KAFKA_KEY"' --handler-timeout 30s
  $0 orders -g mail --exec ./send-mail --admin 127.0.0.1:9090
  $0 orders -g mail --exec ./send-mail --dlq --retry 5s,1m,10m
  $0 thumbs -g resize --exec ./resize --order none --concurrency 8`

// Command makes the command as a program of its own; environ is the process's
// environment.
func Command(environ []string) (*cobra.Command, error) { return Named("consumer", environ) }

// Named makes the same command for a place where people call it by another name, such as
// "duplex sub".
func Named(name string, environ []string) (*cobra.Command, error) {
	o := &options{environ: environ}
	cmd := &cobra.Command{
		Use: name[strings.LastIndexByte(name, ' ')+1:] + " TOPIC... --group G", Short: "Read topics in a group, write each record as a line or run a command for it",
		Long: strings.ReplaceAll(long, "$0", name), Example: strings.ReplaceAll(examples, "$0", name), Args: cobra.ArbitraryArgs,
	}
	err := o.addFlags(cmd.Flags())
	cmd.RunE = command.Body(environ, func(cmd *cobra.Command, args []string) error {
		o.program = cmd.Root().Name()
		o.addTopics(args, cmd.Flags().Changed("topic"))
		return o.run(cmd)
	})
	return cmd, err
}

// addTopics takes the topics that are arguments: they stand beside those of --topic, and in
// place of those of a setting elsewhere.
func (o *options) addTopics(args []string, beside bool) {
	switch {
	case len(args) == 0:
	case beside:
		o.topics = append(o.topics, args...)
	default:
		o.topics = args
	}
}

func (o *options) addFlags(flags *pflag.FlagSet) (err error) {
	flags.SortFlags = false
	flags.StringSliceVarP(&o.topics, "topic", "t", nil, "`topic` to read, if it is not an argument; repeat it, or use commas, for several")
	flags.StringVarP(&o.group, "group", "g", "", "consumer `group` to be a member of (required)")
	flags.StringVar(&o.instanceID, "instance-id", "", "`id` of this member that a restart keeps: its partitions wait for it, for --session-timeout (default: none)")
	flags.StringVar(&o.protocol, "protocol", consumer.Classic.String(), "how the group shares out its partitions: classic, or kip848 (Kafka 4.0 and later)")
	flags.StringVarP(&o.output, "output", "o", outputJSON, "json, lines, or a `layout` of kgo verbs, see above")
	flags.StringVar(&o.from, "from", "start", "where a group that has no offsets yet begins: start, end, or a `time` in RFC 3339")
	flags.BoolVar(&o.untilEnd, "until-end", false, "stop once the group is at the offsets that were the end when this started")
	flags.Int64Var(&o.limit, "limit", 0, "stop after this `number` of records (default: no limit)")
	flags.StringVarP(&o.exec, "exec", "e", "", "`command` to run for each record, by sh -c, see above (default: write the records)")
	flags.StringVar(&o.order, "order", orderKey, "with --exec: which records wait for which, those of one key, of one partition, or none")
	flags.IntVar(&o.concurrency, "concurrency", consumer.DefaultConcurrency, "with --exec: the most commands that run at once")
	flags.DurationVar(&o.handlerTimeout, "handler-timeout", 0, "with --exec: how long a command may take (default: no limit)")
	flags.DurationVar(&o.retryMin, "retry-min", defaultRetryMin, "with --exec: how long a failed record waits at first")
	flags.DurationVar(&o.retryMax, "retry-max", consumer.DefaultRetryMax, "with --exec: how long it waits at most")
	flags.BoolVar(&o.dlq, "dlq", false, "with --exec: failed records go through retry topics to a dead-letter queue, see above; their topics are made")
	flags.DurationSliceVar(&o.retry, "retry", dlq.DefaultDelays(), "with --dlq: how long a failed record waits before each further attempt; a topic for each")
	flags.IntVar(&o.maxAttempts, "max-attempts", 0, "with --dlq: the most `attempts`, the first one included (default: one more than --retry has)")
	flags.BoolVar(&o.keepOrder, "keep-order", false, "with --dlq: a failed record waits in its place, and those of its key behind it, instead of in retry topics")
	flags.DurationVar(&o.commitInterval, "commit-interval", consumer.DefaultCommitInterval, "how often offsets are committed")
	flags.DurationVar(&o.drainTimeout, "drain-timeout", consumer.DefaultDrainTimeout, "how long a write or a command may take to end when the program is stopped")
	flags.DurationVar(&o.startTimeout, "start-timeout", consumer.DefaultStartTimeout, "how long to try to reach the cluster")
	flags.DurationVar(&o.sessionTimeout, "session-timeout", consumer.DefaultSessionTimeout, "how long the group waits for a silent member")
	flags.StringVar(&o.admin, "admin", "", "`host:port` for probes and status, see above (default: none)")
	flags.BoolVar(&o.adminInsecure, "admin-insecure", false, "let --admin be on another interface than loopback, where whoever reaches it may read it")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "say on standard error what happens in the group")
	o.cluster, err = config.AddClusterFlags(flags, "duplex-consumer")
	config.AddFlags(flags)
	return err
}

func (o *options) validate() error {
	var errs []error
	if len(o.topics) == 0 {
		errs = append(errs, errors.New("TOPIC is missing: name at least one topic to read, as an argument or by --topic"))
	}
	for _, topic := range o.topics {
		if err := duplex.ValidateTopicName(topic); err != nil {
			errs = append(errs, fmt.Errorf("TOPIC: %w", err))
		}
	}
	if o.group == "" {
		errs = append(errs, errors.New("--group is missing: name the consumer group whose offsets say what was read"))
	}
	if o.limit < 0 {
		errs = append(errs, fmt.Errorf("--limit %d: must not be negative", o.limit))
	}
	for _, flag := range []struct {
		name  string
		value time.Duration
	}{
		{"commit-interval", o.commitInterval}, {"drain-timeout", o.drainTimeout},
		{"start-timeout", o.startTimeout}, {"session-timeout", o.sessionTimeout},
	} {
		if flag.value <= 0 {
			errs = append(errs, fmt.Errorf("--%s %s: must be positive", flag.name, flag.value))
		}
	}
	if _, ok := protocols()[o.protocol]; !ok {
		errs = append(errs, fmt.Errorf("--protocol %q: want %s", o.protocol, strings.Join(slices.Sorted(maps.Keys(protocols())), ", ")))
	}
	return errors.Join(append(errs, o.validateExec(), o.validateAdmin())...)
}

func protocols() map[string]consumer.Protocol {
	return map[string]consumer.Protocol{consumer.Classic.String(): consumer.Classic, consumer.KIP848.String(): consumer.KIP848}
}

func (o *options) startOffset() (consumer.StartOffset, error) {
	switch o.from {
	case "start":
		return consumer.StartEarliest(), nil
	case "end":
		return consumer.StartLatest(), nil
	}
	at, err := time.Parse(time.RFC3339, o.from)
	if err != nil {
		return consumer.StartOffset{}, fmt.Errorf("--from %q: want start, end, or a time such as 2026-01-02T15:04:05Z", o.from)
	}
	return consumer.StartAt(at), nil
}

// run is the program, once its settings are loaded.
func (o *options) run(cmd *cobra.Command) error {
	format, formatErr := newFormat(o.output)
	from, fromErr := o.startOffset()
	if err := errors.Join(o.validate(), o.requireCommand(cmd), fromErr, formatErr); err != nil {
		return command.UsageError(err)
	}
	if err := o.cluster.Writes(cmd.Name() + ": committing offsets of group " + o.group); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(cmd.Context())
	defer stop(nil)
	seen, err := o.observe(ctx)
	if err != nil {
		return command.UsageError(err)
	}
	defer endObservation(seen, o.program, cmd.ErrOrStderr())
	cfg := o.config(from, o.logger(cmd))
	cfg.TracerProvider, cfg.MeterProvider = seen.Traces, seen.Metrics
	topics := slices.Compact(slices.Sorted(slices.Values(o.topics)))
	var out outcome
	if o.exec != "" {
		runner := o.runner(ctx, stop, cmd)
		for _, topic := range topics {
			cfg.Handlers = append(cfg.Handlers, consumer.HandleRecord(topic, runner.handle))
		}
		out = runner
	} else {
		w := newWriter(cmd.OutOrStdout(), format, o.limit, stop)
		for _, topic := range topics {
			cfg.Handlers = append(cfg.Handlers, consumer.HandleRecordBatch(topic, w.write))
		}
		out = w
	}
	c, err := consumer.New(cfg)
	if err != nil {
		return command.UsageError(err)
	}
	unwatch, err := o.watch(ctx, cmd, c, seen.Handler)
	if err != nil {
		return err
	}
	return o.consume(ctx, stop, cmd, c, out, unwatch)
}

func (o *options) policy() dlq.Policy {
	return dlq.Policy{Delays: o.retry, MaxAttempts: o.maxAttempts, KeepOrder: o.keepOrder}
}

// outcome tells why what was read could not be passed on, nil if it could.
type outcome interface{ err() error }

func (o *options) config(from consumer.StartOffset, log *zap.Logger) consumer.Config {
	cfg := consumer.Config{
		Cluster: o.cluster.Cluster(), Group: o.group, StartOffset: from, Ordering: consumer.ByPartition,
		InstanceID: o.instanceID, Protocol: protocols()[o.protocol],
		Concurrency: 1, // one line after the other
		RetryMin:    o.retryMin, RetryMax: o.retryMax, HandlerTimeout: o.handlerTimeout,
		CommitInterval: o.commitInterval, DrainTimeout: o.drainTimeout, StartTimeout: o.startTimeout,
		SessionTimeout: o.sessionTimeout, RebalanceTimeout: max(consumer.DefaultRebalanceTimeout, o.sessionTimeout), Logger: log,
	}
	if o.exec != "" {
		cfg.Ordering, cfg.Concurrency = orderings()[o.order], o.concurrency
	}
	if o.dlq {
		cfg.Failures = o.policy()
	}
	return cfg
}

// patience is how long nothing may come before a person is told why.
const patience = 2 * time.Second

// explainWait tells a person who sees nothing what it waits for.
func (o *options) explainWait(cmd *cobra.Command, c *consumer.Consumer) {
	if c.Status().Code == duplex.StatusJoining {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: waiting for group %q at %s\n", o.program, o.group, strings.Join(o.cluster.Cluster().Brokers, ","))
	}
}

// sayFailures says at the end what became of records that failed: some may wait, and
// nobody would know.
func sayFailures(to io.Writer, program string, counts map[string]int64) {
	if counts["dead"]+counts["retried"] == 0 {
		return
	}
	fmt.Fprintf(to, "%s: %d handled, %d of them after they had failed; %d became dead letters; what waits for another attempt has it when the group is started again\n",
		program, counts["handled"], counts["recovered"], counts["dead"])
}

func (o *options) consume(ctx context.Context, stop context.CancelCauseFunc, cmd *cobra.Command, c *consumer.Consumer, out outcome, unwatch func() error) error {
	watching, ended := context.WithCancel(ctx)
	done := make(chan error, 1)
	if o.untilEnd {
		go func() { done <- o.watchEnd(watching, stop) }()
	} else {
		done <- nil
	}
	waiting := time.AfterFunc(patience, func() { o.explainWait(cmd, c) })
	err := c.Run(ctx)
	waiting.Stop()
	ended()
	sayFailures(cmd.ErrOrStderr(), o.program, c.Status().Counts)
	watchErr := errors.Join(<-done, unwatch())
	cause := context.Cause(ctx)
	switch {
	case errors.Is(err, duplex.ErrUnknownTopic):
		return errors.Join(err, o.meant(ctx), out.err())
	case err != nil:
		return errors.Join(err, out.err())
	case out.err() != nil:
		return out.err()
	case watchErr != nil:
		return watchErr
	case errors.Is(cause, command.ErrInterrupted):
		return cause
	default:
		return nil
	}
}

// meant names the topics that are nearest to those that there are not, nil if nothing is near.
func (o *options) meant(ctx context.Context) error {
	client, err := kafka.NewClient(o.cluster.Cluster(), nil)
	if err != nil {
		return nil // that there is no such topic is said already
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	there, err := kadm.NewClient(client).ListTopics(ctx)
	if err != nil {
		return nil
	}
	var errs []error
	for _, topic := range o.topics {
		if near := config.Nearest(topic, slices.Values(there.Names())); near != "" && !there.Has(topic) {
			errs = append(errs, fmt.Errorf("topic %q: did you mean %q?", topic, near))
		}
	}
	return errors.Join(errs...)
}

func (o *options) logger(cmd *cobra.Command) *zap.Logger {
	encoding := zap.NewDevelopmentEncoderConfig()
	encoding.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	level := zap.ErrorLevel
	switch {
	case o.verbose:
		level = zap.InfoLevel
	case o.exec != "":
		level = zap.WarnLevel // a command that fails without a word is said to have failed
	}
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(encoding), zapcore.Lock(zapcore.AddSync(cmd.ErrOrStderr())), level))
}
