// Package ingest is the program producer: it reads records, one a line, and
// publishes them.
package ingest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/producer"
)

type options struct {
	cluster *config.ClusterFlags

	topic    string
	format   string
	key      string
	keyField string
	headers  []string
	create   int32

	timeout     time.Duration
	linger      time.Duration
	maxBytes    int32
	skipInvalid bool
	json        bool
}

// In long and examples, $0 is what people call the command.
const long = `$0 reads records from FILE, or from standard input, and publishes each to a
topic. A record counts as published only when Kafka has stored it on all in-sync
replicas.

TOPIC is the first argument, or --topic; where the topic is a setting, one argument
is FILE. "duplex pub" and "producer" are one command with two names.

Formats (--format):
  json    one JSON value a line; its bytes are published as they are
  lines   any line; an empty one is a record with an empty value
  layout  kgo verbs, such as '%k\t%v\n' for a key, a tab, a value and a newline
A line ends with LF or CR LF, the last one also with the input.

A line that cannot be used ends the run with its number and the reason, after what
was read before it is published; with --skip-invalid it is counted and left out.
Input that does not fit a layout always ends the run: where its next record begins
is not known. A record that Kafka refuses has failed; reading goes on behind it only
with --skip-invalid.

--json prints one summary object on standard output, however the run ends:
  read = published + failed + unknown (+ skipped, with --skip-invalid)
failed are certainly not stored; unknown may be, once. Everything else that
is said goes to standard error.

Settings come from a profile (duplex profile), from --config FILE (YAML, keys as the
flags are named), from variables such as DUPLEX_BROKERS, and from flags, the later ones
winning.

Exit codes: 0 all published or skipped, 1 some failed or are unknown, 2 usage,
4 the settings are read-only, 130 interrupted by SIGINT or SIGTERM (what was read is
published).`

const examples = `  $0 flights --key-field origin flights.ndjson
  tail -f app.log | $0 logs --format lines
  $0 orders --format '%k\t%v\n' --create 6 orders.tsv
  $0 --topic orders --json < orders.ndjson
    {"read":3,"published":3,"failed":0,"unknown":0,"seconds":0.41}`

// Command makes the command as a program of its own; environ is the process's
// environment.
func Command(environ []string) (*cobra.Command, error) { return Named("producer", environ) }

// Named makes the same command for a place where people call it by another name, such as
// "duplex pub".
func Named(name string, environ []string) (*cobra.Command, error) {
	o := &options{}
	cmd := &cobra.Command{
		Use: name[strings.LastIndexByte(name, ' ')+1:] + " TOPIC [FILE|-]", Short: "Publish records, one a line, to a topic",
		Long: strings.ReplaceAll(long, "$0", name), Example: strings.ReplaceAll(examples, "$0", name), Args: topicAndFile,
	}
	err := o.addFlags(cmd.Flags())
	cmd.RunE = command.Body(environ, o.run)
	return cmd, err
}

func topicAndFile(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) > 1 && cmd.Flags().Changed("topic"):
		return fmt.Errorf("want at most one FILE beside --topic, got %d: %s", len(args), strings.Join(args, " "))
	case len(args) > 2:
		return fmt.Errorf("want TOPIC and at most one FILE, got %d: %s", len(args), strings.Join(args, " "))
	}
	return nil
}

// file takes the topic from what stands before FILE, unless a setting names it.
func (o *options) file(args []string) ([]string, error) {
	switch {
	case len(args) == 2:
		o.topic, args = args[0], args[1:]
	case len(args) == 1 && o.topic == "" && args[0] != "-":
		if info, err := os.Stat(args[0]); err == nil && info.Mode().IsRegular() {
			return nil, fmt.Errorf("%q is a file: name the topic before it, or by --topic", args[0])
		}
		o.topic, args = args[0], nil
	}
	return args, nil
}

func (o *options) addFlags(flags *pflag.FlagSet) (err error) {
	flags.SortFlags = false
	flags.StringVarP(&o.topic, "topic", "t", "", "`topic` to publish to, if it is not an argument")
	flags.StringVarP(&o.format, "format", "f", "json", "json, lines, or a `layout` of kgo verbs, see above")
	flags.StringVarP(&o.key, "key", "k", "", "one `key` for all records")
	flags.StringVar(&o.keyField, "key-field", "", "take each record's key from this `field` of its JSON object: a string that is not empty, or a number")
	flags.StringArrayVarP(&o.headers, "header", "H", nil, "add the header `name=value` to each record; repeatable")
	flags.Int32Var(&o.create, "create", 0, "create the topic with this `number` of partitions if it does not exist")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long the cluster may take to answer at the start, and each record to be stored")
	flags.DurationVar(&o.linger, "linger", producer.DefaultLinger, "how long a record may wait for others to be sent together; 0 sends each at once")
	flags.Int32Var(&o.maxBytes, "max-record-bytes", producer.DefaultMaxRecordBytes, "the longest record to accept, in bytes; the topic's max.message.bytes must allow it")
	flags.BoolVar(&o.skipInvalid, "skip-invalid", false, "leave out lines that cannot be used, and count them")
	flags.BoolVar(&o.json, "json", false, "print a summary as one JSON object on standard output")
	o.cluster, err = config.AddClusterFlags(flags, "duplex-producer")
	config.AddFlags(flags)
	return err
}

// These are the least that a producer allows.
const (
	leastRecordBytes = 1024
	leastTimeout     = time.Second
)

func (o *options) validate() error {
	var errs []error
	if o.topic == "" {
		errs = append(errs, errors.New("TOPIC is missing: name the topic to publish to, as an argument or by --topic"))
	} else if err := duplex.ValidateTopicName(o.topic); err != nil {
		errs = append(errs, fmt.Errorf("TOPIC: %w", err))
	}
	if o.key != "" && o.keyField != "" {
		errs = append(errs, errors.New("--key and --key-field exclude each other"))
	}
	if o.keyField != "" && o.format != "json" {
		errs = append(errs, fmt.Errorf("--key-field needs --format json, not %q", o.format))
	}
	if o.create < 0 {
		errs = append(errs, fmt.Errorf("--create %d: want a number of partitions", o.create))
	}
	if o.timeout < leastTimeout {
		errs = append(errs, fmt.Errorf("--timeout %s: must be at least %s", o.timeout, leastTimeout))
	}
	if o.maxBytes < leastRecordBytes {
		errs = append(errs, fmt.Errorf("--max-record-bytes %d: must be at least %d", o.maxBytes, leastRecordBytes))
	}
	if o.linger < 0 {
		errs = append(errs, fmt.Errorf("--linger %s: must not be negative", o.linger))
	}
	_, err := o.parseHeaders()
	return errors.Join(append(errs, err)...)
}

func (o *options) parseHeaders() ([]kgo.RecordHeader, error) {
	headers := make([]kgo.RecordHeader, 0, len(o.headers))
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--header %q: want name=value", h)
		}
		headers = append(headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	return headers, nil
}

// lingerTime is --linger in the producer's words, where 0 is the default.
func (o *options) lingerTime() time.Duration {
	if o.linger == 0 {
		return producer.NoLinger
	}
	return o.linger
}

// run is the program, once its settings are loaded.
func (o *options) run(cmd *cobra.Command, args []string) error {
	args, err := o.file(args)
	if err := errors.Join(err, o.validate()); err != nil {
		return command.UsageError(err)
	}
	if err := o.cluster.Writes(cmd.Name() + ": publishing to topic " + o.topic); err != nil {
		return err
	}
	input, name, err := open(cmd.InOrStdin(), args)
	if err != nil && !cmd.Flags().Changed("topic") {
		err = fmt.Errorf("%w (the topic is %q)", err, o.topic)
	}
	if err != nil {
		return command.UsageError(err)
	}
	defer input.Close()
	source, err := o.source(input)
	if err != nil {
		return command.UsageError(err)
	}
	j, err := o.newJob(cmd, source, name)
	if err != nil {
		return command.UsageError(err)
	}
	return j.run(cmd.Context())
}

func open(stdin io.Reader, args []string) (io.ReadCloser, string, error) {
	if len(args) == 0 || args[0] == "-" {
		return io.NopCloser(stdin), "standard input", nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, "", err
	}
	return f, args[0], nil
}
