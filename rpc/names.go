package rpc

import (
	"fmt"
	"strings"

	"github.com/duplex-go/duplex"
)

// The topics of a service, and its group. Dots of the service are doubled, as those of
// groups are in the names of dead-letter queues: a service's name never runs into
// another's.

// RequestTopic is where the requests of a service are.
func RequestTopic(service string) string { return requestPrefix + doubled(service) }

// CancelTopic is where callers say which of their requests they have given up.
func CancelTopic(service string) string { return cancelPrefix + doubled(service) }

// ReplyTopic is where the replies to the clients of a service are, ClaimTopic where
// these say which of its partitions they read.
func ReplyTopic(service string) string { return replyPrefix + doubled(service) }

// ClaimTopic is where the clients of a service say which partition they read.
func ClaimTopic(service string) string { return "rpc.claims." + doubled(service) }

// Group is the consumer group of a service's servers.
func Group(service string) string { return "rpc." + doubled(service) }

// replyPrefix begins all topics that replies may go to, unless a server says
// otherwise.
const (
	requestPrefix = "rpc.requests."
	cancelPrefix  = "rpc.cancel."
	replyPrefix   = "rpc.replies."
)

func doubled(service string) string { return strings.ReplaceAll(service, ".", "..") }

// checkService reports why a service cannot have topics.
func checkService(service string) error {
	if err := duplex.ValidateTopicName(service); err != nil {
		return fmt.Errorf("service %q cannot be part of a topic's name: %w", service, err)
	}
	if strings.HasPrefix(service, ".") || strings.HasSuffix(service, ".") {
		return fmt.Errorf("service %q begins or ends with a dot, and could not be told apart from others in a topic's name: rename it", service)
	}
	if err := duplex.ValidateTopicName(RequestTopic(service)); err != nil {
		return fmt.Errorf("service %q: %w: shorten its name", service, err)
	}
	return nil
}
