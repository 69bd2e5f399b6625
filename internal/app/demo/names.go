package demo

import (
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/rpc"
)

// Names are those of the topic, the groups and the services of one telling. They are nobody
// else's.
type Names struct {
	// Topic has the departures.
	Topic string
	// Boards and Rebookings are the groups that handle them, Inbox the one that
	// reads the dead letters.
	Boards, Rebookings, Inbox string
	// Fares is the service that is called, Gate the one that calls.
	Fares, Gate string
}

// NewNames gives names that begin and end alike.
func NewNames(prefix, suffix string) Names {
	named := func(name string) string { return prefix + name + suffix }
	return Names{
		Topic: named("departures"), Boards: named("boards"), Rebookings: named("rebookings"), Inbox: named("inbox"),
		Fares: named("fares"), Gate: named("gate"),
	}
}

// Groups are those that may be there when the story has ended.
func (n Names) Groups() []string {
	return []string{n.Boards, n.Rebookings, n.Inbox, rpc.Group(n.Fares)}
}

// queue has the dead letters of the rebookings.
func (n Names) queue() string { return dlq.DeadTopic(n.Rebookings, n.Topic) }

// Topics are those that may be there when the story has ended: that of the departures, what
// the failure policies of the groups made beside it, those of calls, and what the redrive
// says of dead letters. Not among them is dlq.AuditTopic, which is that of all queues of a
// cluster, and stays.
func (n Names) Topics() []string {
	topics := []string{n.Topic, rpc.RequestTopic(n.Fares), rpc.CancelTopic(n.Fares), rpc.ReplyTopic(n.Gate), rpc.ClaimTopic(n.Gate), dlq.StateTopic(n.Rebookings)}
	for _, of := range []struct {
		group  string
		policy dlq.Policy
	}{{n.Boards, boardPolicy()}, {n.Rebookings, rebookingPolicy()}} {
		topics = append(topics, dlq.DeadTopic(of.group, n.Topic), dlq.RedriveTopic(of.group, n.Topic))
		for i := range of.policy.Delays {
			topics = append(topics, dlq.RetryTopic(of.group, n.Topic, i+1))
		}
	}
	return topics
}
