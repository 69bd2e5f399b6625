package dlq_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/kafka"
)

// close discards letters by a filter.
func (d *desk) close(filter string) {
	d.t.Helper()
	f, err := dlq.ParseFilter(filter)
	require.NoError(d.t, err)
	plan := d.plan(dlq.PlanConfig{Kind: dlq.KindDiscard, Filter: f, Reason: "a test"})
	require.NotZero(d.t, plan.Records)
	_, err = d.redriver.Apply(d.t.Context(), plan, dlq.ApplyConfig{})
	require.NoError(d.t, err)
}

func (d *desk) trim() *dlq.Trim {
	d.t.Helper()
	trim, err := d.redriver.PlanTrim(d.t.Context(), queue, nil)
	require.NoError(d.t, err)
	return trim
}

func TestTrimKeepsWhatSomebodyNeeds(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 30)
	require.Zero(t, d.trim().Letters, "all are open")
	d.close("offset<12")
	d.close("offset>=20") // behind open ones: they stay
	f, err := dlq.ParseFilter("offset>=12 offset<15")
	require.NoError(t, err)
	_, err = d.redriver.Apply(t.Context(), d.plan(dlq.PlanConfig{Filter: f, Force: true, Reason: "nobody is there"}), dlq.ApplyConfig{})
	require.NoError(t, err)
	before := d.states()
	require.Equal(t, map[dlq.State]int{dlq.StateDiscarded: 22, dlq.StateRedriven: 3, dlq.StateOpen: 5}, before)

	trim := d.trim()
	require.Equal(t, []int64{12, 18}, []int64{trim.Letters, trim.Kept})
	require.Equal(t, before, d.states(), "nothing is deleted before Trim")
	require.NoError(t, d.redriver.Trim(t.Context(), trim, "ada", "they are read"))
	require.Equal(t, map[dlq.State]int{dlq.StateDiscarded: 10, dlq.StateRedriven: 3, dlq.StateOpen: 5}, d.states())
	starts, err := kafka.StartOffsets(t.Context(), d.client, queue)
	require.NoError(t, err)
	for _, p := range trim.Partitions {
		require.Equal(t, p.Before, starts[p.Partition])
		require.Equal(t, dlq.StateRedriven, p.First)
	}
	var said []dlq.Audit
	require.NoError(t, d.redriver.Audit(t.Context(), queue, func(a dlq.Audit) error {
		said = append(said, a)
		return nil
	}))
	last := said[len(said)-1]
	require.Equal(t, []any{"trimming", "ada", "they are read", int64(12)}, []any{last.Event, last.By, last.Reason, last.Records})
	require.Equal(t, [][2]int64{{0, trim.Partitions[0].Before - 1}}, last.Offsets[trim.Partitions[0].Partition])

	require.Zero(t, d.trim().Letters, "once is enough")
	d.run()
	require.Eventually(t, func() bool { return d.states()[dlq.StateHandled] == 3 }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, int64(3), d.trim().Letters, "the outcomes are known now")
}

func TestTrimDeletesAllWhereNothingIsNeeded(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 9)
	d.close("")
	trim := d.trim()
	require.Equal(t, []int64{9, 0}, []int64{trim.Letters, trim.Kept})
	require.NoError(t, d.redriver.Trim(t.Context(), trim, "ada", ""))
	require.Empty(t, d.states())
	d.fill(9, 12)
	require.Equal(t, map[dlq.State]int{dlq.StateOpen: 3}, d.states())
}

func TestTrimIsRefusedWhereLettersMayBeNeeded(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 60)
	d.close("offset<30")
	trim := d.trim()
	restore := d.plan(dlq.PlanConfig{Kind: dlq.KindRestore})
	_, err := d.redriver.Apply(t.Context(), restore, dlq.ApplyConfig{})
	require.NoError(t, err)
	err = d.redriver.Trim(t.Context(), trim, "ada", "")
	require.ErrorIs(t, err, duplex.ErrRefused)
	require.ErrorContains(t, err, "there was a job meanwhile")
	require.Equal(t, map[dlq.State]int{dlq.StateOpen: 60}, d.states(), "they were restored, and are there")

	trim = d.trim()
	id, ended := d.working(d.newRedriver(), d.plan(dlq.PlanConfig{Force: true, Reason: "nobody is there"}), dlq.ApplyConfig{Rate: 10})
	_, err = d.redriver.PlanTrim(t.Context(), queue, nil)
	require.ErrorIs(t, err, duplex.ErrRefused)
	require.ErrorContains(t, err, "job "+id+" is not over")
	require.ErrorIs(t, d.redriver.Trim(t.Context(), trim, "ada", ""), duplex.ErrRefused)
	require.NoError(t, d.redriver.Cancel(t.Context(), queue, id, "ada", "enough"))
	require.NoError(t, <-ended)
	_, err = d.redriver.PlanTrim(t.Context(), queue+"s", nil)
	require.ErrorIs(t, err, duplex.ErrUnknownTopic)
}
