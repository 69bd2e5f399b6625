package demo

import "github.com/duplex-go/duplex/dlq"

// Names are those of the topic and the groups of one telling. They are nobody
// else's.
type Names struct {
	// Topic has the departures.
	Topic string
	// Boards and Rebookings are the groups that handle them, Inbox the one that
	// reads the dead letters.
	Boards, Rebookings, Inbox string
}

// NewNames gives names that begin and end alike.
func NewNames(prefix, suffix string) Names {
	named := func(name string) string { return prefix + name + suffix }
	return Names{Topic: named("departures"), Boards: named("boards"), Rebookings: named("rebookings"), Inbox: named("inbox")}
}

// Groups are those that may be there when the story has ended.
func (n Names) Groups() []string { return []string{n.Boards, n.Rebookings, n.Inbox} }

// Topics are those that may be there when the story has ended: that of the
// departures, and what the failure policies of the groups made beside it.
func (n Names) Topics() []string {
	topics := []string{n.Topic}
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
