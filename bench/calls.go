package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/duplex-go/duplex/rpc"
)

// callWorkloads are echo calls: a value goes to a server and comes back as it is.
func callWorkloads() []workload {
	return []workload{
		{Name: "calls × 1", Kind: calls, Bytes: 100, Callers: 1, Records: 10_000},
		{Name: "calls × 16", Kind: calls, Bytes: 100, Callers: 16, Records: 100_000},
		{Name: "calls × 64", Kind: calls, Bytes: 100, Callers: 64, Records: 300_000},
		{Name: "calls × 256", Kind: calls, Bytes: 100, Callers: 256, Records: 500_000},
		{Name: "calls × 1 beside Watermill", Kind: calls, Bytes: 100, Callers: 1, Records: 1000, Peer: armWatermill, Rounds: 2},
		{Name: "calls × 16 beside Watermill", Kind: calls, Bytes: 100, Callers: 16, Records: 4000, Peer: armWatermill, Rounds: 2},
		{Name: "calls × 1 beside Spring", Kind: calls, Bytes: 100, Callers: 1, Records: 10_000, Peer: armSpring, Rounds: 2},
		{Name: "calls × 64 beside Spring", Kind: calls, Bytes: 100, Callers: 64, Records: 100_000, Peer: armSpring, Rounds: 2},
		{Name: "in flight", Kind: inFlight, Bytes: 100, Callers: 1, Records: 100_000, Rounds: 1},
	}
}

// callArms take part in a workload of calls.
func (w workload) callArms() []arm {
	switch {
	case w.Kind == inFlight:
		return []arm{armDuplex}
	case w.Peer != "":
		return []arm{armDuplex, w.Peer}
	default:
		return []arm{armKgo, armDuplex, armControl, armGRPC, armHTTP}
	}
}

// aboutCalls reports whether the workload is of calls.
func (w workload) aboutCalls() bool { return w.Kind == calls || w.Kind == inFlight }

const (
	// callLimit is the deadline of a call, in every arm: what takes longer is lost.
	callLimit = 30 * time.Second
	// warmCalls are made by each caller before those that are measured: connections,
	// the group, what is known of topics.
	warmCalls = 10
)

// answers are what became of the calls of a run, beside those that were answered.
type answers struct {
	Wrong   int64 `json:"wrong"`   // answers with other bytes
	Extra   int64 `json:"extra"`   // answers that belonged to no call
	Handled int64 `json:"handled"` // requests that the server has answered, those for warming up included
}

// compareCalls runs the workloads of calls and prints their report.
func compareCalls(ctx context.Context, o options, out, talk io.Writer) error {
	c, err := connect(ctx, o.Brokers)
	if err != nil {
		return err
	}
	defer c.close()
	r := callReport{Began: time.Now().UTC(), Settings: callSettings(), Partitions: o.Partitions, Rounds: o.Rounds}
	b := bench{options: o, cluster: c, talk: talk, id: strconv.FormatInt(time.Now().UnixMilli(), 36), run: inChild}
	for _, w := range callWorkloads() {
		if !o.only.MatchString(w.Name) {
			continue
		}
		if w.Peer == armSpring {
			if err := buildSpring(ctx, o.Spring); err != nil {
				fmt.Fprintf(talk, "bench: SKIPPING %s: %v\n", w.Name, err)
				continue
			}
		}
		runs, err := b.workload(ctx, w.scaled(o.Scale))
		if err != nil {
			return fmt.Errorf("%s: %w", w.Name, err)
		}
		r.Workloads = append(r.Workloads, runs)
	}
	return o.print(r, out, talk)
}

// prepareCalls has every run make topics of its own.
func (b *bench) prepareCalls(w workload) prepared {
	want := wantedAnswers(w)
	return prepared{done: func() {}, run: func(ctx context.Context, a arm, _ bool) (result, error) {
		s := b.spec(w, a)
		s.Partitions, s.Spring = b.Partitions, b.Spring
		if err := b.cluster.createForCalls(ctx, s); err != nil {
			return result{}, err
		}
		defer b.cluster.removeForCalls(ctx, s)
		if w.Kind == inFlight {
			return b.measureInFlight(ctx, s)
		}
		r, err := b.measure(ctx, s)
		if err != nil {
			return r, err
		}
		return r, b.cluster.judgeCalls(ctx, s, r, want)
	}}
}

// createForCalls makes the topics of those arms that do not make them by themselves.
func (c *cluster) createForCalls(ctx context.Context, s spec) error {
	if !s.Arm.overKafka() || s.Arm == armDuplex {
		return nil
	}
	if err := c.create(ctx, s.requestTopic(), s.Partitions); err != nil {
		return err
	}
	return c.create(ctx, s.replyTopic(), 1)
}

func (c *cluster) removeForCalls(ctx context.Context, s spec) {
	if !s.Arm.overKafka() {
		return
	}
	c.remove(ctx, s.requestTopic())
	c.remove(ctx, s.replyTopic())
	if s.Arm == armDuplex {
		c.remove(ctx, rpc.ClaimTopic(s.caller()))
	}
}

// warm is how many calls are made before those that are measured.
func (s spec) warm() int {
	n := warmCalls * s.Workload.Callers
	if s.Arm == armSpring {
		return max(n, springWarm)
	}
	return n
}

// overKafka reports whether the calls of an arm go over topics.
func (a arm) overKafka() bool { return a != armGRPC && a != armHTTP }

// caller is the service that calls s.Topic.
func (s spec) caller() string { return s.Topic + "-caller" }

func (s spec) requestTopic() string {
	if s.Arm == armDuplex {
		return rpc.RequestTopic(s.Topic)
	}
	return s.Topic
}

func (s spec) replyTopic() string {
	if s.Arm == armDuplex {
		return rpc.ReplyTopic(s.caller())
	}
	return s.Topic + "-replies"
}

// servers is the group of the servers.
func (s spec) servers() string {
	if s.Arm == armDuplex {
		return rpc.Group(s.Topic)
	}
	return s.Topic
}

// addAnswer looks at a value's first bytes; that all of them are right is checked where
// the answer comes in.
func (t *tally) addAnswer(value []byte) {
	t.Count++
	if len(value) >= 8 {
		t.Sum += binary.LittleEndian.Uint64(value)
	}
}

func wantedAnswers(w workload) (want tally) {
	from := newSource("", w)
	for i := range w.Records {
		want.addAnswer(from.value(i))
	}
	return want
}

// judgeCalls says why a run is void: a wrong, a lost or an extra answer, by the caller's
// and the server's account and by what is in the log.
func (c *cluster) judgeCalls(ctx context.Context, s spec, r result, want tally) error {
	all := int64(s.Workload.Records + s.warm())
	switch {
	case r.Answers == nil:
		return fmt.Errorf("no account of the answers to %d calls", want.Count)
	case r.Answers.Wrong > 0:
		return fmt.Errorf("%d answers are not what was sent", r.Answers.Wrong)
	case r.Tally != want:
		return fmt.Errorf("answered %+v, want %+v", r.Tally, want)
	case r.Answers.Extra > 0:
		return fmt.Errorf("%d answers belonged to no call", r.Answers.Extra)
	case r.Answers.Handled != all:
		return fmt.Errorf("the server answered %d requests, want %d", r.Answers.Handled, all)
	case !s.Arm.overKafka():
		return nil
	}
	requests, err := c.allEnds(ctx, s.requestTopic())
	if err != nil {
		return fmt.Errorf("asking for the ends of the requests: %w", err)
	}
	replies, err := c.allEnds(ctx, s.replyTopic())
	if err != nil {
		return fmt.Errorf("asking for the ends of the replies: %w", err)
	}
	if n, m := sumOf(requests), sumOf(replies); n != all || m != all {
		return fmt.Errorf("the log has %d requests and %d replies, want %d of each", n, m, all)
	}
	if s.Arm == armWatermill || s.Arm == armSpring { // what they commit when they are closed is their own affair
		return nil
	}
	return c.committed(ctx, s.servers(), s.requestTopic(), requests)
}

// allEnds are the end offsets of a topic, by partition.
func (c *cluster) allEnds(ctx context.Context, topic string) ([]int64, error) {
	listed, err := c.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	if err := listed.Error(); err != nil {
		return nil, err
	}
	return c.ends(ctx, topic, len(listed[topic]))
}

func sumOf(ends []int64) (n int64) {
	for _, end := range ends {
		n += end
	}
	return n
}
