package integration

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/commitmeta"
	hist "github.com/duplex-go/duplex/internal/history"
	"github.com/duplex-go/duplex/internal/suite"
)

const hopVariable = "INTEGRATION_HOP"

// point is where a process kills itself in the middle of a hop, which is
//
//	run ─► publish ─► acknowledged ─► counts as finished ─► commit ─► acknowledged
//	        └─ if it takes long: commit of the failure
type point string

// The points, in their order.
const (
	beforePublish  point = "before the publish"
	publishHeld    point = "failure committed, before the publish"
	publishSent    point = "publish sent"
	publishStored  point = "publish acknowledged, not noticed"
	publishCounted point = "publish acknowledged, finished"
	beforeCommit   point = "before the commit"
	commitSent     point = "commit sent"
	commitStored   point = "commit acknowledged, not noticed"
	commitCounted  point = "commit acknowledged, noticed"
)

// hopSettings describe a process that consumes, and may kill itself at a point of
// one hop.
type hopSettings struct {
	Name, History string
	Brokers       []string
	Topic, Group  string
	Chain         [4]string         // the source, the retry topics, the queue
	Topics        map[string]string // names by ID, in hex

	CommitInterval, SessionTimeout time.Duration
	// Point, if not empty, is where it dies: when the record at Offset of From goes
	// on to To, which is the Hops-th hop of the process.
	Point    point
	From, To string
	Offset   int64
	Hops     int64
}

// hopProcess is what the program keeps.
type hopProcess struct {
	settings hopSettings
	recorder *hist.Recorder
	consumer *consumer.Consumer
	log      *zap.Logger // to stderr, which is read if the test fails

	mu      sync.Mutex
	publish kmsg.Request // of the hop
	acked   bool
	commit  kmsg.Request // that has the hop
	held    kmsg.Request // the commit while the publish is held back
}

// TestHopProcess is a program for TestKillsAtEveryPointOfAHop.
func TestHopProcess(t *testing.T) {
	text := os.Getenv(hopVariable)
	if text == "" {
		t.Skip("only a program for another test")
	}
	if err := runHopProcess(text); err != nil {
		fmt.Fprintln(os.Stderr, "hop:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runHopProcess(text string) (err error) {
	p := &hopProcess{log: zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()), os.Stderr, zap.InfoLevel))}
	if err := json.Unmarshal([]byte(text), &p.settings); err != nil {
		return err
	}
	s := &p.settings
	if p.recorder, err = hist.Create(s.History); err != nil {
		return err
	}
	cfg := consumer.Config{
		Cluster: duplex.Cluster{Brokers: s.Brokers}, Group: s.Group, SessionTimeout: s.SessionTimeout, CommitInterval: s.CommitInterval,
		Failures: dlq.Policy{Delays: hopDelays()}, Logger: p.log,
		Handlers: []consumer.Handler{consumer.HandleRecord(s.Topic, p.handle)},
	}
	if s.Point != "" {
		wire := &suite.Wire{Keys: []kmsg.Key{kmsg.Produce, kmsg.OffsetCommit}, Sends: p.sends, Loses: p.loses, Sent: p.sent, Answered: p.answered}
		cfg.Cluster = wire.Watch(cfg.Cluster)
	}
	if p.consumer, err = consumer.New(cfg); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("ready")
	return errors.Join(p.consumer.Run(ctx), p.recorder.Close())
}

func hopDelays() []time.Duration {
	return []time.Duration{200 * time.Millisecond, 500 * time.Millisecond}
}

// What keys begin with says what becomes of their records.
const (
	keyFine      = "fine"
	keyDropped   = "dropped"
	keyOnce      = "fails-once"
	keyTwice     = "fails-twice"
	keyAlways    = "fails-always"
	keyPermanent = "permanent"
)

func (p *hopProcess) handle(ctx context.Context, r *kgo.Record) error {
	attempt := consumer.FromContext(ctx).Attempt
	verdict := verdictOfKey(string(r.Key), attempt)
	if verdict != nil && p.settings.Point != "" {
		if err := p.justCommitted(ctx, r); err != nil {
			return err
		}
	}
	run := hist.Of(r, p.settings.Name, attempt)
	if err := p.recorder.Record(run.Started()); err != nil {
		return err
	}
	if verdict == nil || duplex.VerdictOf(verdict).Kind == duplex.VerdictDrop {
		return errors.Join(p.recorder.Record(run.Finished()), verdict)
	}
	return errors.Join(p.recorder.Record(run.Failed(time.Time{})), verdict)
}

func verdictOfKey(key string, attempt int) error {
	kind, _, _ := strings.Cut(key, ":")
	switch {
	case kind == keyDropped:
		return duplex.Drop("nobody wants it")
	case kind == keyPermanent:
		return duplex.Permanent(errFails)
	case kind == keyAlways, kind == keyTwice && attempt <= 2, kind == keyOnce && attempt <= 1:
		return errFails
	}
	return nil
}

// dies ends the process at the point, and does not return then.
func (p *hopProcess) dies(at point) {
	if p.settings.Point != at {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// loses has the publish take too long, until a commit ends the process.
func (p *hopProcess) loses(r kmsg.Request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return r == p.publish && p.settings.Point == publishHeld
}

func (p *hopProcess) sends(r kmsg.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.saw("sends", r)
	switch req := r.(type) {
	case *kmsg.ProduceRequest:
		if !p.acked && p.publishes(req) { // one whose connection broke is sent again
			p.publish = r
			p.dies(beforePublish)
		}
	case *kmsg.OffsetCommitRequest:
		if p.commits(req, p.countsFailure) {
			p.held = r
		}
		if p.acked && p.commits(req, p.passes) {
			p.commit = r
			p.dies(publishCounted) // it was to be dead by now
			p.dies(beforeCommit)
		}
	}
}

func (p *hopProcess) sent(r kmsg.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saw("sent", r)
	switch r {
	case p.publish:
		p.dies(publishSent)
	case p.commit:
		p.dies(commitSent)
	}
}

func (p *hopProcess) answered(r kmsg.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saw("answered", r)
	if r == p.held {
		p.dies(publishHeld)
	}
	switch r {
	case p.publish:
		p.dies(publishStored)
		p.acked = true
		go p.diesWhen(publishCounted, func() bool { return p.consumer.Status().Counts["moved"] >= p.settings.Hops })
	case p.commit:
		p.dies(commitStored)
		go p.diesWhen(commitCounted, func() bool { return p.committed(p.settings.From) > p.settings.Offset })
	}
}

// saw logs a request with what is known of it.
func (p *hopProcess) saw(what string, r kmsg.Request) {
	p.log.Info(what, zap.String("request", kmsg.NameForKey(r.Key())), zap.Bool("publish", r == p.publish), zap.Bool("acked", p.acked),
		zap.Bool("commit", r == p.commit), zap.Bool("held", r == p.held))
}

// diesWhen ends the process at the point, if it is to die there, as soon as ok says
// so.
func (p *hopProcess) diesWhen(at point, ok func() bool) {
	if p.settings.Point != at {
		return
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		<-tick.C
	}
	p.dies(at)
}

// justCommitted waits for the commit of what came before r: the hop that brought it
// here, or the records before it in the source. So a kill repeats nothing of that, and
// the next commit comes when all is done with r. Otherwise one between its failure and
// the publish could say that it failed, which is not forgotten then. It ends with ctx: a
// process that is thrown out of its group begins anew, and not before this has ended.
func (p *hopProcess) justCommitted(ctx context.Context, r *kgo.Record) error {
	topic, offset := r.Topic, r.Offset
	switch topic {
	case p.settings.Chain[1]:
		topic, offset = p.settings.Chain[0], travellerAt+1
	case p.settings.Chain[2]:
		topic, offset = p.settings.Chain[1], 1
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for p.committed(topic) < offset {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (p *hopProcess) committed(topic string) int64 {
	status := p.consumer.Status()
	for i := range status.Partitions {
		if at := &status.Partitions[i]; at.Topic == topic {
			return at.Committed
		}
	}
	return -1
}

func (p *hopProcess) publishes(req *kmsg.ProduceRequest) bool {
	for i := range req.Topics {
		if p.named(req.Topics[i].Topic, req.Topics[i].TopicID) == p.settings.To {
			return true
		}
	}
	return false
}

// commits reports whether the request says so of the partition of the record.
func (p *hopProcess) commits(req *kmsg.OffsetCommitRequest, says func(*kmsg.OffsetCommitRequestTopicPartition) bool) bool {
	for i := range req.Topics {
		topic := &req.Topics[i]
		if p.named(topic.Topic, topic.TopicID) == p.settings.From && len(topic.Partitions) == 1 && says(&topic.Partitions[0]) {
			return true
		}
	}
	return false
}

// passes says that the record is finished.
func (p *hopProcess) passes(at *kmsg.OffsetCommitRequestTopicPartition) bool {
	return at.Offset > p.settings.Offset
}

// countsFailure says that the record has failed, and waits.
func (p *hopProcess) countsFailure(at *kmsg.OffsetCommitRequestTopicPartition) bool {
	if at.Metadata == nil {
		return false
	}
	return failedAt(*at.Metadata, p.settings.Offset)
}

// failedAt reports whether the metadata of a commit says that the record has failed.
func failedAt(metadata string, offset int64) bool {
	meta, err := commitmeta.Decode(metadata)
	return err == nil && slices.ContainsFunc(meta.Heads, func(h commitmeta.Head) bool { return h.Offset == offset })
}

// named is a topic's name, of which newer requests have only the ID.
func (p *hopProcess) named(name string, id [16]byte) string {
	if name != "" {
		return name
	}
	return p.settings.Topics[hex.EncodeToString(id[:])]
}
