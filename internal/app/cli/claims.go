package cli

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/terminal"
	"github.com/duplex-go/duplex/rpc"
)

const (
	// claimFor is for how long a claim holds (docs/wire-format.md), clocks aside.
	claimFor = 92 * time.Second
	// mostClaims bounds how many records are looked at, largestClaim what one may have,
	// longestName how much of a name is shown.
	mostClaims, largestClaim, longestName = 100_000, 4 << 10, 200
)

// callers are the clients of a service.
type callers struct {
	Topic      string  `json:"topic"` // of replies
	Partitions int     `json:"partitions"`
	Claims     []claim `json:"claims"`
}

// claim is what a client has said of itself, in rpc.claims.<service>.
type claim struct {
	Partition int32     `json:"partition"`
	Name      string    `json:"name"`     // "service/instance"
	Instance  string    `json:"instance"` // the beginning of its correlation IDs
	At        time.Time `json:"at"`       // when it said so last
	// TopicID and Released are of the record.
	TopicID  string `json:"-"`
	Released bool   `json:"-"`
}

// callers reads which client reads which partition.
func (o *rpcOptions) callers(ctx context.Context, client *kgo.Client, name string, replies kadm.TopicDetail) (*callers, error) {
	all := &callers{Topic: rpc.ReplyTopic(name), Partitions: len(replies.Partitions), Claims: []claim{}}
	id := base64.RawURLEncoding.EncodeToString(replies.ID[:])
	live := map[string]claim{}
	err := o.readClaims(ctx, client, rpc.ClaimTopic(name), func(r *kgo.Record) {
		c, ok := parseClaim(r)
		switch {
		case !ok: // whoever may write there can write anything
		case c.Released || c.TopicID != id || c.Partition < 0 || int(c.Partition) >= all.Partitions:
			delete(live, c.Instance)
		default:
			live[c.Instance] = c
		}
	})
	all.Claims = slices.AppendSeq(all.Claims, maps.Values(live))
	slices.SortFunc(all.Claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Instance, b.Instance))
	})
	return all, err
}

// parseClaim reads a record of the topic of claims.
func parseClaim(r *kgo.Record) (c claim, ok bool) {
	var rec struct {
		Instance, Name string
		TopicID        string `json:"topic_id"`
		Partition      int32
		Released       bool
	}
	if len(r.Value) > largestClaim || json.Unmarshal(r.Value, &rec) != nil || rec.Instance == "" {
		return c, false
	}
	return claim{rec.Partition, rec.Name, rec.Instance, r.Timestamp.UTC(), rec.TopicID, rec.Released}, true
}

// readClaims reads what may still hold.
func (o *rpcOptions) readClaims(ctx context.Context, client *kgo.Client, topic string, each func(*kgo.Record)) error {
	starts, err := kafka.OffsetsAt(ctx, client, topic, time.Now().Add(-claimFor))
	if err != nil {
		return err
	}
	ends, err := kafka.EndOffsets(ctx, client, topic)
	if err != nil {
		return err
	}
	next, end := starts[0], ends[0]
	if next < 0 || next >= end {
		return nil
	}
	next = max(next, end-mostClaims)
	reader, err := kafka.NewClient(o.cluster.Cluster(), nil, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(next)}}))
	if err != nil {
		return err
	}
	defer reader.Close()
	for next < end {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return kafka.Explain("rpc: reading "+topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if r.Offset < end {
				each(r)
			}
		})
	}
	return nil
}

func (c *callers) write(to io.Writer, name string) error {
	fmt.Fprintf(to, "%s calls: topic %s with %d partitions, read by %d clients\n", name, c.Topic, c.Partitions, len(c.Claims))
	if len(c.Claims) == 0 {
		return nil
	}
	return table(to, "  ", func(row func(cells ...any)) {
		row("PARTITION", "CLIENT", "INSTANCE", "SAID SO")
		for _, one := range c.Claims {
			row(one.Partition, short(one.Name), short(one.Instance), one.At.Format(time.RFC3339))
		}
	})
}

// short keeps a name that anybody may have written from filling a terminal.
func short(name string) string {
	name = terminal.Printable(name)
	if r := []rune(name); len(r) > longestName {
		return string(r[:longestName]) + "…"
	}
	return name
}
