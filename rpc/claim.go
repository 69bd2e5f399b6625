package rpc

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex/internal/kafka"
)

// claims share the partitions of a reply topic out among the instances of a client
// service, without anybody who decides: each writes which one it reads to a topic of one
// partition, again and again, and takes the one that fewest have. Of two who took one at
// the same time, the later one in the log moves, if there is a better one: all see the
// same log, and come to the same result. Where this fails, a hash chooses. Two who share a partition get each other's replies, and skip
// them: that costs traffic, and nothing else.
type claims struct {
	owner *Client

	mu   sync.Mutex
	mine claimRecord // zero Instance before one was written
}

// claimRecord is the value of a record in the topic of claims, as JSON.
type claimRecord struct {
	Instance  string `json:"instance"` // the beginning of correlation IDs, "instance.boot"
	Name      string `json:"name"`     // as people know it
	TopicID   string `json:"topic_id"` // of the reply topic, base64url
	Partition int32  `json:"partition"`
	Released  bool   `json:"released,omitempty"`
}

// claim is a claim that was read.
type claim struct {
	claimRecord
	first int64 // the offset where this instance claimed this partition first
	at    time.Time
}

const (
	// claimEvery is how often a claim is written again, claimFor for how long it holds.
	claimEvery, claimFor = 30 * time.Second, 90 * time.Second
	// claimRounds is how often a partition is chosen anew that another has, too.
	claimRounds = 5
	// mostClaims bounds how many records are looked at, largestClaim what one may have.
	mostClaims, largestClaim = 100_000, 4 << 10
	// claimTimeout bounds the choice: a client without it is as good.
	claimTimeout = 5 * time.Second
)

// choose claims a partition of the reply topic.
func (c *claims) choose(ctx context.Context, topic kafka.Topic) int32 {
	h := fnv.New32a()
	_, _ = h.Write(c.owner.identity.prefix)
	usual := int32(h.Sum32() % uint32(topic.Partitions))
	bounded, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	chosen, err := c.settle(bounded, topic, usual)
	if err != nil {
		c.owner.log.Warn("which partitions other instances read replies from is not known: a hash chooses", zap.Int32("partition", usual), zap.Error(err))
		return usual
	}
	return chosen
}

func (c *claims) settle(ctx context.Context, topic kafka.Topic, usual int32) (int32, error) {
	if err := ensureTopic(ctx, c.owner.client, claimTopicOf(c.owner.cfg.Service)); err != nil {
		return 0, err
	}
	id := base64.RawURLEncoding.EncodeToString(topic.ID[:])
	me := string(c.owner.identity.prefix[:prefixSize-1])
	all, err := c.scan(ctx, id)
	if err != nil {
		return 0, err
	}
	delete(all, me)
	chosen := least(all, topic.Partitions, usual)
	for range claimRounds {
		if err := c.write(ctx, claimRecord{Instance: me, Name: c.owner.name, TopicID: id, Partition: chosen}); err != nil {
			return 0, err
		}
		if all, err = c.scan(ctx, id); err != nil {
			return 0, err
		}
		better, written := place(all, topic.Partitions, me)
		if !written {
			return 0, errors.New("rpc client: a claim that was written is not there")
		}
		if better == chosen {
			break
		}
		chosen = better
	}
	c.owner.sharing.Store(int64(sharing(all, me, chosen)))
	return chosen, nil
}

// place is where an instance belongs by the claims of all: those that came first to a
// partition keep it, up to an even share of all; the others go where there are fewest, in
// the order in which they came. ok is false if the instance has no claim.
func place(all map[string]claim, partitions int32, me string) (at int32, ok bool) {
	inOrder := slices.SortedFunc(maps.Values(all), func(a, b claim) int { return cmp.Compare(a.first, b.first) })
	even := (len(all) + int(partitions) - 1) / int(partitions)
	load := make([]int, partitions)
	var moving []claim
	for _, c := range inOrder {
		if c.Partition < 0 || c.Partition >= partitions || load[c.Partition] >= even {
			moving = append(moving, c)
			continue
		}
		load[c.Partition]++
		if c.Instance == me {
			return c.Partition, true
		}
	}
	for _, c := range moving {
		p := int32(slices.Index(load, slices.Min(load)))
		load[p]++
		if c.Instance == me {
			return p, true
		}
	}
	return 0, false
}

// sharing is how many others have the partition, too.
func sharing(all map[string]claim, me string, partition int32) (n int) {
	for instance, c := range all {
		if instance != me && c.Partition == partition {
			n++
		}
	}
	return n
}

// least is the partition that fewest have, usual if that is one of them.
func least(all map[string]claim, partitions, usual int32) int32 {
	load := make([]int, partitions)
	for _, c := range all {
		if c.Partition >= 0 && c.Partition < partitions {
			load[c.Partition]++
		}
	}
	best := usual
	for i := range partitions {
		if p := (usual + i) % partitions; load[p] < load[best] {
			best = p
		}
	}
	return best
}

// scan reads the claims on partitions of the reply topic that hold, by instance.
func (c *claims) scan(ctx context.Context, topicID string) (map[string]claim, error) {
	topic := ClaimTopic(c.owner.cfg.Service)
	since := time.Now().Add(-claimFor - skewTolerance)
	starts, err := kafka.OffsetsAt(ctx, c.owner.client, topic, since)
	if err != nil {
		return nil, err
	}
	ends, err := kafka.EndOffsets(ctx, c.owner.client, topic)
	if err != nil {
		return nil, err
	}
	all := map[string]claim{}
	next, end := starts[0], ends[0]
	if next < 0 || next >= end {
		return all, nil
	}
	next = max(next, end-mostClaims)
	client, err := kafka.NewClient(c.owner.cfg.Cluster, c.owner.cfg.Logger,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(next)}}), kgo.FetchMaxWait(fetchMaxWait))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	for next < end {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, kafka.Explain("rpc client: reading claims", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if r.Offset < end {
				enter(all, r, topicID)
			}
		})
	}
	return all, nil
}

// enter notes a claim. What is not one, or is on another topic, is passed over: whoever
// may write there can write anything.
func enter(all map[string]claim, r *kgo.Record, topicID string) {
	var rec claimRecord
	if len(r.Value) > largestClaim || json.Unmarshal(r.Value, &rec) != nil || len(rec.Instance) != prefixSize-1 {
		return
	}
	if rec.TopicID != topicID || rec.Released {
		delete(all, rec.Instance)
		return
	}
	first := r.Offset
	if before, ok := all[rec.Instance]; ok && before.Partition == rec.Partition {
		first = before.first
	}
	all[rec.Instance] = claim{rec, first, r.Timestamp}
}

// write writes a claim and remembers it.
func (c *claims) write(ctx context.Context, rec claimRecord) error {
	value, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("rpc client: writing a claim: %w", err)
	}
	c.mu.Lock()
	c.mine = rec
	c.mu.Unlock()
	r := &kgo.Record{Topic: ClaimTopic(c.owner.cfg.Service), Key: []byte(rec.Instance), Value: value}
	wrote := make(chan error, 1)
	c.owner.client.TryProduce(c.owner.life, r, func(_ *kgo.Record, err error) { wrote <- err }) //nolint:contextcheck // engine rule 21
	select {
	case err = <-wrote:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return kafka.Explain("rpc client: writing a claim to "+r.Topic, err)
}

// run writes the claim again and again until ctx ends.
func (c *claims) run(ctx context.Context) {
	tick := time.NewTicker(claimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.again(ctx, false); err != nil && ctx.Err() == nil {
			c.owner.log.Warn("a claim on a partition of the reply topic cannot be written: another instance may take it, too", zap.Error(err))
		}
	}
}

// again writes the claim once more, or that it is given up.
func (c *claims) again(ctx context.Context, released bool) error {
	c.mu.Lock()
	rec := c.mine
	c.mu.Unlock()
	if rec.Instance == "" {
		return nil
	}
	rec.Released = released
	bounded, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	return c.write(bounded, rec)
}
