package rpc

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Each reply is finished once: acknowledged, or given up when nobody waits for it any more;
// and its room is used again only if Kafka's client is done with it.
func TestRepliesUnderWayAreFinishedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &replier{}
		s := &Server{}
		done := make([]int, 100)
		answers := make([]*answer, len(done))
		for i := range answers {
			a := &answer{server: s, until: time.Now().Add(time.Duration(i%10) * time.Second)}
			a.sending.replier, a.sending.done = r, func(error) { done[i]++ }
			r.under.add(a)
			answers[i] = a
		}
		for i, a := range answers {
			if i%3 == 0 {
				a.finish(true)
				a.finish(true) // as if it was acknowledged twice
				require.True(t, r.under.ended(a))
			}
		}
		for second := range 10 {
			time.Sleep(lookEvery)
			synctest.Wait()
			for i, a := range answers {
				over := i%3 == 0 || i%10 <= second
				require.Equal(t, over, r.under.ended(a), "%d after %d s", i, second)
				require.Equal(t, over, done[i] == 1, "%d after %d s", i, second)
				require.Equal(t, over && i%3 != 0, a.sending.kept)
			}
			time.Sleep(time.Second - lookEvery)
		}
		require.EqualValues(t, 34, s.counts.answered.Load())
		require.EqualValues(t, 66, s.counts.repliesLost.Load())
		require.Nil(t, r.under.first)
		require.Nil(t, r.under.last)
		require.False(t, r.under.watched, "nobody looks when there is nothing")
		for _, a := range answers { // too late
			a.finish(true)
		}
		require.EqualValues(t, 34, s.counts.answered.Load())
	})
}

// The room of a reply that was given up is not used again: the record may still be on its
// way.
//
//nolint:paralleltest // another test could be given the room
func TestRoomsAreKeptWhereARecordMayBeOnItsWay(t *testing.T) {
	a := newAnswer(&Server{})
	a.sending.kept = true
	a.reply.Topic = "t"
	a.release()
	require.Equal(t, "t", a.reply.Topic, "it is as it was")
	a.sending.kept = false
	a.release()
	require.Empty(t, a.reply.Topic)
	require.Nil(t, a.server)
	require.NotNil(t, a.hop.Publish)
}
