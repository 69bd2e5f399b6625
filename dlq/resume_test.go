package dlq_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/offsets"
)

// remade has the queue deleted and made again, with other letters at the same offsets.
func (d *desk) remade(from, to int) {
	d.t.Helper()
	admin := kadm.NewClient(d.client)
	_, err := admin.DeleteTopic(d.t.Context(), queue)
	require.NoError(d.t, err)
	_, err = admin.CreateTopic(d.t.Context(), deskPartitions, 1, nil, queue)
	require.NoError(d.t, err)
	fill(d.t, client(d.t, d.b), queue, deskPartitions, from, to)
}

// number is that of the letter that came back.
func number(t *testing.T, r *kgo.Record) int {
	t.Helper()
	n, err := strconv.Atoi(string(r.Key[1:]))
	require.NoError(t, err)
	return n
}

// TestAJobIsNotResumedInAnotherQueue: the queue was deleted and made again, so its offsets
// are those of other letters.
func TestAJobIsNotResumedInAnotherQueue(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 120)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	job, err := d.redriver.Apply(ctx, d.forced(), dlq.ApplyConfig{Rate: 40, Progress: func(p dlq.JobProgress) {
		if p.Moved > 0 {
			stop()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	before := len(d.committed(back))
	require.Less(t, before, 120)
	d.remade(120, 240)
	_, err = d.newRedriver().Resume(t.Context(), queue, job.ID, dlq.ApplyConfig{Takeover: true})
	require.ErrorIs(t, err, duplex.ErrRefused)
	require.ErrorContains(t, err, "made again")
	require.Len(t, d.committed(back), before)
	require.Equal(t, map[dlq.State]int{dlq.StateOpen: 120}, d.states())
	again, err := d.newRedriver().Apply(t.Context(), d.forced(), dlq.ApplyConfig{})
	require.NoError(t, err, "the old job is in nobody's way")
	require.Equal(t, int64(120), again.Moved)
}

// TestAQueueThatIsMadeAgainUnderAJob ends it: at the next letters, or where it begins again
// after an error.
func TestAQueueThatIsMadeAgainUnderAJob(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]error{"and it reads on": nil, "and it begins again": errors.New("the broker went away")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.fill(0, 300)
			moved := 0
			dlq.At(d.redriver, func(at string) error {
				if at != "committed" {
					return nil
				}
				moved++
				if moved == 3 { // the claim, and two transactions
					d.remade(1000, 1300)
					return fault
				}
				return nil
			})
			_, err := d.redriver.Apply(t.Context(), d.forced(), dlq.ApplyConfig{Rate: 100})
			if fault == nil && err == nil {
				// It had read them all before.
				d.requireOnceInOrder(300)
				return
			}
			require.ErrorIs(t, err, duplex.ErrUnknownTopic)
			for _, r := range d.committed(back) {
				require.Less(t, number(t, r), 1000, "a letter of another queue came back")
			}
			require.Equal(t, map[dlq.State]int{dlq.StateOpen: 300}, d.states())
		})
	}
}

// TestCheckpointsBehindAnothersTransaction: a job of another queue of the group died in the
// middle of a transaction. What was written to the state topic behind that cannot be read
// until brokers abort it, and counts all the same.
func TestCheckpointsBehindAnothersTransaction(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 90)
	plan := d.forced()
	other := client(t, d.b, kgo.TransactionalID("dlq-redrive.dlq.boards.trips"), kgo.TransactionTimeout(12*time.Second), kgo.RequiredAcks(kgo.AllISRAcks()))
	commits := 0
	dlq.At(d.redriver, func(at string) error {
		switch at {
		case "claimed":
			require.NoError(t, other.BeginTransaction())
			e := &kgo.Record{Topic: dlq.StateTopic("boards"), Key: []byte("progress/other"), Value: []byte(`{"v":1}`)}
			require.NoError(t, other.ProduceSync(t.Context(), e).FirstErr())
		case "committed":
			commits++
			if commits == 3 {
				return dlq.ErrCrash
			}
		}
		return nil
	})
	_, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{Rate: 300})
	require.ErrorIs(t, err, dlq.ErrCrash)
	require.NotEmpty(t, d.committed(back))
	job, err := d.newRedriver().Apply(t.Context(), plan, dlq.ApplyConfig{Takeover: true})
	require.NoError(t, err)
	require.Equal(t, int64(90), job.Moved)
	d.requireOnceInOrder(90)
}

// TestALetterThatWasLeftIsPublishedAfterAll: its job died before its checkpoint was behind it,
// and what was in its way is gone when another goes on. It is left no longer.
func TestALetterThatWasLeftIsPublishedAfterAll(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 9)
	dlq.At(d.redriver, func(at string) error {
		if at == "claimed" {
			return dlq.ErrCrash
		}
		return nil
	})
	died, err := d.redriver.Apply(t.Context(), d.forced(), dlq.ApplyConfig{})
	require.ErrorIs(t, err, dlq.ErrCrash)
	value, err := json.Marshal(map[string]any{
		"v": 1, "state": "running", "owner": "it died", "checkpoint": map[int32]int64{0: 1},
		"left": map[int32][][]byte{0: offsets.Of(0, 2).Encode(1000)},
	})
	require.NoError(t, err)
	e := &kgo.Record{Topic: dlq.StateTopic("boards"), Key: []byte("progress/" + died.ID), Value: value}
	require.NoError(t, d.client.ProduceSync(t.Context(), e).FirstErr())

	job, err := d.newRedriver().Resume(t.Context(), queue, died.ID, dlq.ApplyConfig{})
	require.NoError(t, err)
	require.Equal(t, []int64{8, 1}, []int64{job.Moved, job.Left}, "the first letter of the partition is left, the second came")
	require.Equal(t, map[dlq.State]int{dlq.StateRedriven: 8, dlq.StateOpen: 1}, d.states())
	d.requireOnceInOrder(8)
}

// TestAJobThatOthersFinishedShutsNobodyOut: its process was stopped, another one finished the
// job and a third one works at the next. When the first one goes on, nobody is disturbed.
func TestAJobThatOthersFinishedShutsNobodyOut(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 90)
	plan := d.forced()
	stopped, thaw := make(chan struct{}), make(chan struct{})
	reads := 0
	dlq.At(d.redriver, func(at string) error {
		if at == "read" {
			reads++
			if reads == 2 {
				close(stopped)
				<-thaw
			}
		}
		return nil
	})
	ended := make(chan error, 1)
	go func() {
		_, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{Rate: 300})
		ended <- err
	}()
	<-stopped
	_, err := d.newRedriver().Apply(t.Context(), plan, dlq.ApplyConfig{Takeover: true})
	require.NoError(t, err)
	d.fill(90, 180)
	third := d.newRedriver()
	opened := 0
	dlq.At(third, func(at string) error {
		switch at {
		case "opened":
			opened++
		case "over":
			return <-ended
		case "claimed":
			close(thaw)
		}
		return nil
	})
	_, err = third.Apply(t.Context(), d.forced(), dlq.ApplyConfig{Rate: 30})
	require.NoError(t, err)
	require.Equal(t, 1, opened, "it was shut out")
	d.requireOnceInOrder(180)
}

// TestAStateTopicThatIsDeletedUnderAJob ends it: begun anew, it would publish all again.
func TestAStateTopicThatIsDeletedUnderAJob(t *testing.T) {
	t.Parallel()
	away := errors.New("the broker went away")
	for name, test := range map[string]struct {
		made  bool // another one
		fault error
	}{"and it goes on": {}, "and it begins again": {fault: away}, "and somebody makes it again": {made: true, fault: away}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.fill(0, 300)
			commits := 0
			dlq.At(d.redriver, func(at string) error {
				if at != "committed" {
					return nil
				}
				commits++
				if commits != 3 {
					return nil
				}
				admin := kadm.NewClient(d.client)
				_, err := admin.DeleteTopic(t.Context(), dlq.StateTopic("boards"))
				require.NoError(t, err)
				if test.made {
					_, err = admin.CreateTopic(t.Context(), 1, 1, nil, dlq.StateTopic("boards"))
					require.NoError(t, err)
				}
				return test.fault
			})
			_, err := d.redriver.Apply(t.Context(), d.forced(), dlq.ApplyConfig{Rate: 100})
			require.ErrorIs(t, err, duplex.ErrUnknownTopic)
			all, seen := d.committed(back), map[int]bool{}
			for _, r := range all {
				n := number(t, r)
				require.False(t, seen[n], "letter %d came twice", n)
				seen[n] = true
			}
			require.Less(t, len(all), 300)
		})
	}
}
