package rpc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestAddedPartitionsAreLeftToTheServersFirst(t *testing.T) {
	t.Parallel()
	now := time.Now()
	topic := &requestsTo{turn: 77}
	topic.learn(6, now)
	require.Equal(t, int32(6), topic.partitions)
	require.Less(t, topic.turn, int32(6))
	topic.learn(12, now.Add(time.Hour))
	topic.learn(12, now.Add(time.Hour+adoptAfter-1))
	require.Equal(t, int32(6), topic.partitions)
	topic.learn(18, now.Add(time.Hour+adoptAfter))
	require.Equal(t, int32(6), topic.partitions, "and again")
	topic.learn(18, now.Add(time.Hour+2*adoptAfter))
	require.Equal(t, int32(18), topic.partitions)
	topic.learn(3, now.Add(2*time.Hour))
	require.Equal(t, int32(3), topic.partitions, "it was made anew")
	require.Less(t, topic.turn, int32(3))
}

func TestBurstsPassOverSlowPartitions(t *testing.T) {
	t.Parallel()
	topic := &requestsTo{partitions: 4, slow: []int64{0, 10, 10, 0}, unsure: make([]int, 4), turn: 0}
	require.Equal(t, int32(3), topic.next(5))
	require.Equal(t, int32(0), topic.next(5))
	require.Equal(t, int32(1), topic.next(11))
	topic.slow = []int64{99, 99, 99, 99}
	first := topic.next(5)
	require.Equal(t, (first+1)%4, topic.next(5), "all are slow: then one after the other")

	topic = &requestsTo{partitions: 4, slow: []int64{0, 0, 10, 0}, unsure: []int{0, 1, 0, 1}}
	require.Equal(t, int32(0), topic.next(5), "the only one that can be written and has nothing under way")
	topic.unsure[0] = 1
	require.Equal(t, int32(1), topic.next(5), "all have: then one that can be written")
	require.Equal(t, int32(3), topic.next(5))
}

func TestPendingCallsAreBounded(t *testing.T) {
	t.Parallel()
	p := &pending{most: 3}
	var numbers numbers
	var calls []*call
	for range 3 {
		c := &call{number: numbers.next()}
		require.True(t, p.add(c))
		calls = append(calls, c)
	}
	require.False(t, p.add(&call{number: numbers.next()}))
	require.Same(t, calls[1], p.take(calls[1].number, true))
	require.Nil(t, p.take(calls[1].number, true), "each ends once")
	ended, replied := p.had(calls[1].number)
	require.True(t, ended)
	require.True(t, replied)
	require.True(t, p.add(calls[1]))
	require.Len(t, p.all(), 3)
	require.Zero(t, p.n.Load())
	ended, replied = p.had(calls[0].number)
	require.True(t, ended)
	require.False(t, replied)
	for i := range p.shards { // tables back to nothing
		require.Empty(t, p.shards[i].calls)
	}
	for range 3 * mostTombstones * pendingShards {
		c := &call{number: numbers.next()}
		require.True(t, p.add(c))
		p.take(c.number, false)
	}
	for i := range p.shards {
		require.LessOrEqual(t, len(p.shards[i].ended)+len(p.shards[i].before), 2*mostTombstones)
	}
}

func TestACallWhoseTimeIsOverIsNotSent(t *testing.T) {
	t.Parallel()
	now := time.Now()
	e := new(Client).begin(t.Context(), &call{method: "s/M"}, address{}, 0, now, now, &kgo.Record{})
	require.True(t, e.is(expiredBefore), "%v", e)
	require.Equal(t, Never, e.Executed)
}

func TestAttemptsHaveABudget(t *testing.T) {
	t.Parallel()
	var b budget
	for range mostTokens/tokenFailure/2 - 1 {
		require.True(t, b.failed())
	}
	for range 1000 {
		require.False(t, b.failed())
	}
	for range 510 { // each gives back a tenth of a token: half of all are gone again
		b.succeeded()
	}
	require.False(t, b.failed(), "this takes one")
	for range 20 {
		b.succeeded()
	}
	require.True(t, b.failed())
}
