package rpc

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

func claimed(t *testing.T, offset int64, rec claimRecord) *kgo.Record {
	t.Helper()
	value, err := json.Marshal(rec)
	require.NoError(t, err)
	return &kgo.Record{Offset: offset, Value: value, Timestamp: time.Now()}
}

func named(name string) string { return (name + strings.Repeat("_", prefixSize))[:prefixSize-1] }

func TestClaimsAreReadInTheOrderOfTheLog(t *testing.T) {
	t.Parallel()
	all := map[string]claim{}
	for i, rec := range []claimRecord{
		{Instance: named("a"), TopicID: "t", Partition: 1},
		{Instance: named("b"), TopicID: "t", Partition: 1},
		{Instance: named("a"), TopicID: "t", Partition: 1},                 // once more: it was first all the same
		{Instance: named("c"), TopicID: "t", Partition: 2},                 // gives up
		{Instance: named("c"), TopicID: "t", Partition: 2, Released: true}, //
		{Instance: named("d"), TopicID: "former", Partition: 3},            // of a topic that was deleted
		{Instance: "short", TopicID: "t", Partition: 3},                    // nobody's
		{Instance: named("e"), TopicID: "t", Partition: 99},                // there is no such one
	} {
		enter(all, claimed(t, int64(i), rec), "t")
	}
	for _, bad := range []string{"", "{", "null", `{"instance":7}`, `"x"`, strings.Repeat("[", 10_000)} {
		enter(all, &kgo.Record{Value: []byte(bad)}, "t")
	}
	require.Len(t, all, 3)
	require.Zero(t, all[named("a")].first)
	for instance, want := range map[string]int32{named("a"): 1, named("b"): 0, named("e"): 2} {
		p, ok := place(all, 4, instance)
		require.True(t, ok)
		require.Equal(t, want, p, "of two on one partition the later one moves")
	}
	_, ok := place(all, 4, named("c"))
	require.False(t, ok)
	require.Equal(t, 1, sharing(all, named("a"), 1))
	require.Zero(t, sharing(all, named("a"), 2))
}

func TestTheLeastLoadedPartitionIsTaken(t *testing.T) {
	t.Parallel()
	all := map[string]claim{}
	for i, p := range []int32{0, 0, 1, 2, 3, 3, 99, -1} {
		all[string(rune('a'+i))] = claim{claimRecord: claimRecord{Partition: p}}
	}
	require.Equal(t, int32(1), least(all, 4, 1), "the usual one, if it is one of them")
	require.Equal(t, int32(1), least(all, 4, 0))
	require.Equal(t, int32(2), least(all, 4, 2))
	require.Equal(t, int32(4), least(all, 5, 3))
	require.Equal(t, int32(0), least(nil, 1, 0))
	// Many who come one after the other are spread evenly.
	all, load := map[string]claim{}, make([]int, 8)
	for i := range 50 {
		p := least(all, 8, int32(i*7%8))
		all[named(string(rune('a'+i)))] = claim{claimRecord: claimRecord{Partition: p}}
		load[p]++
	}
	for _, n := range load {
		require.InDelta(t, 50.0/8, n, 1)
	}
}

// Instances that choose at the same time, from the same log, end evenly spread.
func TestRacersSpreadEvenly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n, partitions := rapid.IntRange(1, 60).Draw(t, "instances"), int32(rapid.IntRange(1, 16).Draw(t, "partitions"))
		all, offset := map[string]claim{}, int64(0)
		name := func(i int) string { return named(string(rune('A' + i))) }
		write := func(i int, p int32) {
			all[name(i)] = claim{claimRecord{Instance: name(i), Partition: p}, offset, time.Time{}}
			offset++
		}
		for i := range n {
			write(i, int32(rapid.IntRange(0, int(partitions)-1).Draw(t, "first")))
		}
		moved := true
		for round := 0; moved; round++ {
			if moved = false; round > claimRounds {
				t.Fatal("they do not settle")
			}
			seen := maps.Clone(all) // by all of them, before any of them moves
			for i := range n {
				if p, ok := place(seen, partitions, name(i)); !ok || p != seen[name(i)].Partition {
					write(i, p)
					moved = true
				}
			}
		}
		load := make([]int, partitions)
		for _, c := range all {
			load[c.Partition]++
		}
		if even := (n + int(partitions) - 1) / int(partitions); slices.Max(load) > even {
			t.Fatalf("%v, want %d at most", load, even)
		}
	})
}
