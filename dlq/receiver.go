package dlq

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/duplex-go/duplex/internal/kafka"
)

// Receiver is a group that reads a topic.
type Receiver struct {
	Group   string `json:"group"`
	State   string `json:"state"` // in Kafka's words
	Members int    `json:"members"`
}

// mostReceivers bounds how many groups are listed of a topic.
const mostReceivers = 100

// receivers finds out which groups read the topics that a plan sends to.
func (p *planner) receivers(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(p.to)) {
		to := p.to[name]
		if to.Records == 0 {
			continue
		}
		groups, err := p.readers(ctx, to.Topic)
		if err != nil {
			return err
		}
		to.Receivers = groups
		p.plan.To = append(p.plan.To, *to)
	}
	return nil
}

// readers are the groups that have offsets in a topic, or members that read it, as far as
// the cluster shows them to us.
func (r *Redriver) readers(ctx context.Context, topic string) ([]Receiver, error) {
	admin := kadm.NewClient(r.client)
	listed, err := admin.ListGroups(ctx)
	if err != nil && len(listed) == 0 {
		return nil, kafka.Explain(fmt.Sprintf("dlq: finding out who reads topic %q", topic), err)
	}
	found := receivers{topic: topic, is: map[string]*Receiver{}}
	for group, f := range admin.FetchManyOffsets(ctx, listed.Groups()...) {
		if f.Err == nil && len(f.Fetched[topic]) > 0 {
			found.is[group] = &Receiver{Group: group, State: listed[group].State}
		}
	}
	// What one kind of group is, the other question does not know; older clusters have one.
	classic, _ := admin.DescribeGroups(ctx, listed.Groups()...)
	for _, g := range classic {
		found.classic(g)
	}
	modern, _ := admin.DescribeConsumerGroups(ctx, listed.Groups()...)
	for _, g := range modern {
		found.modern(g)
	}
	names := slices.Sorted(maps.Keys(found.is))
	all := make([]Receiver, 0, len(names))
	for _, name := range names[:min(len(names), mostReceivers)] {
		all = append(all, *found.is[name])
	}
	return all, nil
}

// receivers are those of a topic, by group.
type receivers struct {
	topic string
	is    map[string]*Receiver
}

func (rs *receivers) classic(g kadm.DescribedGroup) {
	reads := false
	for _, m := range g.Members {
		if joined, ok := m.Join.AsConsumer(); ok {
			reads = reads || slices.Contains(joined.Topics, rs.topic)
		}
	}
	if g.Err == nil && g.State != "Dead" { // that is one of the other kind
		rs.note(g.Group, g.State, len(g.Members), reads)
	}
}

func (rs *receivers) modern(g kadm.DescribedConsumerGroup) {
	reads := false
	for _, m := range g.Members {
		reads = reads || slices.Contains(m.SubscribedTopics, rs.topic)
	}
	if g.Err == nil {
		rs.note(g.Group, g.State, len(g.Members), reads)
	}
}

// note enters what is known of a group: one that has no offsets in the topic counts if it
// reads it.
func (rs *receivers) note(group, state string, members int, reads bool) {
	is := rs.is[group]
	if is == nil && !reads {
		return
	}
	if is == nil {
		is = &Receiver{Group: group}
		rs.is[group] = is
	}
	is.State, is.Members = state, members
}
