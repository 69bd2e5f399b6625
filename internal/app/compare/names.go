package compare

import (
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/rpc"
)

// Names are those of the services, topics and groups of one comparison. They are
// nobody else's.
type Names struct {
	// Service serves the calls, Caller makes them.
	Service, Caller string
	// Topic has the events, Group handles them, Inbox reads the dead letters.
	Topic, Group, Inbox string
}

// NewNames gives names that begin and end alike.
func NewNames(prefix, suffix string) Names {
	named := func(name string) string { return prefix + name + suffix }
	return Names{Service: named("desk"), Caller: named("agents"), Topic: named("departures"), Group: named("rebookings"), Inbox: named("inbox")}
}

// Groups are those that may be there when the comparison has ended.
func (n Names) Groups() []string { return []string{rpc.Group(n.Service), n.Group, n.Inbox} }

// Topics are those that may be there when the comparison has ended: that of the events,
// those of its failures, and those of the calls.
func (n Names) Topics() []string {
	topics := []string{
		n.Topic, dlq.DeadTopic(n.Group, n.Topic), dlq.RedriveTopic(n.Group, n.Topic),
		rpc.RequestTopic(n.Service), rpc.CancelTopic(n.Service), rpc.ReplyTopic(n.Caller), rpc.ClaimTopic(n.Caller),
	}
	for i := range failures().Delays {
		topics = append(topics, dlq.RetryTopic(n.Group, n.Topic, i+1))
	}
	return topics
}
