package dlq

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/duplex-go/duplex"
)

// The topics beside a source topic belong to one group: two groups that read the
// same topic never see each other's failures. Dots of the group are doubled, so
// that group billing.eu with topic orders and group billing with topic eu.orders
// have topics of their own.

// RetryTopic is the name of a retry topic, the one of the n-th delay, from 1.
func RetryTopic(group, topic string, n int) string {
	return "retry." + doubled(group) + "." + topic + "." + strconv.Itoa(n)
}

// DeadTopic is the name of the dead-letter queue of a group for a topic.
func DeadTopic(group, topic string) string { return "dlq." + doubled(group) + "." + topic }

// RedriveTopic is the name of the topic that dead letters come back through, to
// this group alone.
func RedriveTopic(group, topic string) string { return "redrive." + doubled(group) + "." + topic }

// StateTopic is the name of the topic that says what was done with the dead letters of a
// group: jobs, and what became of redriven records. It is made with the first job.
func StateTopic(group string) string { return statePrefix + doubled(group) }

// StateTopicOf is the name of the state topic that speaks of a queue: that of its group, or
// of its own name where it is none of Duplex's.
func StateTopicOf(queue string) string { return StateTopic(ownerOf(queue)) }

// AuditTopic is the name of the topic that says who did what with dead letters, when and
// why.
const AuditTopic = "dlq-audit"

const statePrefix, deadPrefix = "dlq-state.", "dlq."

// ownerOf is whose state topic speaks of a queue: its group's, by the name of the queue,
// since there may be no letter that says it. A queue that is named in another way is its
// own.
func ownerOf(queue string) string {
	rest, ours := strings.CutPrefix(queue, deadPrefix)
	for i := 0; ours && i < len(rest); i++ {
		switch {
		case rest[i] != '.':
		case i+1 < len(rest) && rest[i+1] == '.':
			i++ // a dot of the group
		case i > 0 && i+1 < len(rest):
			return strings.ReplaceAll(rest[:i], "..", ".")
		default:
			return queue
		}
	}
	return queue
}

func doubled(group string) string { return strings.ReplaceAll(group, ".", "..") }

// checkNames reports why a group and a topic cannot have topics beside them. The
// longest name is that of the last retry topic.
func checkNames(group, topic string, tiers int) error {
	for _, of := range []struct{ what, name string }{{"group", group}, {"topic", topic}} {
		if err := duplex.ValidateTopicName(of.name); err != nil {
			return fmt.Errorf("%s %q cannot be part of a topic's name: %w", of.what, of.name, err)
		}
		if strings.HasPrefix(of.name, ".") || strings.HasSuffix(of.name, ".") {
			return fmt.Errorf("%s %q: a name that begins or ends with a dot cannot be told apart from others in a topic's name: rename it", of.what, of.name)
		}
	}
	longest := RedriveTopic(group, topic)
	if last := RetryTopic(group, topic, tiers); len(last) > len(longest) {
		longest = last
	}
	if err := duplex.ValidateTopicName(longest); err != nil {
		return fmt.Errorf("group %q and topic %q: %w: shorten one of the two names", group, topic, err)
	}
	return nil
}
