package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
)

// The protocols of groups, in Duplex's words where it has some.
const (
	protocolClassic = "classic"
	protocolKIP848  = "kip848"
	// stateEmpty and stateDead are Kafka's words for groups without members, and without
	// anything.
	stateEmpty = "Empty"
	stateDead  = "Dead"
)

// groupView is what Kafka knows of a group.
type groupView struct {
	Group    string        `json:"group"`
	State    string        `json:"state"`
	Protocol string        `json:"protocol"`           // classic, kip848, or Kafka's word for another
	Assignor string        `json:"assignor,omitempty"` // who shares out the partitions
	Lag      int64         `json:"lag"`
	Members  []groupMember `json:"members"`
	Topics   []groupTopic  `json:"topics"`
	Error    string        `json:"error,omitempty"` // why something is not known
}

// groupMember is a member as it says of itself, and what it has.
type groupMember struct {
	ID         string          `json:"id"`
	ClientID   string          `json:"client_id"`
	Host       string          `json:"host"`
	InstanceID string          `json:"instance_id,omitempty"`
	Partitions []topicNumbers  `json:"partitions"`
	subscribed map[string]bool // topics
}

type topicNumbers struct {
	Topic      string  `json:"topic"`
	Partitions []int32 `json:"partitions"`
}

// has are the partitions of a member as one word.
func (m *groupMember) has() string {
	if len(m.Partitions) == 0 {
		return "-"
	}
	words := make([]string, len(m.Partitions))
	for i, t := range m.Partitions {
		words[i] = short(t.Topic) + "/" + numbers(t.Partitions)
	}
	return strings.Join(words, " ")
}

func (m *groupMember) add(topic string, partitions []int32) {
	if len(partitions) > 0 {
		m.Partitions = append(m.Partitions, topicNumbers{topic, slices.Sorted(slices.Values(partitions))})
	}
	m.subscribed[topic] = true
}

// listedGroup is a group as a broker lists it.
type listedGroup struct{ name, state, protocol string }

// listGroups lists the groups that we may see. What some brokers do not answer is an error
// beside what the others did.
func listGroups(ctx context.Context, client *kgo.Client) (listed []listedGroup, err error) {
	for _, shard := range client.RequestSharded(ctx, kmsg.NewPtrListGroupsRequest()) {
		resp, ok := shard.Resp.(*kmsg.ListGroupsResponse)
		if shard.Err == nil && ok {
			shard.Err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if shard.Err != nil {
			err = kafka.Explain("group: listing groups", shard.Err)
			continue
		}
		for i := range resp.Groups {
			g := &resp.Groups[i]
			listed = append(listed, listedGroup{g.Group, g.GroupState, protocolOf(g.GroupType)})
		}
	}
	slices.SortFunc(listed, func(a, b listedGroup) int { return strings.Compare(a.name, b.name) })
	return slices.CompactFunc(listed, func(a, b listedGroup) bool { return a.name == b.name }), err
}

// protocolOf says Kafka's type of a group in our words. Brokers before 3.8 say nothing.
func protocolOf(kind string) string {
	switch strings.ToLower(kind) {
	case "", protocolClassic:
		return protocolClassic
	case "consumer":
		return protocolKIP848
	}
	return strings.ToLower(kind)
}

// findGroup asks for a group by its name. One that there is not is an error that names the
// nearest.
func findGroup(ctx context.Context, client *kgo.Client, name string) (*groupView, error) {
	v := &groupView{Group: name, Protocol: protocolKIP848}
	err := v.describeKIP848(ctx, client)
	if err != nil && !errors.Is(err, kerr.GroupAuthorizationFailed) && ctx.Err() == nil { // another protocol, or a broker before it
		v = &groupView{Group: name, Protocol: protocolClassic}
		err = v.describeClassic(ctx, client)
	}
	switch {
	case err == nil && v.State != stateDead:
		return v, nil
	case err != nil && !unknownGroup(err):
		return nil, kafka.Explain(fmt.Sprintf("group: asking for group %q", name), err)
	}
	listed, err := listGroups(ctx, client)
	names := make([]string, len(listed))
	for i, g := range listed {
		if names[i] = g.name; g.name == name && g.protocol != protocolClassic {
			return nil, fmt.Errorf("group: asking for group %q: it is a %s group, and has no offsets of this kind", name, g.protocol)
		}
	}
	return nil, unknownName("group", "group", name, names, err)
}

// unknownName is the error for a name that nothing has, with the nearest that something
// has. because, unless it is nil, is why not all names are known.
func unknownName(op, what, name string, names []string, because error) error {
	e := &duplex.Error{Op: fmt.Sprintf("%s: asking for %s %q", op, what, name), Err: fmt.Errorf("there is no such %s", what), Hint: "or no right to see it"}
	if what == "topic" {
		e.Codes = []duplex.Code{duplex.ErrUnknownTopic}
	}
	if near := config.Nearest(name, slices.Values(names)); near != "" {
		e.Hint = fmt.Sprintf("did you mean %q?", near)
	}
	if because != nil {
		return errors.Join(e, because)
	}
	return e
}

func unknownGroup(err error) bool { return errors.Is(err, kerr.GroupIDNotFound) }

// describeKIP848 asks for the members of a group that has the protocol of KIP-848.
func (v *groupView) describeKIP848(ctx context.Context, client *kgo.Client) error {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = []string{v.Group}
	resp, err := req.RequestWith(ctx, client)
	switch {
	case err != nil:
		return err
	case len(resp.Groups) != 1:
		return kerr.GroupIDNotFound
	}
	g := &resp.Groups[0]
	if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
		return err
	}
	v.State, v.Assignor, v.Members = g.State, g.AssignorName, []groupMember{}
	names := map[kadm.TopicID]string{}
	for i := range g.Members {
		m := &g.Members[i]
		one := newMember(m.MemberID, m.ClientID, m.ClientHost, m.InstanceID, m.SubscribedTopics)
		for _, t := range m.Assignment.TopicPartitions {
			if t.Topic == "" { // the embedded broker says IDs only
				t.Topic = nameOf(ctx, client, names, t.TopicID)
			}
			one.add(t.Topic, t.Partitions)
		}
		v.addMember(one)
	}
	return nil
}

// nameOf is the name of a topic that has an ID; names are those that are known already.
func nameOf(ctx context.Context, client *kgo.Client, names map[kadm.TopicID]string, id kadm.TopicID) string {
	if len(names) == 0 {
		topics, _ := kadm.NewClient(client).ListTopics(ctx) // else the ID has to do
		for name, topic := range topics {
			names[topic.ID] = name
		}
	}
	return cmp.Or(names[id], id.String())
}

func newMember(id, clientID, host string, instance *string, topics []string) groupMember {
	m := groupMember{ID: id, ClientID: clientID, Host: host, Partitions: []topicNumbers{}, subscribed: map[string]bool{}}
	if instance != nil {
		m.InstanceID = *instance
	}
	for _, topic := range topics {
		m.subscribed[topic] = true
	}
	return m
}

func (v *groupView) addMember(m groupMember) {
	slices.SortFunc(m.Partitions, func(a, b topicNumbers) int { return strings.Compare(a.Topic, b.Topic) })
	v.Members = append(v.Members, m)
	slices.SortFunc(v.Members, func(a, b groupMember) int {
		return cmp.Or(strings.Compare(a.InstanceID, b.InstanceID), strings.Compare(a.ID, b.ID))
	})
}

// describeClassic asks for the members of a group that has the protocol before KIP-848.
func (v *groupView) describeClassic(ctx context.Context, client *kgo.Client) error {
	described, err := kadm.NewClient(client).DescribeGroups(ctx, v.Group)
	g, ok := described[v.Group]
	if err = cmp.Or(err, g.Err); err != nil {
		return err
	}
	if !ok {
		return kerr.GroupIDNotFound
	}
	v.State, v.Assignor, v.Members = g.State, g.Protocol, []groupMember{}
	for i := range g.Members {
		m := &g.Members[i]
		var topics []string
		if joined, ok := m.Join.AsConsumer(); ok {
			topics = joined.Topics
		}
		one := newMember(m.MemberID, m.ClientID, m.ClientHost, m.InstanceID, topics)
		if assigned, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range assigned.Topics {
				one.add(t.Topic, t.Partitions)
			}
		}
		v.addMember(one)
	}
	return nil
}

// describe asks for the members in the group's own protocol.
func (v *groupView) describe(ctx context.Context, client *kgo.Client) error {
	switch v.Protocol {
	case protocolKIP848:
		return v.describeKIP848(ctx, client)
	case protocolClassic:
		return v.describeClassic(ctx, client)
	default:
		return nil // such as share: listed, and not more
	}
}

// bounds are the offsets of a partition: of the oldest record that is kept, and the next to
// be written.
type bounds struct {
	start, end int64
	err        error
}

// boundsOf asks for the bounds of topics. What is not known of one does not hide the others.
func boundsOf(ctx context.Context, admin *kadm.Client, topics []string) map[string]map[int32]bounds {
	all := make(map[string]map[int32]bounds, len(topics))
	if len(topics) == 0 {
		return all
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	var ends kadm.ListedOffsets
	if err == nil {
		ends, err = admin.ListEndOffsets(ctx, topics...)
	}
	if err != nil && len(topics) > 1 {
		for _, topic := range topics {
			all[topic] = boundsOf(ctx, admin, []string{topic})[topic]
		}
		return all
	}
	for _, topic := range topics {
		of := map[int32]bounds{}
		if err != nil {
			of[-1] = bounds{err: err}
		}
		for number, end := range ends[topic] {
			of[number] = bounds{starts[topic][number].Offset, end.Offset, cmp.Or(end.Err, starts[topic][number].Err)}
		}
		all[topic] = of
	}
	return all
}

// detailsOf are topics as the cluster describes them. One that we may not see does not hide
// the others: it has an error.
func detailsOf(ctx context.Context, admin *kadm.Client, topics []string) map[string]kadm.TopicDetail {
	if len(topics) == 0 {
		return nil
	}
	all, err := admin.ListTopics(ctx, topics...)
	switch {
	case err != nil && len(topics) == 1:
		return map[string]kadm.TopicDetail{topics[0]: {Topic: topics[0], Err: err}}
	case err != nil:
		all = kadm.TopicDetails{}
		for _, topic := range topics {
			all[topic] = detailsOf(ctx, admin, []string{topic})[topic]
		}
	}
	return all
}

// explained is the text of an error of the cluster.
func explained(op string, err error) string { return kafka.Explain(op, err).Error() }
