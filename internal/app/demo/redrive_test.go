package demo

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/producer"
)

// earlier writes n dead letters of an earlier telling, of records at the same positions as
// those of this one.
func earlier(t *testing.T, b *broker.Broker, names Names, n int) {
	t.Helper()
	p, err := producer.New(producer.Config{Cluster: b.Cluster()})
	require.NoError(t, err)
	defer p.Close()
	failed := strconv.FormatInt(time.Now().Add(-time.Hour).UnixMilli(), 10)
	for i := range n {
		r := &kgo.Record{Topic: names.queue(), Key: []byte("ATL"), Value: []byte(`{"origin":"ATL",` + damaged + `}`)}
		for header, value := range map[string]string{
			dlq.HeaderID: "old" + strconv.Itoa(i), dlq.HeaderOriginTopic: names.Topic, dlq.HeaderOriginPartition: "0", dlq.HeaderOriginOffset: strconv.Itoa(i),
			dlq.HeaderOriginTimestamp: failed, dlq.HeaderAttempt: "1", dlq.HeaderGeneration: "0", dlq.HeaderGroup: names.Rebookings, dlq.HeaderHandler: names.Topic,
			dlq.HeaderReason: "undecodable", dlq.HeaderErrorType: "t", dlq.HeaderErrorMessage: "m", dlq.HeaderFingerprint: "v1:0123456789abcdef",
			dlq.HeaderFirstFailedAt: failed, dlq.HeaderLastFailedAt: failed,
		} {
			duplex.SetHeader(r, header, value)
		}
		_, err := p.Publish(t.Context(), r)
		require.NoError(t, err)
	}
}

// statesOf are the states of the letters of a queue, by their fingerprints.
func statesOf(t *testing.T, b *broker.Broker, queue string) map[string]map[dlq.State]int {
	t.Helper()
	i, err := dlq.NewInspector(dlq.InspectorConfig{Cluster: b.Cluster()})
	require.NoError(t, err)
	defer i.Close()
	found := map[string]map[dlq.State]int{}
	_, err = i.Scan(t.Context(), queue, dlq.ScanConfig{}, func(l *dlq.Letter) error {
		if found[l.Fingerprint] == nil {
			found[l.Fingerprint] = map[dlq.State]int{}
		}
		found[l.Fingerprint][l.State]++
		return nil
	})
	require.NoError(t, err)
	return found
}

// interrupted is a redrive of an earlier telling that was not ended.
func interrupted(t *testing.T, b *broker.Broker, queue string) {
	t.Helper()
	r, err := dlq.NewRedriver(dlq.RedriverConfig{Cluster: b.Cluster()})
	require.NoError(t, err)
	plan, err := r.Plan(t.Context(), queue, dlq.PlanConfig{Edited: true, By: teller, Force: true, Reason: "a test"})
	require.NoError(t, err)
	require.Equal(t, int64(3), plan.Records)
	died := errors.New("died")
	_, err = r.Apply(t.Context(), plan, dlq.ApplyConfig{Edit: func(context.Context, []*dlq.Letter) error { return died }})
	require.ErrorIs(t, err, died)
	require.NoError(t, r.Close())
}

// What an earlier telling left in the queue and the state topic, a redrive that is not over
// among it, is none of this one's: it is not counted, not moved, and in nobody's way.
func TestTheStoryGoesOnBesideEarlierLetters(t *testing.T) {
	t.Parallel()
	names := NewNames("", "")
	b, err := broker.Start(broker.Config{Topics: []broker.Topic{
		{Name: names.Topic, Partitions: Partitions}, {Name: names.queue(), Partitions: Partitions},
		{Name: dlq.RedriveTopic(names.Rebookings, names.Topic), Partitions: Partitions},
	}})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	earlier(t, b, names, 3)
	interrupted(t, b, names.queue())

	s, story := tellOf(t, b, names, "")
	require.True(t, s.OK(), story)
	require.Equal(t, []int{40, 40, 0, 2, 0, 0, 0}, []int{s.Published, s.Handled, s.Dead, s.Redriven, s.Open, s.Duplicated, s.Retried})
	for _, line := range []string{"2 × undecodable", "(one cause)", "of an earlier telling, which was interrupted", "2 letters to the desk's redrive topic: only its group gets them", "2 of 2 moved, 2 handled", "the same redrive: 0 moved"} {
		require.Contains(t, story, line)
	}
	states := statesOf(t, b, names.queue())
	require.Equal(t, map[dlq.State]int{dlq.StateOpen: 3}, states["v1:0123456789abcdef"])
	delete(states, "v1:0123456789abcdef")
	require.Len(t, states, 1)
	for _, ours := range states {
		require.Equal(t, map[dlq.State]int{dlq.StateHandled: 2}, ours)
	}
}

// tellOf tells a small story, with two damaged departures, that are mended as said.
func tellOf(t *testing.T, b *broker.Broker, names Names, mended string) (Summary, string) {
	t.Helper()
	input := make([]Departure, 40)
	for i := range input {
		input[i] = Departure{Flight: Flight{Origin: "A" + strconv.Itoa(i%4)}, Delay: float64(i % 4)}
	}
	input[30].Delay, input[35].Delay = damagedDelay, damagedDelay
	var out strings.Builder
	s, err := Run(t.Context(), Config{Cluster: b.Cluster(), Where: "a test", Names: names, Input: input, Rate: 1000, Out: &out, mended: mended})
	require.NoError(t, err)
	return s, out.String()
}

func TestAStoryThatIsMendedWronglySaysSo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mended                         string
		handled, dead, redriven, edits int
		says                           string
	}{
		"to another figure": {`"delay":20`, 40, 0, 2, 2, "redriven 2, mended wrongly 2 · still open 0          ✗"},
		// It dies again, and again when the same redrive takes it once more.
		"to what dies again": {`"delay":"19"`, 38, 2, 4, 0, "redriven 4, mended wrongly 0 · still open 2          ✗"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			names := NewNames("", "")
			b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: names.Topic, Partitions: Partitions}}})
			require.NoError(t, err)
			defer func() { require.NoError(t, b.Close()) }()
			s, story := tellOf(t, b, names, test.mended)
			require.False(t, s.OK())
			require.Equal(t, []int{test.handled, test.dead, test.dead, test.redriven, test.edits, 0, 0},
				[]int{s.Handled, s.Dead, s.Open, s.Redriven, s.WrongEdits, s.Lost, s.Duplicated}, story)
			require.Contains(t, story, test.says)
		})
	}
}

// A letter that the queue has and the inbox has not read yet is waited for: else its record
// would count as lost.
func TestLookWaitsForTheInbox(t *testing.T) {
	t.Parallel()
	names := NewNames("", "")
	b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: names.queue(), Partitions: Partitions}}})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	earlier(t, b, names, 1)
	r := &run{cfg: &Config{Cluster: b.Cluster(), Names: names}, history: newHistory(), story: &story{}}
	require.NoError(t, r.openQueue())
	defer r.inspector.Close()
	r.ours = dlq.Filter{}
	l := life{at: duplex.Position{Topic: names.Topic}}
	found := func() bool {
		r.history.mu.Lock()
		defer r.history.mu.Unlock()
		return r.history.letters[l] == dlq.StateOpen
	}
	read := make(chan bool, 1)
	go func() {
		read <- await(t.Context(), found)
		r.history.died(l)
	}()
	require.NoError(t, r.look(t.Context()))
	require.True(t, r.history.read())
	require.True(t, <-read)
}

func TestWhoGetsWhatIsRedriven(t *testing.T) {
	t.Parallel()
	r := &run{cfg: &Config{Names: NewNames("", "")}}
	require.Equal(t, "only its group gets them", r.readers([]dlq.Receiver{{Group: "rebookings"}}))
	require.Equal(t, "audit and rebookings get them", r.readers([]dlq.Receiver{{Group: "audit"}, {Group: "rebookings"}}))
	require.Equal(t, "audit get them", r.readers([]dlq.Receiver{{Group: "audit"}}))
}
