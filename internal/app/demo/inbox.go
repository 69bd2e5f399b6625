package demo

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

// inbox reads the desk's dead letters, as who is on call would.
type inbox struct {
	cfg     *Config
	history *history
	began   time.Time // what died before is from another telling
	member  member
}

func newInbox(cfg *Config, h *history, began time.Time) *inbox {
	return &inbox{cfg: cfg, history: h, began: began, member: member{name: "inbox"}}
}

// open starts the reader. The queue must be there.
func (i *inbox) open(ctx context.Context, failed context.CancelCauseFunc) error {
	return i.member.start(ctx, consumer.Config{
		Cluster: i.cfg.Cluster, Group: i.cfg.Names.Inbox, SessionTimeout: sessionTimeout,
		Handlers: []consumer.Handler{consumer.HandleRecord(i.cfg.Names.queue(), i.handle)},
	}, failed)
}

// handle notes a dead letter.
func (i *inbox) handle(_ context.Context, r *kgo.Record) error {
	l, err := i.cfg.life(r)
	if err != nil {
		return err
	}
	failed, err := number(r, dlq.HeaderLastFailedAt, 64)
	if err != nil {
		return err
	}
	if failed >= i.began.UnixMilli() {
		i.history.died(l)
	}
	return nil
}

// life is one of the lives of a record: each redrive begins another.
type life struct {
	at         duplex.Position // where the record was read first
	generation int             // how often it had come back
}

// life is that of a record as it was read: what comes out of a retry topic, a redrive topic
// or a dead-letter queue says in its headers where it was read first, and how often it had
// come back.
func (cfg *Config) life(r *kgo.Record) (life, error) {
	if r.Topic == cfg.Names.Topic {
		return life{at: duplex.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}}, nil
	}
	topic, _ := duplex.Header(r, dlq.HeaderOriginTopic)
	partition, err := number(r, dlq.HeaderOriginPartition, 32)
	if err != nil {
		return life{}, err
	}
	offset, err := number(r, dlq.HeaderOriginOffset, 64)
	if err != nil {
		return life{}, err
	}
	generation, err := number(r, dlq.HeaderGeneration, 32)
	return life{at: duplex.Position{Topic: topic, Partition: int32(partition), Offset: offset}, generation: int(generation)}, err
}

// number is what one of our headers says.
func number(r *kgo.Record, name string, bits int) (int64, error) {
	text, _ := duplex.Header(r, name)
	n, err := strconv.ParseInt(text, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("demo: reading %s of record %d of %s/%d: %w", name, r.Offset, r.Topic, r.Partition, err)
	}
	return n, nil
}
