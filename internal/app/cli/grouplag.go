package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/duplex-go/duplex/dlq"
)

// The kinds of topics that a group has to do with.
const (
	kindSource  = "source"
	kindRetry   = "retry"
	kindRedrive = "redrive"
	kindDead    = "dlq"
)

// groupTopic is a topic that a group reads, or its dead-letter queue.
type groupTopic struct {
	Topic string `json:"topic"`
	// Kind is source, or what the topic is for failed records of Source.
	Kind   string `json:"kind"`
	Source string `json:"source,omitempty"`
	// Lag is what is not finished, Kept what the topic holds, Lost what was deleted before
	// the group came to it.
	Lag        int64            `json:"lag"`
	Kept       int64            `json:"kept"`
	Lost       int64            `json:"lost"`
	Partitions []groupPartition `json:"partitions"`
	Error      string           `json:"error,omitempty"`

	tier int
	read bool // by the group
}

type groupPartition struct {
	Partition int32    `json:"partition"`
	Start     int64    `json:"start"`
	Committed int64    `json:"committed"` // −1 without one
	End       int64    `json:"end"`
	Lag       int64    `json:"lag"`
	Lost      int64    `json:"lost,omitempty"`
	Member    string   `json:"member,omitempty"`
	Beside    *ownMeta `json:"beside,omitempty"`
	Error     string   `json:"error,omitempty"`
}

// kindOf tells what a topic is to a group: a source, unless its name is that of one of the
// topics that package dlq has beside the sources.
func kindOf(group, topic string) (kind, source string, tier int) {
	of := func(name string) (string, bool) {
		source, ok := strings.CutPrefix(topic, strings.TrimSuffix(name, "x"))
		return source, ok && source != ""
	}
	if source, ok := of(dlq.DeadTopic(group, "x")); ok {
		return kindDead, source, 0
	}
	if source, ok := of(dlq.RedriveTopic(group, "x")); ok {
		return kindRedrive, source, 0
	}
	rest, ok := of(strings.TrimSuffix(dlq.RetryTopic(group, "x", 1), ".1"))
	dot := strings.LastIndexByte(rest, '.')
	if ok && dot > 0 {
		tier, err := strconv.Atoi(rest[dot+1:])
		if err == nil && dlq.RetryTopic(group, rest[:dot], tier) == topic && tier > 0 {
			return kindRetry, rest[:dot], tier
		}
	}
	return kindSource, "", 0
}

// beside are the names that a dead-letter queue of the group may have.
func (v *groupView) beside(topics []string) (names []string) {
	for _, topic := range topics {
		if kind, _, _ := kindOf(v.Group, topic); kind == kindSource {
			names = append(names, dlq.DeadTopic(v.Group, topic))
		}
	}
	return names
}

// reads are the topics that the group has committed offsets in, or members for.
func (v *groupView) reads(committed kadm.OffsetResponses) []string {
	names := map[string]bool{}
	for topic := range committed {
		names[topic] = true
	}
	for i := range v.Members {
		maps.Copy(names, v.Members[i].subscribed)
	}
	return slices.Sorted(maps.Keys(names))
}

// measure asks how far groups have come. What cannot be asked is said in the group's Error.
func measure(ctx context.Context, admin *kadm.Client, groups []*groupView) {
	names := make([]string, len(groups))
	for i, v := range groups {
		names[i] = v.Group
	}
	committed := admin.FetchManyOffsets(ctx, names...)
	wanted := map[string]bool{}
	dead := map[string]bool{}
	for _, v := range groups {
		topics := v.reads(committed[v.Group].Fetched)
		for _, topic := range topics {
			wanted[topic] = true
		}
		for _, topic := range v.beside(topics) {
			dead[topic] = true
		}
	}
	for _, topic := range present(ctx, admin, slices.Collect(maps.Keys(dead))) {
		wanted[topic] = true
	}
	of := boundsOf(ctx, admin, slices.Sorted(maps.Keys(wanted)))
	for _, v := range groups {
		v.measure(committed[v.Group], of)
	}
}

// present are those of the topics that there are.
func present(ctx context.Context, admin *kadm.Client, topics []string) (there []string) {
	for name, topic := range detailsOf(ctx, admin, topics) {
		if topic.Err == nil {
			there = append(there, name)
		}
	}
	return there
}

func (v *groupView) measure(committed kadm.FetchOffsetsResponse, of map[string]map[int32]bounds) {
	if err := committed.Err; err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		v.Error = cmp.Or(v.Error, explained("asking for its offsets", err))
	}
	read := v.reads(committed.Fetched)
	owners := v.owners()
	v.Topics, v.Lag = []groupTopic{}, 0
	for _, topic := range read {
		v.Topics = append(v.Topics, v.topic(topic, true, committed.Fetched[topic], of[topic], owners[topic]))
	}
	for _, topic := range v.beside(read) {
		if of[topic] != nil && !slices.Contains(read, topic) {
			v.Topics = append(v.Topics, v.topic(topic, false, nil, of[topic], nil))
		}
	}
	for i := range v.Topics {
		v.Lag += v.Topics[i].Lag
	}
	slices.SortFunc(v.Topics, func(a, b groupTopic) int {
		return cmp.Or(cmp.Compare(cmp.Or(a.Source, a.Topic), cmp.Or(b.Source, b.Topic)), cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.tier, b.tier))
	})
}

func (t *groupTopic) rank() int {
	return slices.Index([]string{kindSource, kindRetry, kindRedrive, kindDead}, t.Kind)
}

// owners are the members that have the partitions of topics.
func (v *groupView) owners() map[string]map[int32]string {
	all := map[string]map[int32]string{}
	for i := range v.Members {
		for _, t := range v.Members[i].Partitions {
			if all[t.Topic] == nil {
				all[t.Topic] = map[int32]string{}
			}
			for _, p := range t.Partitions {
				all[t.Topic][p] = v.Members[i].ID
			}
		}
	}
	return all
}

// topic adds up a topic. The group does not read its dead-letter queues: they have no lag.
func (v *groupView) topic(name string, read bool, committed map[int32]kadm.OffsetResponse, of map[int32]bounds, owners map[int32]string) groupTopic {
	t := groupTopic{Topic: name, Partitions: []groupPartition{}, read: read}
	t.Kind, t.Source, t.tier = kindOf(v.Group, name)
	if b, failed := of[-1]; failed {
		t.Error = explained("asking for its offsets", b.err)
		of = nil
	}
	numbers := map[int32]bool{}
	for number := range of {
		numbers[number] = true
	}
	for number := range committed {
		numbers[number] = true
	}
	for _, number := range slices.Sorted(maps.Keys(numbers)) {
		p := groupPartition{Partition: number, Committed: -1, Member: owners[number]}
		if o, ok := committed[number]; ok && o.Err == nil {
			p.Committed, p.Beside = o.At, readBeside(o.At, o.Metadata)
		} else if ok {
			p.Error = explained("asking for its offset", o.Err)
		}
		switch b, ok := of[number]; {
		case !ok: // said of the topic, or it has fewer partitions than it had
			p.Error = cmp.Or(p.Error, t.Error, "the topic has no such partition")
		case b.err != nil:
			p.Error = explained("asking for its offsets", b.err)
		default:
			p.measure(b, read)
		}
		t.Partitions = append(t.Partitions, p)
		t.Lag, t.Lost, t.Kept = t.Lag+p.Lag, t.Lost+p.Lost, t.Kept+p.End-p.Start
	}
	return t
}

func (p *groupPartition) measure(b bounds, read bool) {
	p.Start, p.End = b.start, b.end
	if read {
		p.Lag = max(b.end-max(p.Committed, b.start), 0)
	}
	if p.Committed >= 0 {
		p.Lost = max(b.start-p.Committed, 0)
	}
}

// title says what a topic is to the group.
func (t *groupTopic) title() string {
	switch t.Kind {
	case kindRetry:
		return fmt.Sprintf("retry %d of %s", t.tier, short(t.Source))
	case kindRedrive:
		return "redriven to " + short(t.Source)
	case kindDead:
		return "dead letters of " + short(t.Source)
	default:
		return kindSource
	}
}
