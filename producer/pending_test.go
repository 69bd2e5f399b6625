package producer

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
)

// idle is a producer whose goroutines do not run, to look at its books.
func idle() *Producer {
	p := &Producer{cfg: Config{}.withDefaults(), log: zap.NewNop(), made: time.Now(), stop: make(chan struct{})}
	p.calls.New = newCall
	p.queue.init()
	p.callbacks.init()
	return p
}

// send admits a record as if it had been given to kgo.
func (p *Producer) send(c *call) pending {
	p.mu.Lock()
	defer p.mu.Unlock()
	pd := p.cohorts.join(p, int64(time.Minute), &kgo.Record{Topic: "orders"}, nil, 0)
	c.alone.begin(1)
	pd.accompany(company{call: c, burst: &c.alone})
	pd.begin(sentBit)
	p.gate.take(0)
	return pd
}

// A caller whose context ends in the moment in which it gets its result must not
// give up the record that has its place by then.
func TestCallerThatIsLateGivesUpNobodyElse(t *testing.T) {
	t.Parallel()
	for range 50 { // it is told and cancelled at once: select takes either
		p := idle()
		first := p.newCall()
		pd := p.send(first)
		p.settled(pd, pd.record(), nil)
		p.cohorts.flush(p) // its cohort is complete, and empty
		var next []pending
		for range 3 * cohortSize {
			next = append(next, p.send(p.newCall()))
		}
		require.True(t, slices.Contains(next, pd), "the memory was not used again: this test shows nothing")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := p.await(ctx, pd, first)
		require.NoError(t, err)
		for _, other := range next {
			require.Equal(t, sent, other.state())
		}
	}
}

// Kafka's answer to a record that was given up counts as late, and then nobody
// comes back to the record's memory.
func TestLateAnswerReturnsTheMemory(t *testing.T) {
	t.Parallel()
	p := idle()
	c := p.newCall()
	pd := p.send(c)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	_, err := p.await(ctx, pd, c)
	require.ErrorIs(t, err, duplex.ErrOutcomeUnknown)
	require.ErrorContains(t, err, "enough")
	require.Equal(t, 1, pd.cohort.early)
	require.NotSame(t, c, p.newCall(), "kgo will still come back to the call's burst")

	p.settled(pd, pd.record(), nil)
	require.Zero(t, pd.cohort.early)
	require.Equal(t, int64(1), p.late.Load())
	require.Equal(t, counts{unknown: 1}, p.counts)
	require.Zero(t, p.gate.records)
}
