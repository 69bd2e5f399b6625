package demo

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

// letter is what a dead letter says.
type letter struct {
	at                           duplex.Position // where the record was read first
	reason, fingerprint, message string
}

// inbox reads the desk's dead letters, as who is on call would.
type inbox struct {
	cfg     *Config
	history *history
	member  member
}

func newInbox(cfg *Config, h *history) *inbox {
	return &inbox{cfg: cfg, history: h, member: member{name: "inbox"}}
}

// open starts the reader. The queue must be there.
func (i *inbox) open(ctx context.Context, failed context.CancelCauseFunc) error {
	queue := dlq.DeadTopic(i.cfg.Names.Rebookings, i.cfg.Names.Topic)
	return i.member.start(ctx, consumer.Config{
		Cluster: i.cfg.Cluster, Group: i.cfg.Names.Inbox, SessionTimeout: sessionTimeout,
		Handlers: []consumer.Handler{consumer.HandleRecord(queue, i.handle)},
	}, failed)
}

// handle notes a dead letter.
func (i *inbox) handle(_ context.Context, r *kgo.Record) error {
	at, _, err := i.cfg.origin(r)
	if err != nil {
		return err
	}
	l := letter{at: at}
	l.reason, _ = duplex.Header(r, dlq.HeaderReason)
	l.fingerprint, _ = duplex.Header(r, dlq.HeaderFingerprint)
	l.message, _ = duplex.Header(r, dlq.HeaderErrorMessage)
	i.history.died(l)
	return nil
}

// origin is where a record was read first: what comes out of a retry topic or a
// dead-letter queue says so in its headers. It reports whether it does.
func (cfg *Config) origin(r *kgo.Record) (at duplex.Position, moved bool, err error) {
	if r.Topic == cfg.Names.Topic {
		return duplex.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, false, nil
	}
	topic, _ := duplex.Header(r, dlq.HeaderOriginTopic)
	partition, _ := duplex.Header(r, dlq.HeaderOriginPartition)
	offset, _ := duplex.Header(r, dlq.HeaderOriginOffset)
	p, err := strconv.ParseInt(partition, 10, 32)
	if err == nil {
		at.Offset, err = strconv.ParseInt(offset, 10, 64)
	}
	if err != nil {
		return duplex.Position{}, true, fmt.Errorf("demo: reading where record %d of %s/%d came from: %w", r.Offset, r.Topic, r.Partition, err)
	}
	at.Topic, at.Partition = topic, int32(p)
	return at, true, nil
}
