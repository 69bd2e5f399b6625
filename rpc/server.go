package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/internal/telemetry"
)

// Defaults of ServerConfig.
const (
	DefaultConcurrency       = 64
	DefaultRequestPartitions = 6
	DefaultSessionTimeout    = 10 * time.Second
	DefaultDrainTimeout      = 30 * time.Second
)

// ServerConfig describes a server. Cluster and Handlers are required; the zero value of
// every other field works.
type ServerConfig struct {
	// Cluster is the Kafka to serve on.
	Cluster duplex.Cluster

	// Handlers serve the methods of one service, each method once. Required.
	Handlers []Handler

	// Interceptors wrap every handler, the first one outermost. Defaults to none.
	Interceptors []Interceptor

	// Concurrency is how many calls run at once in this server, from 1 to 100,000.
	// Those beyond it wait, for as long as their deadlines allow. Defaults to 64.
	Concurrency int

	// Instance names this server to its callers. Defaults to a random name.
	Instance string

	// Partitions is how many the topic of requests gets if it is not there: no more
	// servers than that have something to do. Defaults to 6.
	Partitions int32

	// ReplyPrefixes begin the names of the topics that replies may go to; others are
	// refused, or a caller could have the server write anywhere. Defaults to
	// "rpc.replies."; set it for callers of other frameworks.
	ReplyPrefixes []string

	// Failures is the policy for one-way calls that fail, such as dlq.Policy. Defaults
	// to none: they are tried again in their places.
	Failures consumer.Failures

	// SessionTimeout is how long the calls of a server that died wait before others get
	// them; brokers allow 6 s and more. Defaults to 10 s.
	SessionTimeout time.Duration

	// DrainTimeout is how long running handlers may go on after Run's context was
	// cancelled. Defaults to 30 s.
	DrainTimeout time.Duration

	// TracerProvider and MeterProvider get spans and metrics. Default to none.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider

	// Logger gets what the server has to say: errors that their callers do not see,
	// replies that cannot be sent. Defaults to none.
	Logger *zap.Logger
}

// Validate reports every problem of c at once, each naming its field.
func (c ServerConfig) Validate() error {
	errs := []error{c.Cluster.Validate(), validateHandlers(c.Handlers)}
	if c.Partitions < 0 {
		errs = append(errs, fmt.Errorf("Partitions is %d, want 1 or more, or 0 for %d", c.Partitions, DefaultRequestPartitions))
	}
	if len(c.Instance) > maxWord/2 {
		errs = append(errs, fmt.Errorf("Instance has %d characters, at most %d are allowed", len(c.Instance), maxWord/2))
	}
	for i, p := range c.ReplyPrefixes {
		if p == "" {
			errs = append(errs, fmt.Errorf("ReplyPrefixes[%d] is empty, which would let a caller have this server write to any topic", i))
		}
	}
	return errors.Join(errs...)
}

func validateHandlers(handlers []Handler) error {
	if len(handlers) == 0 {
		return errors.New("Handlers is empty: name at least one method and what serves it")
	}
	var errs []error
	seen := map[string]int{}
	for i, h := range handlers {
		if h.err != nil {
			errs = append(errs, fmt.Errorf("Handlers[%d]: %w", i, h.err))
		}
		if h.serve == nil {
			errs = append(errs, fmt.Errorf("Handlers[%d] for method %s/%s has no function", i, h.service, h.name))
		}
		if h.limit < 0 {
			errs = append(errs, fmt.Errorf("Handlers[%d] for method %s/%s has the limit %d, want 1 or more, or 0 for none", i, h.service, h.name, h.limit))
		}
		if h.service != handlers[0].service {
			errs = append(errs, fmt.Errorf("Handlers[%d] is of service %q, the first one of %q: a server serves one, make another one for the other",
				i, h.service, handlers[0].service))
		}
		if first, twice := seen[h.name]; twice {
			errs = append(errs, fmt.Errorf("Handlers[%d]: method %s/%s has a handler already, Handlers[%d]", i, h.service, h.name, first))
		}
		seen[h.name] = i
	}
	return errors.Join(errs...)
}

func (c ServerConfig) withDefaults() ServerConfig {
	c.Concurrency = orElse(c.Concurrency, DefaultConcurrency)
	c.Partitions = orElse(c.Partitions, DefaultRequestPartitions)
	c.SessionTimeout = orElse(c.SessionTimeout, DefaultSessionTimeout)
	c.DrainTimeout = orElse(c.DrainTimeout, DefaultDrainTimeout)
	if c.Instance == "" {
		c.Instance = randomName()
	}
	if len(c.ReplyPrefixes) == 0 {
		c.ReplyPrefixes = []string{replyPrefix}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

func orElse[T comparable](v, usual T) T {
	var zero T
	if v == zero {
		return usual
	}
	return v
}

// Server is one instance of a service. Make one with NewServer, then Run it. All methods
// are safe for concurrent use.
type Server struct {
	cfg       ServerConfig
	service   string
	name      string // "service/instance"
	log       *zap.Logger
	methods   map[string]*method // by name
	consumer  *consumer.Consumer
	counts    serverCounts
	cancels   *cancels
	words     words
	telemetry *telemetry.Calls
	replier   atomic.Pointer[replier] // of Run; nil before
}

// method is what a server knows of one of its methods.
type method struct {
	Handler
	full    string // "service/Name"
	serve   Next   // with interceptors
	running atomic.Int64
	took    durations
}

// serverCounts are in Status.
type serverCounts struct {
	requests, answered, errors, oneWay                atomic.Int64
	expired, shed, limited, malformed, unknown, begun atomic.Int64
	refusedAddresses, repliesLost, panics, cancelled  atomic.Int64
}

// NewServer returns a server that Run will start. It validates cfg, reads the files that
// cfg names, and dials nothing. The error names every problem of cfg at once.
func NewServer(cfg ServerConfig) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &duplex.Error{Op: "rpc: checking ServerConfig", Err: err}
	}
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg, service: cfg.Handlers[0].service, log: cfg.Logger.Named("rpc"), methods: map[string]*method{}}
	s.name = s.service + "/" + cfg.Instance
	s.cancels = newCancels(s)
	for _, h := range cfg.Handlers {
		s.methods[h.name] = &method{Handler: h, full: h.service + "/" + h.name, serve: wrap(h.serve, cfg.Interceptors)}
	}
	var err error
	if s.telemetry, err = telemetry.NewCalls(cfg.TracerProvider, cfg.MeterProvider, true, nil); err != nil {
		return nil, &duplex.Error{Op: "rpc: preparing telemetry", Err: err}
	}
	s.consumer, err = consumer.New(consumer.Config{
		Cluster: cfg.Cluster, Group: Group(s.service),
		Handlers:    []consumer.Handler{consumer.HandleRecord(RequestTopic(s.service), s.handle)},
		Concurrency: cfg.Concurrency, SessionTimeout: cfg.SessionTimeout, DrainTimeout: cfg.DrainTimeout,
		Failures: policy{s}, TracerProvider: cfg.TracerProvider, MeterProvider: cfg.MeterProvider, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, &duplex.Error{Op: "rpc: checking ServerConfig", Err: err}
	}
	return s, nil
}

// Run makes the topic of requests if it is not there, joins the service's group and
// serves until ctx is cancelled. Then it stops gracefully: no call begins any more, those
// at work may end (DrainTimeout) and are answered, and what did not begin is left to the
// other servers. A graceful stop returns nil.
//
// Run returns an error, coded, for the same reasons as consumer.Consumer.Run. A Server
// runs once.
func (s *Server) Run(ctx context.Context) error {
	r, err := newReplier(ctx, s)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer r.close()
	if !s.replier.CompareAndSwap(nil, r) {
		return &duplex.Error{Op: "rpc: serving " + s.service, Codes: []duplex.Code{duplex.ErrClosed}, Hint: "a Server runs once: make another one"}
	}
	// Cancels are read for as long as there are calls to cancel.
	reading, end := context.WithCancel(context.WithoutCancel(ctx))
	var cancels sync.WaitGroup
	cancels.Go(func() { s.cancels.run(reading) })
	defer cancels.Wait()
	defer end()
	return s.consumer.Run(ctx)
}

// Ping reports whether the cluster answers and lets us in.
func (s *Server) Ping(ctx context.Context) error { return s.consumer.Ping(ctx) }

// Status returns a snapshot: that of the group's member, with what became of calls.
// Counts are, beside those of consumer.Consumer.Status: requests, answered (replies that
// were acknowledged, errors among them), errors, one_way, expired, shed, limited,
// malformed, unknown_methods, maybe_begun, cancelled (callers that gave up, as they said), refused_addresses, replies_lost (that no topic
// took by their deadlines) and panics.
func (s *Server) Status() duplex.Status {
	st := s.consumer.Status()
	st.Component, st.Name = "rpc server", s.name
	c := &s.counts
	for name, n := range map[string]*atomic.Int64{
		"requests": &c.requests, "answered": &c.answered, "errors": &c.errors, "one_way": &c.oneWay, "expired": &c.expired, "shed": &c.shed,
		"limited": &c.limited, "malformed": &c.malformed, "unknown_methods": &c.unknown, "maybe_begun": &c.begun,
		"refused_addresses": &c.refusedAddresses, "replies_lost": &c.repliesLost, "panics": &c.panics, "cancelled": &c.cancelled,
	} {
		st.Counts[name] = n.Load()
	}
	return st
}

// topic is where requests come from, other than through retry topics.
func (s *Server) topic() string { return RequestTopic(s.service) }

// isRequest reports whether a record came as a request, and not back from a retry topic.
func (s *Server) isRequest(r *kgo.Record) bool { return r.Topic == s.topic() }
