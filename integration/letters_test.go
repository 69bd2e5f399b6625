package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	hist "github.com/duplex-go/duplex/internal/history"
)

// readAll gives what is in the topics now.
func readAll(t *testing.T, c duplex.Cluster, topics ...string) (all []*kgo.Record) {
	t.Helper()
	cl := rawClient(t, c, kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), topics...)
	require.NoError(t, err)
	require.NoError(t, ends.Error())
	type place struct {
		topic     string
		partition int32
	}
	left := map[place]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			left[place{end.Topic, end.Partition}] = end.Offset
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), groupPatience)
	defer cancel()
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			at := place{r.Topic, r.Partition}
			if r.Offset+1 >= left[at] {
				delete(left, at)
			}
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
		})
	}
	return all
}

// deadLetters are those of some topics, by dlq-id.
type deadLetters struct {
	copies map[string]map[string][]*kgo.Record // by dlq-id, and by dlq-attempt
	origin map[string]string                   // dlq-ids by what is before the @
	known  int                                 // of the ones that were asked for
}

// letters reads dead letters. Copies are those with one dlq-id and one dlq-attempt.
func letters(t *testing.T, c duplex.Cluster, topics ...string) *deadLetters {
	t.Helper()
	found := &deadLetters{copies: map[string]map[string][]*kgo.Record{}, origin: map[string]string{}}
	for _, r := range readAll(t, c, topics...) {
		id, attempt := header(r, dlq.HeaderID), header(r, dlq.HeaderAttempt)
		if found.copies[id] == nil {
			found.copies[id] = map[string][]*kgo.Record{}
		}
		found.copies[id][attempt] = append(found.copies[id][attempt], r)
		origin, _, _ := strings.Cut(id, "@")
		if before, some := found.origin[origin]; some {
			require.Equal(t, before, id, "one record has two IDs")
		}
		found.origin[origin] = id
	}
	return found
}

// idOf is the dlq-id of the record that was read there, "" if it is no dead letter.
func (d *deadLetters) idOf(topic string, partition int32, offset int64) string {
	id := d.origin[fmt.Sprintf("%s/%d/%d", topic, partition, offset)]
	if id != "" {
		d.known++
	}
	return id
}

func header(r *kgo.Record, name string) string {
	value, _ := duplex.Header(r, name)
	return value
}

// readEvents gives what was recorded in a file; the last line of a process that was
// killed may be half.
func readEvents(t *testing.T, path string) (all []hist.Event) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		var e hist.Event
		if json.Unmarshal([]byte(line), &e) == nil {
			all = append(all, e)
		}
	}
	return all
}

// ended reports whether the group has committed all that is in the topics, which are
// in the order in which records go through them, and what is missing.
func ended(ctx context.Context, admin *kadm.Client, group string, topics ...string) (missing string) {
	// In this order: what is committed was in the next topic before.
	offsets, err := admin.FetchOffsets(ctx, group)
	if err != nil {
		return err.Error()
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err = errors.Join(err, ends.Error()); err != nil {
		return err.Error()
	}
	ends.Each(func(end kadm.ListedOffset) {
		at, _ := offsets.Lookup(end.Topic, end.Partition)
		if max(at.At, 0) != end.Offset || at.Err != nil {
			missing += fmt.Sprintf("%s/%d: %d of %d committed, %v\n", end.Topic, end.Partition, at.At, end.Offset, at.Err)
		}
	})
	return missing
}

// running runs a consumer until stop, which gives what Run returned then.
func running(t *testing.T, cfg consumer.Config) (c *consumer.Consumer, stop func() error) {
	t.Helper()
	c, err := consumer.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() }) // a test that is not done with it has failed
	return c, stop
}
