package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/app/admin"
	"github.com/duplex-go/duplex/internal/app/shell"
	providers "github.com/duplex-go/duplex/internal/app/telemetry"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/telemetry"
	"github.com/duplex-go/duplex/rpc"
)

const serveLong = `serve serves SERVICE: "sh -c CMD" runs for each call, of whatever method, many at once
(--concurrency), those of one key one after the other.
  input        the request on standard input, as it is; a command need not read it
  environment  ours, and DUPLEX_METHOD (the method's name, as in duplex call), DUPLEX_CALLER
               (what the caller says of itself), DUPLEX_DEADLINE (RFC 3339, with
               milliseconds; not there for a message without one), DUPLEX_ATTEMPT (1, 2, …),
               DUPLEX_KEY unless the request has none, DUPLEX_ONE_WAY=1 if nobody waits
               for the answer, and DUPLEX_HEADER_<NAME> for each header that has a value:
               NAME in upper case, with _ for all but letters and digits of ASCII; the last
               one of a name wins. A value that is not UTF-8, or has a NUL in it, is in
               base64 instead, as DUPLEX_KEY_B64 or DUPLEX_HEADER_<NAME>_B64. A request
               whose key and headers do not fit, 64 KiB a variable and 512 KiB in all, is
               answered with invalid_argument, and not run.
  output       its standard output is the reply, unchanged, up to 8 MiB and what the topic
               of replies takes (by default 1 MiB). Its standard error goes to ours, each
               line after "topic/partition@offset: "; its last line, or the first 200 bytes
               of that, is the message of an error: the caller gets it.
  exit code    0          the reply is sent
               64, 65     invalid_argument
               66         not_found
               67         unimplemented: no such method
               69, 75     unavailable
               77         permission_denied
               any other, and death by a signal: internal
  its end      by the caller's deadline the command and all it started get SIGTERM, 2 s
               later SIGKILL, and the caller has deadline_exceeded. What it leaves behind in
               its process group gets 2 s too, then SIGKILL.
No call runs twice. A message (--one-way) whose command fails is tried again in its place
until it succeeds. With --dlq it is tried again after each of --retry, by way of retry
topics, and goes to the dead-letter queue of the group rpc.SERVICE then; or at once with
exit code 64 or 65, which say that no retry can help.
Requests are data from others: quote "$DUPLEX_METHOD" in CMD, and never eval it.

--admin serves /healthz, /readyz (200 while calls are served), /debug/status and /metrics,
for Prometheus. OTEL_EXPORTER_OTLP_ENDPOINT sends spans and metrics there.

SIGINT and SIGTERM end it gracefully: no call begins any more, those at work may end
(--drain-timeout) and are answered, the others are left to the other servers.

Exit codes: 0 ended by SIGTERM, 1 could not go on, 2 usage, 4 the settings are
read-only, 130 interrupted by SIGINT.`

const serveExamples = `  duplex serve fares --exec ./quote
  duplex serve shout --exec 'tr a-z A-Z'
  duplex serve mail --exec ./send --dlq --retry 5s,1m,10m --admin 127.0.0.1:9090
  duplex serve time --exec 'case "$DUPLEX_METHOD" in Now) date -u +%FT%TZ;; *) exit 67;; esac'`

// The variables of a request.
const (
	variableKey  = "DUPLEX_KEY"
	headerPrefix = "DUPLEX_HEADER_"
)

// requestVariables are what a request has, or may have, beside its headers.
func requestVariables() []string {
	return []string{
		"DUPLEX_METHOD", "DUPLEX_METHOD_B64", "DUPLEX_CALLER", "DUPLEX_CALLER_B64", "DUPLEX_DEADLINE", "DUPLEX_ATTEMPT", "DUPLEX_ONE_WAY",
		variableKey, variableKey + "_B64", "TRACEPARENT", "TRACESTATE",
	}
}

// mostReply bounds what a command may write; topics take 1 MiB by default.
const mostReply = 8 << 20

type serveOptions struct {
	environ                      []string
	cluster                      *config.ClusterFlags
	exec                         string
	concurrency                  int
	partitions                   int32
	sessionTimeout, drainTimeout time.Duration
	dlq                          bool
	retry                        []time.Duration
	maxAttempts                  int
	admin                        string
	adminInsecure                bool
	verbose                      bool
}

func serveCommand(environ []string) (*cobra.Command, error) {
	o := &serveOptions{environ: shell.Inherited(environ, requestVariables(), headerPrefix)}
	cmd := &cobra.Command{
		Use: "serve SERVICE --exec CMD", Short: "Serve a service with a command that runs for each call", Long: serveLong, Example: serveExamples,
		Args: wants("SERVICE"),
	}
	o.addFlags(cmd.Flags())
	var err error
	o.cluster, err = config.AddClusterFlags(cmd.Flags(), "duplex-serve")
	config.AddFlags(cmd.Flags())
	cmd.ValidArgsFunction = completion(environ, 1, serviceNames)
	cmd.RunE = command.Body(environ, func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) })
	return cmd, err
}

func (o *serveOptions) addFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVarP(&o.exec, "exec", "e", "", "`command` to run for each call, by sh -c, see above (required)")
	flags.IntVar(&o.concurrency, "concurrency", rpc.DefaultConcurrency, "the most commands that run at once")
	flags.Int32Var(&o.partitions, "partitions", rpc.DefaultRequestPartitions, "partitions of the topic of requests if it is not there: no more servers than that have something to do")
	flags.DurationVar(&o.sessionTimeout, "session-timeout", rpc.DefaultSessionTimeout, "how long the calls of a server that died wait before others get them")
	flags.DurationVar(&o.drainTimeout, "drain-timeout", rpc.DefaultDrainTimeout, "how long a command may take to end when the server is stopped")
	flags.BoolVar(&o.dlq, "dlq", false, "messages that fail go through retry topics to a dead-letter queue, see above; their topics are made")
	flags.DurationSliceVar(&o.retry, "retry", dlq.DefaultDelays(), "with --dlq: how long a message that failed waits before each further attempt; a topic for each")
	flags.IntVar(&o.maxAttempts, "max-attempts", 0, "with --dlq: the most `attempts`, the first one included (default: one more than --retry has)")
	flags.StringVar(&o.admin, "admin", "", "`host:port` for probes and status, see above (default: none)")
	flags.BoolVar(&o.adminInsecure, "admin-insecure", false, "let --admin be on another interface than loopback, where whoever reaches it may read it")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "say on standard error what happens in the group")
}

// config is that of the server, without telemetry.
func (o *serveOptions) config(h rpc.Handler, log *zap.Logger) rpc.ServerConfig {
	cfg := rpc.ServerConfig{
		Cluster: o.cluster.Cluster(), Handlers: []rpc.Handler{h}, Concurrency: o.concurrency,
		Partitions: o.partitions, SessionTimeout: o.sessionTimeout, DrainTimeout: o.drainTimeout, Logger: log,
	}
	if o.dlq {
		cfg.Failures = o.policy()
	}
	return cfg
}

func (o *serveOptions) policy() dlq.Policy {
	return dlq.Policy{Delays: o.retry, MaxAttempts: o.maxAttempts}
}

func (o *serveOptions) validate(service string, flags *pflag.FlagSet) error {
	errs := []error{checkService("SERVICE", service)}
	if o.exec == "" {
		errs = append(errs, errors.New("--exec is missing: want a command to run for each call"))
	} else if err := shell.Check(o.exec); err != nil {
		errs = append(errs, fmt.Errorf("--exec %w", err))
	}
	if o.concurrency < 1 {
		errs = append(errs, fmt.Errorf("--concurrency %d: must be at least 1", o.concurrency))
	}
	if o.partitions < 1 {
		errs = append(errs, fmt.Errorf("--partitions %d: must be at least 1", o.partitions))
	}
	if o.sessionTimeout <= 0 || o.drainTimeout <= 0 {
		errs = append(errs, fmt.Errorf("--session-timeout %s, --drain-timeout %s: must be positive", o.sessionTimeout, o.drainTimeout))
	}
	for _, name := range []string{"retry", "max-attempts"} {
		if flags.Changed(name) && !o.dlq {
			errs = append(errs, fmt.Errorf("--%s: only with --dlq", name))
		}
	}
	if o.dlq {
		if err := o.policy().Validate(); err != nil {
			errs = append(errs, fmt.Errorf("--dlq, --retry, --max-attempts: %w", err))
		}
	}
	if o.adminInsecure && o.admin == "" {
		errs = append(errs, errors.New("--admin-insecure: only with --admin"))
	}
	if o.admin != "" {
		if err := admin.Validate(o.admin, o.adminInsecure); err != nil {
			errs = append(errs, fmt.Errorf("--admin %w", err))
		}
	}
	return errors.Join(errs...)
}

// run is the command, once its settings are loaded.
func (o *serveOptions) run(cmd *cobra.Command, service string) error {
	if err := o.validate(service, cmd.Flags()); err != nil {
		return command.UsageError(err)
	}
	if err := o.cluster.Writes("serve: answering calls of " + service); err != nil {
		return err
	}
	stderr := cmd.ErrOrStderr()
	seen, err := providers.Start(cmd.Context(), providers.Config{Service: "duplex-serve", Environ: o.environ, Scrape: o.admin != ""})
	if err != nil {
		return command.UsageError(err)
	}
	defer func() { // a backend that is down is no reason to fail: the work is done
		if err := seen.Close(); err != nil {
			fmt.Fprintln(stderr, "duplex:", err)
		}
	}()
	e := &executor{service: service, line: o.exec, environ: o.environ, stderr: stderr}
	cfg := o.config(rpc.HandleRecord(service, "", e.handle), logger(stderr, o.verbose, zap.InfoLevel))
	cfg.TracerProvider, cfg.MeterProvider = seen.Traces, seen.Metrics
	s, err := rpc.NewServer(cfg)
	if err != nil {
		return command.UsageError(err)
	}
	if o.admin != "" {
		port, err := admin.Start(cmd.Context(), admin.Config{Listen: o.admin, Insecure: o.adminInsecure, Part: s, Metrics: seen.Handler})
		if err != nil {
			return err
		}
		defer func() { _ = port.Close() }() // nobody asks any more
		fmt.Fprintf(stderr, "duplex: admin at http://%s\n", port.Addr())
	}
	return o.serve(cmd, s, service)
}

// serve serves until the command is stopped.
func (o *serveOptions) serve(cmd *cobra.Command, s *rpc.Server, service string) error {
	stderr := cmd.ErrOrStderr()
	watching, end := context.WithCancel(cmd.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		o.sayWhenItServes(watching, stderr, s, service)
	}()
	err := s.Run(cmd.Context())
	end()
	<-watched
	if n := s.Status().Counts; n["requests"] > 0 {
		fmt.Fprintf(stderr, "duplex: %d calls answered, %d of them with an error; %d messages\n", n["answered"], n["errors"], n["one_way"])
	}
	if cause := context.Cause(cmd.Context()); err == nil && errors.Is(cause, command.ErrInterrupted) {
		return cause
	}
	return err
}

const (
	// servePoll is how often it is looked whether the server is in its group.
	servePoll = 20 * time.Millisecond
	// servePatience is how long nothing may come before a person is told why.
	servePatience = 2 * time.Second
)

// sayWhenItServes tells a person that calls are answered from now on, or what that waits
// for.
func (o *serveOptions) sayWhenItServes(ctx context.Context, stderr io.Writer, s *rpc.Server, service string) {
	at := strings.Join(o.cluster.Cluster().Brokers, ",")
	waiting := time.AfterFunc(servePatience, func() { fmt.Fprintf(stderr, "duplex: waiting for group %q at %s\n", rpc.Group(service), at) })
	defer waiting.Stop()
	tick := time.NewTicker(servePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.Status().Code != duplex.StatusJoining {
			fmt.Fprintf(stderr, "duplex: serving %q at %s\n", service, at)
			return
		}
	}
}

// executor runs a command for each call.
type executor struct {
	service, line string
	environ       []string // of each command, without what its request adds
	stderr        io.Writer
}

// handle is the handler of all methods.
func (e *executor) handle(ctx context.Context, r *kgo.Record) (*kgo.Record, error) {
	environ, err := e.environment(ctx, r)
	if err != nil {
		return nil, notRun(rpc.InvalidArgument, err)
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &output{}
	words := shell.NewLines(e.stderr, fmt.Sprintf("%s/%d@%d: ", r.Topic, r.Partition, r.Offset))
	ended, err := shell.Command{Line: e.line, Environ: environ, Stdin: r.Value, Stdout: out, Stderr: words}.Run(running, cancel)
	switch {
	case errors.Is(err, duplex.ErrTooLarge):
		return nil, notRun(rpc.InvalidArgument, err)
	case err != nil:
		return nil, notRun(rpc.Unavailable, err)
	}
	last := words.End()
	switch {
	case ended.OutErr != nil:
		return nil, rpc.Errorf(rpc.ResourceExhausted, "taking the command's output: %w", ended.OutErr)
	case ended.OK():
		return out.reply(), nil
	case ctx.Err() != nil: // the deadline, or another server goes on with it
		return nil, ended.Problem(ctx, "")
	}
	if last == "" {
		last = ended.Problem(ctx, "").Error()
		_, _ = words.Write([]byte(last + "\n")) // it never fails
	}
	failed := rpc.Errorf(codeOf(ended.Code()), "%s", last)
	if failed.Code == rpc.InvalidArgument && rpc.FromContext(ctx).OneWay {
		return nil, duplex.Permanent(failed)
	}
	return nil, failed
}

// notRun is for a call whose command did not start.
func notRun(code rpc.Code, err error) error {
	e := rpc.Errorf(code, "%w", err)
	e.Executed = rpc.Never
	return e
}

// codeOf is what an exit code says: those of sysexits.h, as far as calls have them.
func codeOf(exit int) rpc.Code {
	switch exit {
	case 64, 65: // EX_USAGE, EX_DATAERR
		return rpc.InvalidArgument
	case 66: // EX_NOINPUT
		return rpc.NotFound
	case 67: // EX_NOUSER
		return rpc.Unimplemented
	case 69, 75: // EX_UNAVAILABLE, EX_TEMPFAIL
		return rpc.Unavailable
	case 77: // EX_NOPERM
		return rpc.PermissionDenied
	default:
		return rpc.Internal
	}
}

const deadlineLayout = "2006-01-02T15:04:05.000Z07:00"

// environment is what a command is told of its request.
func (e *executor) environment(ctx context.Context, r *kgo.Record) ([]string, error) {
	info := rpc.FromContext(ctx)
	own := []string{
		shell.Variable("DUPLEX_METHOD", []byte(strings.TrimPrefix(info.Method, e.service+"/"))),
		shell.Variable("DUPLEX_CALLER", []byte(info.Caller)),
		"DUPLEX_ATTEMPT=" + strconv.Itoa(info.Attempt+max(consumer.FromContext(ctx).Attempt, 1)),
	}
	if !info.Deadline.IsZero() {
		own = append(own, "DUPLEX_DEADLINE="+info.Deadline.UTC().Format(deadlineLayout))
	}
	if info.OneWay {
		own = append(own, "DUPLEX_ONE_WAY=1")
	}
	if r.Key != nil {
		own = append(own, shell.Variable(variableKey, r.Key))
	}
	var headers []kgo.RecordHeader // of the caller's
	for _, h := range r.Headers {
		if !strings.HasPrefix(h.Key, "rpc-") && !strings.HasPrefix(h.Key, "kafka_") {
			headers = append(headers, h)
		}
	}
	environ, err := shell.Environ(e.environ, own, headerPrefix, headers)
	return append(environ, telemetry.Environment(ctx)...), err
}

// output is what a command has written, which becomes the reply.
type output struct{ value []byte }

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	if len(o.value)+len(b) > mostReply {
		return 0, fmt.Errorf("it has more than %d bytes", mostReply)
	}
	o.value = append(o.value, b...)
	return len(b), nil
}

func (o *output) reply() *kgo.Record {
	r := &kgo.Record{Value: o.value}
	if r.Value == nil {
		r.Value = []byte{} // there is a reply, and it is empty
	}
	duplex.SetHeader(r, duplex.HeaderContentType, contentType(r.Value))
	return r
}
