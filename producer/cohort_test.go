package producer

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// life is what became of one record in the model.
type life struct {
	pd       pending
	record   *kgo.Record
	expires  int64
	told     bool // its caller knows
	returned bool // nobody comes back to it
}

// A naive account of every record, beside the cohorts: no memory is used again
// while anybody may come back to it, deadlines come in order and once, and a flush
// ends exactly when everybody was told of what came before it.
func TestCohortsAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var cs cohorts
		p := &Producer{}
		var lives []*life
		type flush struct {
			done      <-chan struct{}
			remaining func() int
			before    int // lives that it waits for
		}
		var flushes []flush
		clock := int64(1)
		pick := func(t *rapid.T, ok func(*life) bool) *life {
			var fit []*life
			for _, l := range lives {
				if ok(l) {
					fit = append(fit, l)
				}
			}
			if len(fit) == 0 {
				t.Skip("none")
			}
			return fit[rapid.IntRange(0, len(fit)-1).Draw(t, "which")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				for range rapid.IntRange(1, 40).Draw(t, "n") {
					clock += rapid.SampledFrom([]int64{0, 0, 1000, cohortSpan + 1}).Draw(t, "later")
					waited := rapid.SampledFrom([]int64{0, 0, 0, 10, 3 * cohortSpan}).Draw(t, "waited")
					expires := max(clock-waited, 1)
					r := &kgo.Record{}
					pd := cs.join(p, expires, r, nil, 0)
					for _, l := range lives {
						require.False(t, l.pd == pd && !(l.told && l.returned), "memory is used again while somebody may come back to it")
					}
					if rapid.Bool().Draw(t, "flood") {
						pd.begin(sentBit | floodBit)
					} else {
						pd.accompany(company{call: &call{}})
						pd.begin(sentBit)
					}
					lives = append(lives, &life{pd: pd, record: r, expires: expires})
				}
			},
			"answer": func(t *rapid.T) { // the promise, and then the caller
				l := pick(t, func(l *life) bool { return !l.told && !l.returned })
				require.Equal(t, l.pd, l.pd.cohort.place(l.record), "Kafka's answer finds its record")
				require.Equal(t, sent, l.pd.end())
				l.told, l.returned = true, true
				cs.told(l.pd.cohort, 1)
			},
			"give up": func(t *rapid.T) {
				l := pick(t, func(l *life) bool { return !l.told })
				require.Equal(t, sent, l.pd.end())
				l.pd.cohort.early++
				l.told = true
				cs.told(l.pd.cohort, 1)
			},
			"come back": func(t *rapid.T) {
				l := pick(t, func(l *life) bool { return l.told && !l.returned })
				require.Equal(t, l.pd, l.pd.cohort.place(l.record), "Kafka's answer finds its record")
				require.Equal(t, ended, l.pd.end())
				l.returned = true
				cs.returned(l.pd.cohort)
			},
			"flush": func(*rapid.T) {
				f := flush{before: len(lives)}
				f.done, f.remaining = cs.flush(p)
				flushes = append(flushes, f)
			},
			"clean": func(t *rapid.T) {
				cs.clean()
				for c := cs.spare; c != nil; c = c.next {
					require.Equal(t, [cohortSize]*kgo.Record{}, c.records, "a record that is done with was kept")
					require.Nil(t, c.company)
				}
			},
			"": func(t *rapid.T) {
				for _, f := range flushes {
					open := 0
					for _, l := range lives[:f.before] {
						if !l.told {
							open++
						}
					}
					select {
					case <-f.done:
						require.Zero(t, open, "a flush ended too early")
					default:
						require.Positive(t, open, "a flush does not end")
					}
					require.Equal(t, open, f.remaining())
				}
				for _, l := range lives {
					if !l.told {
						require.Same(t, l.record, l.pd.record(), "a record that is under way was let go of")
						require.Equal(t, sent, l.pd.state())
					}
				}
				var due []pending
				cs.expired(1<<62, func(pd pending) {
					if pd.state() != ended {
						due = append(due, pd)
					}
				})
				var open []pending
				for _, l := range lives {
					if !l.told {
						open = append(open, l.pd)
					}
				}
				require.Equal(t, len(open), len(due))
				for i := range open {
					require.Equal(t, open[i], due[i], "records end in the order of admission")
				}
				least := int64(0)
				for _, l := range lives {
					if !l.told && (least == 0 || l.expires < least) {
						least = l.expires
					}
				}
				if next := cs.expired(0, nil); least != 0 {
					require.LessOrEqual(t, next-least, cohortSpan, "a deadline would be missed")
					require.LessOrEqual(t, least-next, cohortSpan, "nothing is due so early")
				}
			},
		})
	})
}

// The watcher has to hear of a record that expires before all that it knows of,
// and of no other.
func TestWatcherIsSignalledForAnEarlierDeadline(t *testing.T) {
	t.Parallel()
	const second = int64(1e9)
	var cs cohorts
	require.True(t, cs.unwatched(20*second), "it sleeps")
	require.False(t, cs.unwatched(20*second))
	require.False(t, cs.unwatched(30*second))
	require.True(t, cs.unwatched(15*second))
	require.False(t, cs.unwatched(15*second), "it was signalled already")
}
