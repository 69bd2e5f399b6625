package producer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/telemetry"
)

// Producer publishes records. Make one with New, share it, and Close it. All
// methods are safe for concurrent use.
//
//	caller ─► gate ─► queue ─► feeder ─► kgo ─► broker
//	            ▲                          │
//	            └──── callbacks ◄── promise ┘
//
// The gate bounds what is under way (gate.go). The queue holds records while
// others are unacknowledged and hands them over together (feeder.go). Results go
// to the goroutine that waits, or to callbacks (callbacks.go). Deadlines are
// watched by one goroutine (deadline.go); they and flushes look at records in
// cohorts (cohort.go).
type Producer struct {
	cfg       Config
	log       *zap.Logger
	telemetry *telemetry.Producer // nil without any
	client    *kgo.Client
	writes    writeCounter
	made      time.Time
	calls     sync.Pool // of *call
	loops     sync.WaitGroup
	stop      chan struct{} // closed when the loops should end

	mu        sync.Mutex
	closed    bool
	gate      gate
	queue     queue
	cohorts   cohorts
	sweep     chan struct{} // capacity 1: there are deadlines to watch again
	callbacks callbacks
	counts    counts

	late    atomic.Int64 // answers after their deadline
	closing sync.Once
	closeAs error
}

// Times after which a connection to a broker that does not answer is given up.
// Without them an in-flight record keeps its partition waiting for as long as
// the operating system keeps the connection (engine rule 22).
const (
	requestTimeout  = 5 * time.Second
	requestOverhead = 5 * time.Second
)

// New returns a producer. It validates cfg, reads the files that cfg names, and
// dials nothing. The error names every problem of cfg at once.
func New(cfg Config) (*Producer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &duplex.Error{Op: "producer: checking Config", Err: err}
	}
	cfg = cfg.withDefaults()
	p := &Producer{
		cfg: cfg, log: cfg.Logger.Named("producer"), made: time.Now(), stop: make(chan struct{}), sweep: make(chan struct{}, 1),
	}
	p.calls.New = newCall
	p.queue.init()
	p.callbacks.init()
	client, err := kafka.NewClient(cfg.Cluster, cfg.Logger, p.options()...)
	if err != nil {
		return nil, &duplex.Error{Op: "producer: checking Config", Err: err}
	}
	p.client = client
	if p.telemetry, err = telemetry.NewProducer(cfg.TracerProvider, cfg.MeterProvider); err != nil {
		client.Close()
		return nil, &duplex.Error{Op: "producer: preparing telemetry", Err: err}
	}
	p.loops.Go(p.feed)
	p.loops.Go(p.watchDeadlines)
	p.loops.Go(p.runCallbacks)
	return p, nil
}

func (p *Producer) options() []kgo.Opt {
	codec, _ := p.cfg.codec() // validated
	return []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.UniformBytesPartitioner(64<<10, true, true, nil)), // murmur2 for keys
		kgo.ProducerBatchCompression(codec),
		kgo.ProducerBatchMaxBytes(p.cfg.MaxRecordBytes),
		kgo.ProducerLinger(0),               // the queue holds records back, and better
		kgo.MaxBufferedRecords(math.MaxInt), // the gate bounds them: kgo must never block
		kgo.RecordDeliveryTimeout(p.cfg.Timeout),
		kgo.ProduceRequestTimeout(requestTimeout),
		kgo.RequestTimeoutOverhead(requestOverhead),
		kgo.UnknownTopicRetries(3),
		kgo.AlwaysRetryEOF(), // engine rule 38
		kgo.WithHooks(&p.writes),
	}
}

// Ping reports whether the cluster answers and lets us in. The error's code is
// [duplex.ErrUnreachable], [duplex.ErrUnauthenticated] or [duplex.ErrUnauthorized].
func (p *Producer) Ping(ctx context.Context) error { return kafka.Ping(ctx, p.client, "producer") }

// Publish sends r and returns where Kafka has stored it. It ends by the deadline
// of ctx, and by Config.Timeout at the latest. On an error that does not match
// [duplex.ErrOutcomeUnknown], the record is not in the log; see the package's
// documentation for the codes.
//
// r must not be changed, nor published again, before Publish returns, or, after
// ErrOutcomeUnknown, ever. Publishing from many goroutines at once is efficient:
// their records travel together.
func (p *Producer) Publish(ctx context.Context, r *kgo.Record) (duplex.Position, error) {
	send := p.begin(ctx, r)
	c := p.newCall()
	pd, err := p.admit(ctx, r, mayWait, c, nil)
	if err != nil {
		p.calls.Put(c)
		send.End(r, err) //nolint:contextcheck // the span began with it
		return duplex.Position{}, err
	}
	position, err := p.await(ctx, pd, c)
	send.End(r, err) //nolint:contextcheck // the span began with it
	return position, err
}

// PublishAsync sends r and returns as soon as it is taken over. done is called
// with the result, once, by Config.Timeout at the latest, and never before
// PublishAsync was called; a nil done has failures logged. ctx bounds only the wait for room in the buffer: when it ends before
// there is any, done gets [duplex.ErrTimeout].
//
// All callbacks run on one goroutine, one after the other: a slow one delays
// the others and, once the buffer is full, later publishes, but never the
// sending. (After Close, done is called at once, on the caller's goroutine.) A
// callback must not call Publish or PublishAsync, which may wait for
// room that only callbacks make; TryPublish is fine.
func (p *Producer) PublishAsync(ctx context.Context, r *kgo.Record, done func(duplex.Position, error)) {
	done = p.traced(p.begin(ctx, r), r, done) //nolint:contextcheck // the span began with it
	if _, err := p.admit(ctx, r, mayWait, nil, done); err != nil {
		p.refuse(r, err, done)
	}
}

// TryPublish is PublishAsync that never waits: when the buffer is full it
// returns [duplex.ErrBufferFull], and done is not called. It also returns what
// can be said against the record at once.
func (p *Producer) TryPublish(r *kgo.Record, done func(duplex.Position, error)) error {
	send := p.begin(context.Background(), r)
	_, err := p.admit(context.Background(), r, 0, nil, p.traced(send, r, done))
	if err != nil {
		send.End(r, err)
	}
	return err
}

// PublishBatch sends the records together and waits for all of them. Its results
// are in the order of rs; some may be stored and others not. Deadlines and errors
// are those of Publish, for each record.
func (p *Producer) PublishBatch(ctx context.Context, rs ...*kgo.Record) []Result {
	b := p.newBatch(len(rs))
	for i, r := range rs {
		b.admit(ctx, i, r)
	}
	return b.await(ctx)
}

// Flush waits until everything that was taken over before has ended and its
// callback has run, or until ctx ends; then the error says how many have not.
func (p *Producer) Flush(ctx context.Context) error {
	p.mu.Lock()
	done, remaining := p.cohorts.flush(p)
	p.queue.hurry = true
	p.queue.wakeFeeder()
	p.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Errorf("producer: flushing: %d records have not ended: %w", remaining(), context.Cause(ctx))
	}
}

// Close flushes, for Config.Timeout at most, and ends the producer: what is left
// then ends as [duplex.ErrOutcomeUnknown], and Close says how many that were.
// Publishing after Close returns [duplex.ErrClosed]. Closing twice is fine.
func (p *Producer) Close() error {
	p.closing.Do(func() { p.closeAs = p.close() })
	return p.closeAs
}

func (p *Producer) close() error {
	p.mu.Lock()
	p.closed = true
	p.gate.turnAway(errClosed)
	p.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(context.Background(), p.cfg.Timeout, timeoutError{p.cfg.Timeout})
	defer cancel()
	err := p.Flush(ctx)
	p.client.Close() // fails what it still has
	p.expire(math.MaxInt64, errClosed)
	close(p.stop)
	p.loops.Wait()
	if err != nil {
		return fmt.Errorf("producer: closing: %w", errors.Unwrap(err))
	}
	return nil
}

var errClosed = &duplex.Error{Op: "producer: publishing", Codes: []duplex.Code{duplex.ErrClosed}, Hint: "the producer was closed"}

// Status returns a snapshot. Counts are published, failed (definitely not
// stored), unknown, late (answers that came after their deadline), and buffered
// (under way now, callbacks included).
func (p *Producer) Status() duplex.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := duplex.Status{Component: "producer", Name: p.cfg.Cluster.ClientID, Counts: map[string]int64{
		"published": p.counts.published, "failed": p.counts.failed, "unknown": p.counts.unknown, "late": p.late.Load(),
		"buffered": int64(p.gate.records),
	}}
	if p.closed {
		s.SetProblems(duplex.Problem{Code: duplex.StatusClosed, Detail: "Close was called"})
	} else {
		s.SetProblems()
	}
	return s
}
