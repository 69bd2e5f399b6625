package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

// An arm of these workloads says how many of the handlers fail: "duplex, 1 %".

func share(by arm, percent int) arm { return arm(fmt.Sprintf("%s, %d %%", by, percent)) }

func (a arm) share() (by arm, percent int) {
	name, of, _ := strings.Cut(string(a), ", ")
	if _, err := fmt.Sscanf(of, "%d %%", &percent); err != nil {
		return a, 0
	}
	return arm(name), percent
}

// fails says which records fail: the same ones in every arm. It looks at the value,
// since a record in a retry topic has another offset than before.
func fails(value []byte, percent int) bool {
	x := (binary.LittleEndian.Uint64(value) + 1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	return (x^x>>27)%100 < uint64(percent)
}

// errFailing is what their handlers return.
var errFailing = errors.New("the service that was asked does not answer")

// outcome is what became of the records of a run with failures. The last four are
// found by the parent.
type outcome struct {
	Failed    int64 `json:"failed"`    // handlers that returned an error
	Retried   int64 `json:"retried"`   // of them, that were handled on their retry
	RetriedIn int64 `json:"retriedIn"` // of these, in the time that is measured

	Lost        int64   `json:"lost"`  // neither handled nor in the topic of failed records
	Again       int64   `json:"again"` // handled, or written to that topic, once more
	Uncommitted int64   `json:"uncommitted"`
	HeaderBytes float64 `json:"headerBytes"` // of a failed record, names and values
}

// failing is what the handlers of all arms do, and knows when every record was
// handled or has failed. It may be called by many at once.
type failing struct {
	spec    spec
	percent int
	tallies []failTally // by partition
	left    atomic.Int64
	ran     chan struct{} // closed when every record ran
	began   atomic.Pointer[usage]
	ended   usage
	in      int64 // that were retried by then

	// seen are the offsets that ran, where a client may bring them again; nil
	// otherwise. again counts those.
	seen  [][]atomic.Uint32
	again atomic.Int64
}

type failTally struct {
	ran, failed, retried atomic.Int64
	sum                  atomic.Uint64 // of those that were handled
	_                    [96]byte
}

func newFailing(s spec) *failing {
	f := &failing{spec: s, tallies: make([]failTally, len(s.Ends)), ran: make(chan struct{})}
	_, f.percent = s.Arm.share()
	for _, end := range s.Ends {
		f.left.Add(end)
	}
	return f
}

// remember has records count once, however often they are brought.
func (f *failing) remember() {
	for _, end := range f.spec.Ends {
		f.seen = append(f.seen, make([]atomic.Uint32, end/32+1))
	}
}

// ranBefore notes that a record ran, where that is remembered.
func (f *failing) ranBefore(partition int32, offset int64) bool {
	if f.seen == nil {
		return false
	}
	bit := uint32(1) << (offset % 32)
	return f.seen[partition][offset/32].Or(bit)&bit != 0
}

// first is the handler of a record that was not tried before.
func (f *failing) first(partition int32, offset int64, value []byte) error {
	if f.began.Load() == nil {
		now := usageNow()
		f.began.CompareAndSwap(nil, &now)
	}
	if f.spec.Workload.Work > 0 {
		time.Sleep(f.spec.Workload.Work) //nolint:forbidigo // this is the work: waiting for an answer
	}
	var err error
	if fails(value, f.percent) {
		err = errFailing
	}
	if f.ranBefore(partition, offset) {
		f.again.Add(1)
		return err
	}
	t := &f.tallies[partition]
	if err != nil {
		t.failed.Add(1)
	} else {
		t.sum.Add(binary.LittleEndian.Uint64(value))
	}
	if t.ran.Add(1) == f.spec.Ends[partition] && f.left.Add(-f.spec.Ends[partition]) == 0 {
		close(f.ran)
	}
	return err
}

// retry is the handler of a record that has failed once.
func (f *failing) retry(partition int32, value []byte) {
	if f.spec.Workload.Work > 0 {
		time.Sleep(f.spec.Workload.Work) //nolint:forbidigo // this is the work: waiting for an answer
	}
	t := &f.tallies[partition]
	t.sum.Add(binary.LittleEndian.Uint64(value))
	t.retried.Add(1)
}

func (f *failing) sum(figure func(*failTally) int64) (n int64) {
	for i := range f.tallies {
		n += figure(&f.tallies[i])
	}
	return n
}

func (f *failing) failed() int64  { return f.sum(func(t *failTally) int64 { return t.failed.Load() }) }
func (f *failing) retried() int64 { return f.sum(func(t *failTally) int64 { return t.retried.Load() }) }

// follow notes when every record was handled, or had failed and was acknowledged
// where it goes then, and calls stop when those that are to be retried were, too.
func (f *failing) follow(ctx context.Context, moved func() int64, stop context.CancelFunc) {
	defer stop()
	select {
	case <-f.ran:
	case <-ctx.Done():
		return
	}
	failed := f.failed()
	if !wait(ctx, func() bool { return moved() >= failed }) {
		return
	}
	f.ended, f.in = usageNow(), f.retried()
	if f.spec.Workload.retries() {
		wait(ctx, func() bool { return f.retried() >= failed })
	}
}

// wait reports whether something became true before ctx ended.
func wait(ctx context.Context, holds func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (f *failing) result() (res result, err error) {
	began := f.began.Load()
	if began == nil || f.ended.at.IsZero() {
		return res, fmt.Errorf("ended before everything was handled: %d records did not run, %d failed", f.left.Load(), f.failed())
	}
	res.measure(*began, f.ended)
	for i := range f.tallies {
		t := &f.tallies[i]
		res.Tally.Count += t.ran.Load() - t.failed.Load() + t.retried.Load()
		res.Tally.Sum += t.sum.Load()
	}
	res.Outcome = &outcome{Failed: f.failed(), Retried: f.retried(), RetriedIn: f.in, Again: f.again.Load()}
	return res, nil
}

// failLimit is for one run: what hangs is no figure.
const failLimit = 3 * time.Minute

// runFailing measures from the first record until every one was handled, or had
// failed and was acknowledged in its next topic, joining not included. The run goes
// on until the retried ones were handled.
func runFailing(ctx context.Context, s spec) (res result, err error) {
	ctx, cancel := context.WithTimeout(ctx, failLimit)
	defer cancel()
	f := newFailing(s)
	switch by, _ := s.Arm.share(); by {
	case armDuplex, armNoPolicy:
		err = failDuplex(ctx, s, f)
	case armWatermill:
		err = failWatermill(ctx, s, f)
	default:
		err = failByHand(ctx, s, f)
	}
	if err != nil {
		return res, err
	}
	return f.result()
}

// policy is what Duplex does with failed records of the workload.
func (w workload) policy() dlq.Policy {
	if !w.Dead {
		return dlq.Policy{Delays: []time.Duration{w.Delay}}
	}
	p := dlq.NoRetry
	p.MaxDeadRatio = 1
	return p
}

func failDuplex(ctx context.Context, s spec, f *failing) error {
	config := consumer.Config{
		Cluster: duplex.Cluster{Brokers: s.Brokers}, Group: s.Group,
		Handlers: []consumer.Handler{consumer.HandleRecord(s.Topic, func(_ context.Context, r *kgo.Record) error {
			if r.Topic == s.Topic {
				return f.first(r.Partition, r.Offset, r.Value)
			}
			f.retry(r.Partition, r.Value)
			return nil
		})},
		Ordering: s.Workload.Ordering, Concurrency: s.Workload.Flight, CommitInterval: commitEvery, FetchMaxBytes: fetchMax,
	}
	if by, _ := s.Arm.share(); by == armDuplex {
		config.Failures = s.Workload.policy()
	}
	c, err := consumer.New(config)
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		f.follow(reading, func() int64 { return c.Status().Counts["moved"] }, stop)
	}()
	err = c.Run(reading)
	stop()
	<-followed
	return err
}
