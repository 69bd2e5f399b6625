package consumer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/internal/commitmeta"
)

// What is kept of a partition counts only where the broker has what we left there.
func TestRegainOnlyWhatNobodyElseHad(t *testing.T) {
	t.Parallel()
	a := opened(Config{}, commitmeta.Meta{Partitions: 1})
	a.load(records(10, 11, 12, 13))
	var sent []progress
	for range 4 {
		a.finishQueue(1)
		p, changed := a.progress()
		require.True(t, changed)
		p.toCommit()
		sent = append(sent, p)
		if len(sent) == 2 {
			p.acknowledged()
		}
	}
	at := place{"orders", 0}
	as := func(p progress) commitState { return commitState{p.at.Offset, p.metadata} }
	for name, c := range map[string]struct {
		now    commitState
		within time.Duration
		topic  string // that is forgotten
		ok     bool
	}{
		"the last that was acknowledged":    {as(sent[1]), time.Minute, "", true},
		"one after it, without an answer":   {as(sent[2]), time.Minute, "", true},
		"the last, without an answer":       {as(sent[3]), time.Minute, "", true},
		"one before it: somebody went back": {as(sent[0]), time.Minute, "", false},
		"the same offset, by somebody":      {commitState{13, "theirs"}, time.Minute, "", false},
		"nothing":                           {commitState{-1, ""}, time.Minute, "", false},
		"too late":                          {as(sent[3]), 0, "", false},
		"the topic was created again":       {as(sent[3]), time.Minute, "orders", false},
		"another one was":                   {as(sent[3]), time.Minute, "invoices", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r regain
			r.keep([]*assignment{a}, c.within)
			r.forget(c.topic)
			k, ok := r.take(at, c.now)
			require.Equal(t, c.ok, ok)
			if ok {
				require.Equal(t, int64(14), k.watermark)
			}
			_, twice := r.take(at, c.now)
			require.False(t, twice)
		})
	}
}

// Commits without an answer are not remembered without a bound.
func TestRegainRemembersSoManyCommits(t *testing.T) {
	t.Parallel()
	a := opened(Config{}, commitmeta.Meta{Partitions: 1})
	for offset := int64(10); offset < 110; offset++ {
		a.load(records(offset))
		a.finishQueue(1)
		p, _ := a.progress()
		p.toCommit()
	}
	require.Len(t, a.sent, mostSent)
	require.Equal(t, int64(110), a.sent[mostSent-1].offset)
}
