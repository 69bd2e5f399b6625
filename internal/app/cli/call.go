package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/terminal"
	"github.com/duplex-go/duplex/rpc"
)

const callLong = `call calls METHOD of SERVICE once and writes the bytes of the reply to standard
output: nothing is added, no newline either.

  --data '{"from":"LAX"}'   the request, as it is
  --data @trip.json         what is in a file
  --data -                  standard input
Without --data the request has no value; a method that takes JSON wants --data '{}' at
least. The content type is application/json if the bytes are JSON, and otherwise
application/octet-stream; --header content-type=… says another.

--timeout bounds all of it, finding the cluster too: the first call of a service makes
the topics rpc.replies.<--as> and rpc.claims.<--as>, which takes a moment. A service
that nobody serves is refused at once; --wait waits for one.

A call that ends with an error prints it as one line on standard error, such as
  not_found: nobody flies from ZZZ (executed: completed)
with one of Connect's codes, and whether the server ran it: never, maybe, completed.

--one-way sends a message instead: nobody answers, and it waits for a server for as
long as its topic keeps it. It prints where Kafka has stored it on standard error.

What is called is said by arguments and flags only: DUPLEX_KEY, DUPLEX_DATA and
DUPLEX_HEADER are not read. A command of duplex serve has the first one from its own
request.

Exit codes: 0 there is a reply, or the message is stored; 1 the call ended with an error;
2 usage; 3 its deadline passed; 4 the settings are read-only; 130 interrupted.`

const callExamples = `  duplex call fares Quote --data '{"from":"LAX","to":"JFK"}'
  duplex call fares Quote --data @trip.json --timeout 1s --header trace=42
  jq -c . trip.json | duplex call fares Quote --data - --wait
  duplex call mail Send --one-way --key user-7 --data @letter.json`

const (
	// callReplies is how many partitions the topic of replies gets: calls from a command
	// line are few.
	callReplies = 4
	// mostData bounds a request: no topic takes as much.
	mostData = 64 << 20
	// mostMethod is how many characters a method's name may have.
	mostMethod = 256
)

type callOptions struct {
	cluster *config.ClusterFlags
	as      string
	data    string
	headers []string
	key     string
	timeout time.Duration
	wait    bool
	oneWay  bool
}

func callCommand(environ []string) (*cobra.Command, error) {
	o := &callOptions{}
	cmd := &cobra.Command{
		Use: "call SERVICE METHOD", Short: "Call a method of a service, and write its reply", Long: callLong, Example: callExamples,
		Args: wants("SERVICE", "METHOD"),
	}
	o.addFlags(cmd.Flags())
	var err error
	o.cluster, err = config.AddClusterFlags(cmd.Flags(), "duplex-call")
	config.AddFlags(cmd.Flags())
	cmd.ValidArgsFunction = completion(environ, 1, serviceNames)
	cmd.RunE = command.Body(withoutCall(environ), func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0], args[1]) })
	return cmd, err
}

func (o *callOptions) addFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVarP(&o.data, "data", "d", "", "the request: `text`, @file, or - for standard input (default: no value)")
	flags.DurationVar(&o.timeout, "timeout", rpc.DefaultTimeout, "the deadline, from now on")
	flags.StringVarP(&o.key, "key", "k", "", "calls of one `key` run one after the other (default: none)")
	flags.StringArrayVarP(&o.headers, "header", "H", nil, "add the header `name=value` to the request; repeatable")
	flags.BoolVarP(&o.wait, "wait", "w", false, "wait for a server if there is none")
	flags.BoolVar(&o.oneWay, "one-way", false, "send a message that nobody answers")
	flags.StringVar(&o.as, "as", "duplex-call", "the client `service` whose topics bring the reply")
}

// withoutCall takes away what would change a call behind the back of who makes it: a
// command that serves a request has the key of that.
func withoutCall(environ []string) []string {
	return without(environ, variableKey, "DUPLEX_DATA", "DUPLEX_HEADER")
}

// without is the environment without some variables.
func without(environ []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(names, name)
	})
}

// wants is for commands with arguments that all must be there.
func wants(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return fmt.Errorf("want %s, got %d arguments: %q", strings.Join(names, " "), len(args), args)
		}
		for i, name := range names {
			if args[i] == "" {
				return fmt.Errorf("%s is empty", name)
			}
		}
		return nil
	}
}

// run is the command, once its settings are loaded.
func (o *callOptions) run(cmd *cobra.Command, service, name string) error {
	headers, err := o.parseHeaders()
	if err := errors.Join(o.validate(cmd, service, name), err); err != nil {
		return command.UsageError(err)
	}
	if err := o.cluster.Writes("call: sending a request to " + service); err != nil {
		return err
	}
	request, err := o.read(cmd)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := o.reach(cmd.Context()); err != nil {
		return err
	}
	client, err := rpc.NewClient(rpc.ClientConfig{Cluster: o.cluster.Cluster(), Service: o.as, ReplyPartitions: callReplies, WaitForServer: o.wait})
	if err != nil {
		return command.UsageError(err)
	}
	defer client.Close()
	m := rpc.Method[[]byte, []byte]{Service: service, Name: name, Codec: raw{headers}}
	if o.key != "" {
		m.Key = func([]byte) string { return o.key }
	}
	if o.oneWay {
		return o.send(cmd, client, m, request, began)
	}
	ctx, cancel := context.WithDeadline(cmd.Context(), began.Add(o.timeout))
	defer cancel()
	reply, err := rpc.Call(ctx, client, m, request)
	if err != nil {
		return failed(cmd, err)
	}
	if _, err := cmd.OutOrStdout().Write(reply); err != nil {
		return fmt.Errorf("call: writing the reply: %w", err)
	}
	return nil
}

// send sends a message. Its context has no deadline, or the message would have one, and a
// server would not handle it that comes later.
func (o *callOptions) send(cmd *cobra.Command, client *rpc.Client, m rpc.Method[[]byte, []byte], request []byte, began time.Time) error {
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	timer := time.AfterFunc(time.Until(began.Add(o.timeout)), func() { cancel(context.DeadlineExceeded) })
	defer timer.Stop()
	position, err := rpc.OneWay(ctx, client, m, request)
	switch {
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded) && err != nil:
		fmt.Fprintln(cmd.ErrOrStderr(), terminal.Printable(err.Error()))
		return command.Exit(command.TooLate)
	case err != nil:
		return err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "stored at", position)
	return nil
}

// failed says how a call ended.
func failed(cmd *cobra.Command, err error) error {
	e, ok := errors.AsType[*rpc.Error](err)
	if !ok {
		return err
	}
	said := *e
	said.Method = "" // whoever calls knows it
	fmt.Fprintln(cmd.ErrOrStderr(), terminal.Printable(said.Error()))
	switch {
	case errors.Is(context.Cause(cmd.Context()), command.ErrInterrupted):
		return command.ErrInterrupted
	case e.Code == rpc.DeadlineExceeded:
		return command.Exit(command.TooLate)
	default:
		return command.Exit(command.Failed)
	}
}

func (o *callOptions) validate(cmd *cobra.Command, service, name string) error {
	errs := []error{checkService("SERVICE", service), checkService("--as", o.as)}
	if len(name) > mostMethod || strings.ContainsAny(name, "/\x00\n") {
		errs = append(errs, fmt.Errorf("METHOD %q: want 1 to %d characters and no slash", terminal.Printable(name[:min(len(name), mostMethod)]), mostMethod))
	}
	if o.timeout <= 0 || o.timeout > 24*time.Hour {
		errs = append(errs, fmt.Errorf("--timeout %s: want more than 0 and at most 24h", o.timeout))
	}
	if o.key == "" && cmd.Flags().Changed("key") {
		errs = append(errs, errors.New("--key is empty: want a key, or no --key"))
	}
	if o.oneWay && o.wait {
		errs = append(errs, errors.New("--wait: not with --one-way, which waits for no server"))
	}
	return errors.Join(errs...)
}

// checkService says why a service cannot have topics.
func checkService(what, service string) error {
	if service == "" {
		return fmt.Errorf("%s is empty: want the name of a service", what)
	}
	// The cluster is any that is valid: it is not what is looked at.
	err := rpc.ClientConfig{Cluster: duplex.Cluster{Brokers: []string{config.DefaultBroker}}, Service: service}.Validate()
	if err != nil {
		return fmt.Errorf("%s: %s", what, strings.TrimPrefix(err.Error(), "Service: "))
	}
	return nil
}

func (o *callOptions) parseHeaders() ([]kgo.RecordHeader, error) {
	var headers []kgo.RecordHeader
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, "=")
		switch {
		case !ok || name == "":
			return nil, fmt.Errorf("--header %q: want name=value", h)
		case strings.HasPrefix(name, "rpc-") || strings.HasPrefix(name, "kafka_"):
			return nil, fmt.Errorf("--header %q: names that begin with rpc- or kafka_ are those of calls themselves", h)
		}
		headers = append(headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	return headers, nil
}

// read gives the request, nil for one without a value.
func (o *callOptions) read(cmd *cobra.Command) ([]byte, error) {
	switch {
	case o.data == "" && !cmd.Flags().Changed("data"):
		return nil, nil
	case o.data == "-":
		return readAll(cmd.Context(), "standard input", cmd.InOrStdin())
	case strings.HasPrefix(o.data, "@"):
		f, err := os.Open(o.data[1:])
		if err != nil {
			return nil, command.UsageError(fmt.Errorf("--data: %w", err))
		}
		defer f.Close()
		return readAll(cmd.Context(), o.data[1:], f)
	default:
		return []byte(o.data), nil
	}
}

// readAll reads to the end, or until ctx ends: nobody may ever write.
func readAll(ctx context.Context, name string, from io.Reader) ([]byte, error) {
	type read struct {
		data []byte
		err  error
	}
	done := make(chan read, 1)
	go func() {
		data, err := io.ReadAll(io.LimitReader(from, mostData+1))
		done <- read{data, err}
	}()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case r := <-done:
		switch {
		case r.err != nil:
			return nil, command.UsageError(fmt.Errorf("--data: reading %s: %w", name, r.err))
		case len(r.data) > mostData:
			return nil, command.UsageError(fmt.Errorf("--data: %s has more than %d bytes, and no topic takes so much", name, mostData))
		}
		return r.data, nil
	}
}

// reach says in its own words that nobody answers: a call could only say that its deadline
// passed.
func (o *callOptions) reach(ctx context.Context) error {
	client, err := kafka.NewClient(o.cluster.Cluster(), nil)
	if err != nil {
		return command.UsageError(err)
	}
	defer client.Close()
	return kafka.Reach(ctx, client, "call", o.timeout)
}

// raw is the codec of requests and replies that are bytes: they are JSON if they can be
// read as that.
type raw struct{ headers []kgo.RecordHeader }

const (
	typeJSON  = string(duplex.JSON)
	typeBytes = string(duplex.Bytes)
)

// contentType is what bytes are, as far as can be seen.
func contentType(value []byte) string {
	if json.Valid(value) {
		return typeJSON
	}
	return typeBytes
}

// ContentType implements [duplex.Codec].
func (raw) ContentType() string { return typeBytes }

// Encode implements [duplex.Codec].
func (c raw) Encode(r *kgo.Record, v any) error {
	if err := duplex.Bytes.Encode(r, v); err != nil {
		return err
	}
	if r.Value == nil {
		r.Headers = nil
	} else {
		duplex.SetHeader(r, duplex.HeaderContentType, contentType(r.Value))
	}
	for _, h := range c.headers {
		if h.Key == duplex.HeaderContentType {
			duplex.SetHeader(r, h.Key, string(h.Value))
			continue
		}
		r.Headers = append(r.Headers, h)
	}
	return nil
}

// Decode implements [duplex.Codec].
func (raw) Decode(r *kgo.Record, v any) error { return duplex.Bytes.Decode(r, v) }
