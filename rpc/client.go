package rpc

import (
	"context"
	"encoding/base64"
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
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/telemetry"
)

// Defaults of ClientConfig.
const (
	DefaultReplyPartitions = 16
	DefaultMaxPending      = 100_000
)

// ClientConfig describes a client. Cluster and Service are required; the zero value of
// every other field works.
type ClientConfig struct {
	// Cluster is the Kafka to call through.
	Cluster duplex.Cluster

	// Service is who calls: its instances share one topic of replies. Required.
	Service string

	// Instance names this client to servers and in claims; it should differ from that
	// of any other that runs, and be the same after a restart, such as the name of a
	// pod. Defaults to a random name.
	Instance string

	// ReplyPartitions is how many the topic of replies gets if it is not there; twice
	// the number of instances is a good one. Defaults to 16.
	ReplyPartitions int32

	// MaxPending is how many calls may be under way; those beyond it are refused.
	// Defaults to 100,000.
	MaxPending int

	// WaitForServer has calls to a service without servers wait for one, until their
	// deadlines, instead of being refused at once.
	WaitForServer bool

	// Interceptors wrap every call, the first one outermost. Defaults to none.
	Interceptors []Interceptor

	// TracerProvider and MeterProvider get spans and metrics. Default to none.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider

	// Logger gets what the client has to say. Defaults to none.
	Logger *zap.Logger
}

// Validate reports every problem of c at once, each naming its field.
func (c ClientConfig) Validate() error {
	errs := []error{c.Cluster.Validate()}
	if c.Service == "" {
		errs = append(errs, errors.New("Service is empty: say who calls, such as the name of your program; its instances share a topic of replies"))
	} else if err := checkService(c.Service); err != nil {
		errs = append(errs, fmt.Errorf("Service: %w", err))
	}
	if len(c.Instance) > maxWord/2 {
		errs = append(errs, fmt.Errorf("Instance has %d characters, at most %d are allowed", len(c.Instance), maxWord/2))
	}
	if c.ReplyPartitions < 0 {
		errs = append(errs, fmt.Errorf("ReplyPartitions is %d, want 1 or more, or 0 for %d", c.ReplyPartitions, DefaultReplyPartitions))
	}
	if c.MaxPending < 0 {
		errs = append(errs, fmt.Errorf("MaxPending is %d, want 1 or more, or 0 for %d", c.MaxPending, DefaultMaxPending))
	}
	return errors.Join(errs...)
}

func (c ClientConfig) withDefaults() ClientConfig {
	c.ReplyPartitions = orElse(c.ReplyPartitions, DefaultReplyPartitions)
	c.MaxPending = orElse(c.MaxPending, DefaultMaxPending)
	if c.Instance == "" {
		c.Instance = randomName()
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// randomName names what nobody has named.
func randomName() string {
	var b [6]byte
	random(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Client calls services. Make one for a program, with NewClient, and share it. All
// methods, and the functions that call, are safe for concurrent use.
type Client struct {
	cfg       ClientConfig
	name      string // "service/instance"
	log       *zap.Logger
	identity  identity
	numbers   numbers
	words     words
	waits     sync.Pool // of waiting: one is used again when its call has ended
	client    *kgo.Client
	pending   pending
	outbox    *outbox
	inbox     inbox
	claims    claims
	presence  presence
	cancels   rate
	counts    clientCounts
	telemetry *telemetry.Calls
	sharing   atomic.Int64 // other instances that read the same partition

	life    context.Context //nolint:containedctx // of the client
	end     context.CancelFunc
	loops   sync.WaitGroup
	closing sync.Once

	background background
	closed     atomic.Bool
	over       chan struct{} // closed when closed is set
}

// clientCounts are in Status.
type clientCounts struct {
	calls, answered, errors, oneWay, retried atomic.Int64
	late, duplicate, stale, foreign, unknown atomic.Int64
	cancelled                                atomic.Int64
}

// NewClient returns a client. It validates cfg, reads the files that cfg names, and
// begins to look for the topic of replies, which it makes if it is not there: calls wait
// for that. The error names every problem of cfg at once.
func NewClient(cfg ClientConfig) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &duplex.Error{Op: "rpc: checking ClientConfig", Err: err}
	}
	cfg = cfg.withDefaults()
	c := &Client{cfg: cfg, name: cfg.Service + "/" + cfg.Instance, log: cfg.Logger.Named("rpc"), identity: newIdentity(cfg.Instance)}
	client, err := kafka.NewClient(cfg.Cluster, cfg.Logger, producing()...)
	if err != nil {
		return nil, &duplex.Error{Op: "rpc: checking ClientConfig", Err: err}
	}
	c.client = client
	if c.telemetry, err = telemetry.NewCalls(cfg.TracerProvider, cfg.MeterProvider, false, c.Status); err != nil {
		client.Close()
		return nil, &duplex.Error{Op: "rpc: preparing telemetry", Err: err}
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.over = make(chan struct{})
	c.pending.most = cfg.MaxPending
	c.outbox = newOutbox(c.life, client, &c.pending, &c.background)
	c.outbox.over = c.over
	c.inbox.owner, c.inbox.open = c, make(chan struct{})
	c.claims.owner = c
	c.cancels.most = mostCancels
	c.presence.client, c.presence.life, c.presence.over, c.presence.background = client, c.life, c.over, &c.background
	c.loops.Go(func() { c.inbox.run(c.life) })
	c.loops.Go(func() { c.claims.run(c.life) })
	return c, nil
}

// Ready waits until the client can get replies, or ctx ends. Calls wait for it by
// themselves.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.inbox.await(ctx)
	if err != nil {
		return fmt.Errorf("rpc: waiting for a partition to get replies from: %w", err)
	}
	return nil
}

// Close ends every call that is under way with canceled, and the client. Closing twice is
// fine.
func (c *Client) Close() error {
	c.closing.Do(func() {
		c.closed.Store(true)
		close(c.over)
		for _, call := range c.pending.all() {
			call.to.end(result{err: closedMeanwhile.error(call.method, nil)})
		}
		if err := c.claims.again(c.life, true); err != nil {
			c.log.Info("the partition of the reply topic is not given back, its claim ends by itself", zap.Error(err))
		}
		_ = c.telemetry.Close() // it only unregisters
		c.end()
		c.loops.Wait()
		c.client.Close()
		c.background.wait()
		for _, call := range c.pending.all() { // that came in between
			call.to.end(result{err: closedMeanwhile.error(call.method, nil)})
		}
	})
	return nil
}

// Status returns a snapshot. Counts are calls, answered (with a response), errors,
// one_way, retried, cancelled (servers were told), pending, sharing (other instances that read the same partition), and
// replies that belonged to no call: late (it had ended without one), duplicate (it had
// one), stale (of an earlier run of this instance), foreign (of another instance) and
// unknown (of nobody).
func (c *Client) Status() duplex.Status {
	n := &c.counts
	st := duplex.Status{Component: "rpc client", Name: c.name, Counts: map[string]int64{
		"calls": n.calls.Load(), "answered": n.answered.Load(), "errors": n.errors.Load(), "one_way": n.oneWay.Load(), "retried": n.retried.Load(),
		"cancelled": n.cancelled.Load(),
		"pending":   c.pending.n.Load(), "sharing": c.sharing.Load(), "late": n.late.Load(), "duplicate": n.duplicate.Load(),
		"stale": n.stale.Load(), "foreign": n.foreign.Load(), "unknown": n.unknown.Load(),
	}}
	c.inbox.mu.Lock()
	lastly := c.inbox.lastly
	c.inbox.mu.Unlock()
	switch {
	case c.closed.Load():
		st.SetProblems(duplex.Problem{Code: duplex.StatusClosed, Detail: "Close was called"})
	case lastly != nil:
		st.SetProblems(duplex.Problem{Code: StatusNoReplies, Subject: ReplyTopic(c.cfg.Service), Detail: lastly.Error()})
	default:
		st.SetProblems()
	}
	return st
}

// StatusNoReplies is the code of a client that cannot read replies: its calls wait, or
// fail.
const StatusNoReplies = "no-replies"

// deadlineOf is when a call is to end.
func deadlineOf(ctx context.Context, usual time.Duration) time.Time {
	now := time.Now()
	if at, ok := ctx.Deadline(); ok {
		return earlier(at, now.Add(maxTimeout))
	}
	return now.Add(usual)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
