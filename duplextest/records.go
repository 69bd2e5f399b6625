package duplextest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// RequireRecords checks that the topic holds the values want and no others. It
// reads from the beginning, committed records only, and waits up to 10 s for as
// many as are wanted.
//
// With one partition the order counts. With several, Kafka has no order between
// them: then it counts among values of one key, if the topic has a Key.
//
// Values are compared as a reader gets them: want is encoded and decoded with
// the topic's codec first, so that a time.Time or a nil slice in it is no
// difference.
func RequireRecords[T any](t testing.TB, c duplex.Cluster, topic duplex.Topic[T], want ...T) {
	t.Helper()
	wanted := make([]item, len(want))
	for i, v := range want {
		r, err := topic.Record(v)
		require.NoError(t, err, "want[%d]", i)
		value, err := topic.Value(r)
		require.NoError(t, err, "want[%d] cannot be decoded", i)
		wanted[i] = item{key: string(r.Key), raw: string(r.Value), value: value, from: fmt.Sprintf("want[%d]", i)}
	}
	records, partitions := readAll(t, c, topic.Name, len(want))
	got := make([]item, len(records))
	for i, r := range records {
		value, err := topic.Value(r)
		require.NoError(t, err)
		got[i] = item{key: string(r.Key), raw: string(r.Value), value: value, from: fmt.Sprintf("partition %d offset %d", r.Partition, r.Offset)}
	}
	if text := difference(got, wanted, partitions == 1, topic.Key != nil); text != "" {
		require.Fail(t, fmt.Sprintf("topic %q does not hold the wanted records", topic.Name), text)
	}
}

// item is one value, the record it was in, and where it is from.
type item struct {
	key, raw string
	value    any
	from     string
}

func (i item) String() string { return fmt.Sprintf("%s: %+v", i.from, i.value) }

// difference tells how got differs from want, "" if it does not.
func difference(got, want []item, ordered, keyed bool) string {
	var b strings.Builder
	missing, unexpected := unmatched(want, got), unmatched(got, want)
	if len(missing)+len(unexpected) > 0 {
		fmt.Fprintf(&b, "%d wanted, %d there", len(want), len(got))
		list(&b, "missing", missing)
		list(&b, "not wanted", unexpected)
		return b.String()
	}
	if ordered {
		return disorder(got, want)
	}
	if !keyed {
		return ""
	}
	gotOf, wantOf := byKey(got), byKey(want)
	for key := range wantOf {
		if text := disorder(gotOf[key], wantOf[key]); text != "" {
			return fmt.Sprintf("key %q: %s", key, text)
		}
	}
	return ""
}

// unmatched gives those of items that have no counterpart in others; each
// counterpart counts once.
func unmatched(items, others []item) []item {
	taken := make([]bool, len(others))
	take := func(it item, candidates []int) bool {
		for _, i := range candidates {
			if !taken[i] && reflect.DeepEqual(it.value, others[i].value) {
				taken[i] = true
				return true
			}
		}
		return false
	}
	all, ofBytes := make([]int, len(others)), map[string][]int{}
	for i, other := range others {
		all[i] = i
		ofBytes[other.raw] = append(ofBytes[other.raw], i)
	}
	var unlike, alone []item // nearly all have a counterpart of the same bytes
	for _, it := range items {
		if !take(it, ofBytes[it.raw]) {
			unlike = append(unlike, it)
		}
	}
	for _, it := range unlike {
		if !take(it, all) {
			alone = append(alone, it)
		}
	}
	return alone
}

// disorder tells where the same items stand in another order.
func disorder(got, want []item) string {
	for i := range want {
		if i < len(got) && !reflect.DeepEqual(got[i].value, want[i].value) {
			return fmt.Sprintf("the values are there in another order; the first difference is at position %d:\n\t%s\n\t%s", i, want[i], got[i])
		}
	}
	return ""
}

func byKey(items []item) map[string][]item {
	of := map[string][]item{}
	for _, it := range items {
		of[it.key] = append(of[it.key], it)
	}
	return of
}

// list writes the first of items, one a line.
func list(b *strings.Builder, title string, items []item) {
	const most = 20
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%d %s:", len(items), title)
	for i, it := range items {
		if i == most {
			b.WriteString("\n\t…")
			return
		}
		b.WriteString("\n\t" + it.String())
	}
}

// readAll reads what is in the topic, partition by partition in the order of
// the log. It waits until there are as many as atLeast, or patience ends.
func readAll(t testing.TB, c duplex.Cluster, topic string, atLeast int) (records []*kgo.Record, partitions int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r := newReader(ctx, t, c, topic)
	defer r.client.Close()
	for {
		require.NoError(t, r.toEnd(ctx))
		if len(r.records) >= atLeast || ctx.Err() != nil {
			return r.records, len(r.next)
		}
		require.NoError(t, r.poll(ctx))
	}
}

// reader reads a topic and knows how far it is.
type reader struct {
	client  *kgo.Client
	topic   string
	next    map[int32]int64 // per partition, the offset after the last one read
	records []*kgo.Record
}

func newReader(ctx context.Context, t testing.TB, c duplex.Cluster, topic string) *reader {
	t.Helper()
	lister := client(t, c)
	defer lister.Close()
	described, err := kafka.Topics(ctx, lister, "duplextest", topic)
	require.NoError(t, err)
	starts, err := kafka.StartOffsets(ctx, lister, topic)
	require.NoError(t, err)
	require.Len(t, starts, int(described[0].Partitions))
	at := map[int32]kgo.Offset{}
	for p, start := range starts {
		at[p] = kgo.NewOffset().At(start)
	}
	return &reader{topic: topic, next: starts, client: client(t, c,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: at}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // their offsets are needed to know the end
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
	)}
}

// toEnd reads up to what was the end when it was called, or until ctx is done.
func (r *reader) toEnd(ctx context.Context) error {
	ends, err := kafka.CommittedEndOffsets(ctx, r.client, r.topic)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // what was read so far is the answer
	}
	if err != nil {
		return err
	}
	for !r.reached(ends) && ctx.Err() == nil {
		if err := r.poll(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) reached(ends map[int32]int64) bool {
	for p, end := range ends {
		if r.next[p] < end {
			return false
		}
	}
	return true
}

// poll waits for some records, or until ctx is done.
func (r *reader) poll(ctx context.Context) error {
	fetches := r.client.PollFetches(ctx)
	for _, e := range fetches.Errors() {
		if !errors.Is(e.Err, context.DeadlineExceeded) {
			return fmt.Errorf("reading %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
	}
	fetches.EachRecord(func(rec *kgo.Record) {
		r.next[rec.Partition] = rec.Offset + 1
		if !rec.Attrs.IsControl() {
			r.records = append(r.records, rec)
		}
	})
	return nil
}
