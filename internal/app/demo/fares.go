package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/duplex-go/duplex/rpc"
)

// Trip is what the gate asks about: a seat on the next flight, for who sits on a late
// one.
type Trip struct {
	// Call is which call this is. The service notes which it ran.
	Call int `json:"call"`
	Departure
}

// Fare is the answer.
type Fare struct {
	Cents int64 `json:"cents"`
	// By is the instance that computed it.
	By string `json:"by"`
}

// quote computes the fare: $49 and 12 cents a mile, less one percent for every five
// minutes of delay, down to 60 percent.
func quote(d Departure) (cents int64) {
	full := 4900 + 12*int64(math.Round(d.Distance))
	less := min(max(int64(d.Delay)/5, 0), 40)
	return full * (100 - less) / 100
}

// dollars writes cents as people do.
func dollars(cents int64) string {
	return fmt.Sprintf("$%s.%02d", count(int(cents/100)), cents%100)
}

// quoteMethod is how the service is called. A quote changes nothing, so running a call
// twice does no harm.
func quoteMethod(service string) rpc.Method[Trip, Fare] {
	return rpc.Method[Trip, Fare]{Service: service, Name: "Quote", Safe: true}
}

const (
	// quoteWork is how long a quote takes.
	quoteWork = 20 * time.Millisecond
	// quoteDrain is how long quotes may take when the story has ended.
	quoteDrain = time.Second
)

var errKilled = errors.New("demo: this instance was killed")

// fares is the service that gives quotes, of two instances.
type fares struct {
	cfg    *Config
	calls  *calls
	failed context.CancelCauseFunc
	x, y   *instance
}

// instance is one of them, as its process would be.
type instance struct {
	name   string
	calls  *calls
	line   line
	server *rpc.Server
	cancel context.CancelFunc
	ended  sync.WaitGroup
	err    error // of Run

	atWork atomic.Int64
	doomed atomic.Bool // it is to be killed within a call
	dying  sync.Once
	dead   chan struct{} // closed when it is killed
	caught int64         // calls at work when it was
	killed time.Time
}

func newFares(cfg *Config, c *calls, failed context.CancelCauseFunc) *fares {
	of := func(name string) *instance {
		return &instance{name: name, calls: c, dead: make(chan struct{})}
	}
	return &fares{cfg: cfg, calls: c, failed: failed, x: of("x"), y: of("y")}
}

// open starts both instances.
func (f *fares) open(ctx context.Context) error {
	return errors.Join(f.start(ctx, f.x), f.start(ctx, f.y))
}

func (f *fares) start(ctx context.Context, i *instance) error {
	s, err := rpc.NewServer(rpc.ServerConfig{
		Cluster: i.line.to(f.cfg.Cluster), Instance: i.name, Partitions: Partitions, SessionTimeout: sessionTimeout, DrainTimeout: quoteDrain,
		Handlers: []rpc.Handler{rpc.Handle(quoteMethod(f.cfg.Names.Fares), i.quote)},
	})
	if err != nil {
		return err
	}
	i.server = s
	ctx, i.cancel = context.WithCancel(context.WithoutCancel(ctx))
	i.ended.Go(func() {
		if err := s.Run(ctx); err != nil && !i.isDead() {
			i.err = fmt.Errorf("demo: running instance %s of the fares: %w", i.name, err)
			f.failed(errMember)
		}
	})
	return nil
}

// close ends both instances in good order, as far as they live.
func (f *fares) close() error { return errors.Join(f.x.stop(), f.y.stop()) }

func (i *instance) stop() error {
	if i.cancel == nil {
		return nil
	}
	i.cancel()
	i.ended.Wait()
	return i.err
}

// quote serves a call.
func (i *instance) quote(ctx context.Context, trip Trip) (Fare, error) {
	if i.isDead() {
		return Fare{}, errKilled
	}
	i.calls.began(trip.Call)
	i.atWork.Add(1)
	defer i.atWork.Add(-1)
	if i.doomed.Load() && trip.patience() == patient {
		i.kill()
	}
	timer := time.NewTimer(quoteWork)
	defer timer.Stop()
	select {
	case <-timer.C:
		return Fare{Cents: quote(trip.Departure), By: i.name}, nil
	case <-i.dead: // what is dead neither goes on nor answers
		return Fare{}, errKilled
	case <-ctx.Done():
		return Fare{}, context.Cause(ctx)
	}
}

// kill ends the instance as SIGKILL would: its calls are not finished, its connections
// are gone, and nobody is told. What is left of it in this process is cleared away.
func (i *instance) kill() {
	i.dying.Do(func() {
		i.caught, i.killed = i.atWork.Load(), time.Now()
		i.line.cut()
		close(i.dead)
		i.cancel()
	})
}

func (i *instance) isDead() bool {
	select {
	case <-i.dead:
		return true
	default:
		return false
	}
}

// owned are the numbers of the partitions of requests that the instance has.
func (i *instance) owned(topic string) (numbers []string) {
	for _, p := range i.server.Status().Partitions {
		if p.Topic == topic {
			numbers = append(numbers, strconv.Itoa(int(p.Partition)))
		}
	}
	return numbers
}

// shares says who has which partitions of requests, and whether both have some and
// nobody else has.
func (f *fares) shares() (shares string, complete bool) {
	topic := rpc.RequestTopic(f.cfg.Names.Fares)
	x, y := f.x.owned(topic), f.y.owned(topic)
	return "x " + strings.Join(x, ",") + " · y " + strings.Join(y, ","), len(x)+len(y) == Partitions && len(x) > 0 && len(y) > 0
}

// ready reports whether both serve.
func (f *fares) ready() bool {
	_, complete := f.shares()
	return complete
}

// taken reports whether x serves alone.
func (f *fares) taken() bool {
	return len(f.x.owned(rpc.RequestTopic(f.cfg.Names.Fares))) == Partitions
}
