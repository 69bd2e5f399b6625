package consumer

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
	"github.com/duplex-go/duplex/internal/failure"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/telemetry"
)

// engine is what Run runs: the client, the assignments, and the goroutines that
// move records between them.
//
//	poll goroutine   polls, hands slices over, holds back         poll.go, flow.go
//	kgo's goroutine  assigned, revoked, lost                      rebalance.go, start.go
//	workers          take records and run handlers                workers.go, dispatch.go, turn.go
//	committer        commits the watermarks                       commit.go
type engine struct {
	cfg    Config
	born   time.Time
	log    *zap.Logger
	counts *counts
	routes map[string]*route
	topics []string
	chain  failure.Chain // nil without a policy
	ids    *topicIDs
	pauses *pauses

	telemetry *telemetry.Consumer // nil without any

	client     *kgo.Client
	produce    func(r *kgo.Record, promise func(*kgo.Record, error)) // hops
	handoff    *handoff
	flow       *flow
	pool       *pool
	timers     timers
	watch      watch
	committer  committer
	fence      fence
	problems   problems
	recreated  recreated
	regain     regain
	followed   followed
	landings   landings
	unsaid     unsaid
	background sync.WaitGroup

	// mu guards the two tables; it is never held while an assignment's mutex
	// is wanted by somebody who holds that.
	mu        sync.RWMutex
	open      map[string]map[int32]*assignment
	openCount int
	ghosts    map[place]*assignment // closed, with a handler that has not returned
	fenced    bool

	shareLoaded atomic.Int64
	shareBytes  atomic.Int64
	typical     int64 // size of the larger records polled lately; the poll goroutine's
	joined      atomic.Bool
	stopping    atomic.Bool
	fatal       chan error    // capacity 1
	ready       chan struct{} // closed when the engine is built; callbacks wait for it
}

type place struct {
	topic     string
	partition int32
}

// counts are totals of a consumer's life.
type counts struct {
	handled, moved, failed, retried, recovered, dead, snoozed, dropped, late, commits, rebalances atomic.Int64
}

func newEngine(cfg Config, found found, counts *counts, pauses *pauses, told *telemetry.Consumer) (*engine, error) {
	e := &engine{
		chain: found.chain, ids: found.ids,
		cfg: cfg, born: time.Now().Add(-time.Second), counts: counts, pauses: pauses, telemetry: told, typical: typicalSize,
		log:     cfg.Logger.Named("consumer").With(zap.String("group", cfg.Group)),
		routes:  make(map[string]*route, len(cfg.Handlers)),
		handoff: newHandoff(),
		open:    map[string]map[int32]*assignment{}, ghosts: map[place]*assignment{},
		fatal: make(chan error, 1), followed: newFollowed(), landings: newLandings(), ready: make(chan struct{}),
	}
	for _, h := range cfg.Handlers {
		r := &route{source: h.topic, single: wrap(h.single, cfg.Middleware), batch: h.batch}
		if told != nil && r.single != nil {
			r.single = told.Wrap(h.topic, r.single)
		}
		if told != nil && r.batch != nil {
			r.batch = told.WrapBatch(h.topic, r.batch)
		}
		e.routes[h.topic] = r
		e.topics = append(e.topics, h.topic)
	}
	e.shareOut()
	e.fence.engine = e
	e.pool = newPool(cfg.Concurrency, e.visit)
	if err := e.joinChain(); err != nil {
		return nil, err
	}
	client, err := kafka.NewClient(cfg.Cluster, cfg.Logger, e.options()...)
	if err != nil {
		return nil, err
	}
	e.client = client
	e.produce = e.tryProduce
	e.flow = newFlow(client, e.dry)
	e.committer.init(e)
	close(e.ready)
	return e, nil
}

// joinChain has the policy's topics read beside the sources.
func (e *engine) joinChain() error {
	if e.chain == nil {
		return nil
	}
	for source, r := range e.routes {
		r.unordered, r.displaces, r.answers = !e.chain.KeepsOrder(source), e.chain.Displaces(source), e.chain.Answers(source)
	}
	for topic, source := range e.besides() {
		of := e.routes[source]
		if of == nil || e.routes[topic] != nil {
			return fmt.Errorf("consumer: preparing the policy for failures: topic %q beside %q: the first must be new, the second have a handler", topic, source)
		}
		e.routes[topic] = of
		e.topics = append(e.topics, topic)
	}
	return nil
}

// tryProduce has the client publish r. Not with a context of the assignment's: it
// would take its neighbours of the batch with it (engine rule 21). And not waiting for
// room.
func (e *engine) tryProduce(r *kgo.Record, promise func(*kgo.Record, error)) {
	e.client.TryProduce(context.Background(), r, promise)
}

// besides are the policy's topics, each with its source.
func (e *engine) besides() map[string]string {
	if e.chain == nil {
		return nil
	}
	return e.chain.Topics()
}

func wrap(next duplex.Next, middleware []duplex.Middleware) duplex.Next {
	if next == nil {
		return nil
	}
	for i := len(middleware) - 1; i >= 0; i-- {
		next = middleware[i](next)
	}
	return next
}

// fetchMaxWait bounds how long a resumed or added partition waits for the long
// poll that is under way (engine rule 6).
const fetchMaxWait = 300 * time.Millisecond

// hopLinger gathers hops: one by one, each would cost a request, and have the fetch
// that waits for it in a retry topic return for a single record. The delay of a retry
// topic runs meanwhile, and nobody waits for a hop but a key whose order is kept.
const hopLinger = 20 * time.Millisecond

func (e *engine) options() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.ConsumerGroup(e.cfg.Group),
		kgo.ConsumeTopics(e.topics...),
		kgo.DisableAutoCommit(),
		kgo.Balancers(newBalancer(e.besides())),
		kgo.SessionTimeout(e.cfg.SessionTimeout),
		kgo.HeartbeatInterval(min(3*time.Second, e.cfg.SessionTimeout/3)),
		kgo.RebalanceTimeout(e.cfg.RebalanceTimeout),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // engine rule 13
		kgo.KeepControlRecords(),                     // the frontier must pass them
		kgo.FetchMaxWait(fetchMaxWait),
		kgo.FetchMaxBytes(e.cfg.FetchMaxBytes),
		// Both are set, because kgo's defaults are to go back by a minute and to
		// follow the reset (engine rule 19). Every partition is given an exact
		// offset when it is opened, see start.go; what the broker deleted
		// before it was read is noticed in poll.go.
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.WithHooks(&e.fence),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), // of hops
		kgo.ProducerLinger(hopLinger),
		kgo.OnPartitionsAssigned(e.onAssigned),
		kgo.OnPartitionsRevoked(e.onRevoked),
		kgo.OnPartitionsLost(e.onLost),
		kgo.AdjustFetchOffsetsFn(e.onOffsets),
		kgo.OnOffsetsFetched(e.onOffsetsFetched),
	}
	if e.chain != nil {
		// How much is under way is bounded by what is loaded (mostFlights).
		opts = append(opts, kgo.ProducerBatchMaxBytesFn(e.batchBytes), kgo.MaxBufferedRecords(math.MaxInt32))
	}
	if e.cfg.Protocol == KIP848 {
		opts = append(opts, kgo.ServerSideBalancer()) // "uniform", which is sticky
	}
	if e.cfg.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(e.cfg.InstanceID))
	}
	return opts
}

// batchBytes is how large a batch may be that is published to a topic: as large as
// the topic takes, or what the client has for all.
func (e *engine) batchBytes(topic string) int32 {
	const usual, most = 1_000_000, 64 << 20
	n := e.chain.MaxBytes(topic)
	if n <= 0 {
		n = usual
	}
	return min(n, most)
}

// run is Run, once the engine is built.
func (e *engine) run(ctx context.Context) error {
	live, end := context.WithCancel(context.WithoutCancel(ctx))
	var loops sync.WaitGroup
	loops.Go(func() { e.poll(live) })
	loops.Go(func() { e.flow.run(live) })
	loops.Go(func() { e.committer.run(live) })
	loops.Go(func() { e.fence.run(live) })
	loops.Go(func() { e.watchdog(live) })
	loops.Go(func() { e.follow(live) })
	loops.Go(func() { e.land(live) })
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-e.fatal:
	}
	stuck, uncommitted := e.stop(live)
	end()
	e.timers.close()
	e.watch.close()
	e.client.CloseAllowingRebalance()
	loops.Wait()
	e.pool.close()
	if stuck == nil {
		e.pool.done.Wait() // no handler is at work: they return at once
		e.background.Wait()
	}
	if failure != nil {
		return failure
	}
	return errors.Join(stuck, uncommitted)
}

// clock is the time in ns since a second before the engine was made: never 0, which
// stands for no time. It costs half of time.Now.
func (e *engine) clock() int64 { return int64(time.Since(e.born)) }

// fail ends Run with err; the first one counts.
func (e *engine) fail(err error) {
	select {
	case e.fatal <- err:
	default:
	}
}

// find returns the open assignment of a partition, nil if there is none.
func (e *engine) find(topic string, partition int32) *assignment {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.open[topic][partition]
}

// all returns the open assignments.
func (e *engine) all() []*assignment {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var all []*assignment
	for _, partitions := range e.open {
		for _, a := range partitions {
			all = append(all, a)
		}
	}
	return all
}

// dry reports whether an assignment that has room has nothing left to start, so that
// it may be waiting for the poller. Records that wait for their next attempt are
// none to start: those of other keys may come after them. The policy's topics are
// empty most of the time, so for a moment that says nothing of them.
func (e *engine) dry(held time.Duration) bool {
	for _, a := range e.all() {
		if a.chained && held < chainedHold {
			continue
		}
		a.mu.Lock()
		dry := !a.over && a.halts.Load() == 0 && a.queue.len() == 0 && a.ready.first == nil
		a.mu.Unlock()
		if dry {
			return true
		}
	}
	return false
}

// shares returns how many records and bytes one partition may hold.
func (e *engine) shares() (loaded int, bytes int64) {
	return int(e.shareLoaded.Load()), e.shareBytes.Load()
}

func (e *engine) shareOut() {
	n := max(e.openCount, 1)
	e.shareLoaded.Store(int64(max(e.cfg.MaxLoaded/n, leastShare)))
	e.shareBytes.Store(max(e.cfg.MaxLoadedBytes/int64(n), 1))
}
