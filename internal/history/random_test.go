package history_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duplex-go/duplex/internal/history"
)

// group is a model of a consumer group that keeps all promises: one partition at
// a time has one owner, keys go one record at a time, owners are stopped and
// killed, and a killed one takes what it had not committed with it.
type group struct {
	script
	t         *rapid.T
	keys      []string // by offset
	finished  []bool
	failures  []int
	due       []time.Duration
	committed int64
	dirty     []int64 // finished since the last commit
	failed    []int64 // or failed
	runs      map[int64]int
	member    int
	repeats   int
	seen      map[int64]bool
}

const records = 12

func randomGroup(t *rapid.T) *group {
	g := &group{t: t, runs: map[int64]int{}, seen: map[int64]bool{}}
	keys := rapid.IntRange(1, 8).Draw(t, "keys")
	for offset := range int64(records) {
		g.keys = append(g.keys, strconv.Itoa(rapid.IntRange(0, keys-1).Draw(t, "key")))
		g.published(offset, g.keys[offset])
	}
	g.finished, g.failures, g.due = make([]bool, records), make([]int, records), make([]time.Duration, records)
	g.join()
	for left := true; left; {
		g.step()
		left = slices.Contains(g.finished, false)
	}
	g.commit()
	return g
}

func (g *group) name() string { return fmt.Sprint("m", g.member) }

func (g *group) join() {
	g.member++
	g.script.member(history.Joined, g.name())
}

// free are the records that may start: the first unfinished one of each key whose
// handler is not at work.
func (g *group) free() (free []int64) {
	busy := map[string]bool{}
	for offset := range int64(records) {
		if _, running := g.runs[offset]; !g.finished[offset] && !busy[g.keys[offset]] {
			busy[g.keys[offset]] = true
			if !running {
				free = append(free, offset)
			}
		}
	}
	return free
}

func (g *group) step() {
	running := make([]int64, 0, len(g.runs))
	for offset := range g.runs {
		running = append(running, offset)
	}
	slices.Sort(running)
	free := g.free()
	switch what := rapid.IntRange(0, 20).Draw(g.t, "step"); {
	case what == 0:
		g.commit()
	case what == 1:
		g.kill()
	case what == 2:
		for _, offset := range running {
			g.end(offset, true)
		}
		g.commit()
		g.script.member(history.Stopped, g.name())
		g.join()
	case what < 12 && len(free) > 0 || len(running) == 0:
		offset := rapid.SampledFrom(free).Draw(g.t, "start")
		g.wait(max(0, g.due[offset]-g.now))
		g.started(g.name(), offset, g.keys[offset], g.failures[offset]+1)
		g.runs[offset] = g.failures[offset] + 1
	default:
		g.end(rapid.SampledFrom(running).Draw(g.t, "end"), rapid.IntRange(0, 3).Draw(g.t, "well") > 0)
	}
}

func (g *group) end(offset int64, well bool) {
	attempt := g.runs[offset]
	delete(g.runs, offset)
	if well {
		g.script.finished(g.name(), offset, g.keys[offset], attempt)
		g.finished[offset] = true
		g.dirty = append(g.dirty, offset)
		if g.seen[offset] {
			g.repeats++
		}
		return
	}
	delay := time.Duration(rapid.IntRange(0, 50).Draw(g.t, "delay")) * time.Millisecond
	g.due[offset] = g.now + delay
	g.script.failed(g.name(), offset, g.keys[offset], attempt, delay)
	g.failures[offset]++
	g.failed = append(g.failed, offset)
}

func (g *group) commit() {
	for g.committed < records && g.finished[g.committed] {
		g.committed++
	}
	g.script.committed(g.committed)
	for _, offset := range g.dirty {
		g.seen[offset] = true // no repeat any more, but it counts as one if it should be
	}
	g.dirty, g.failed = nil, nil
}

func (g *group) kill() {
	g.script.member(history.Killed, g.name())
	for _, offset := range g.dirty {
		g.finished[offset], g.seen[offset] = false, true
	}
	for _, offset := range g.failed {
		g.failures[offset], g.due[offset] = g.failures[offset]-1, 0
	}
	clear(g.runs)
	g.dirty, g.failed = nil, nil
	g.join()
}

func (g *group) allow() history.Allow { return history.Allow{Repeats: 1_000, Forget: time.Hour} }

func TestHistoriesOfACorrectGroupPass(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := randomGroup(t)
		report := check(&g.script, g.allow())
		require.NoError(t, report.Err())
		require.Equal(t, records, report.Finished)
		require.Equal(t, g.repeats, report.Repeated)
	})
}

// mutations each break one rule.
var mutations = map[history.Rule]func(t *rapid.T, g *group){
	history.Lost: func(t *rapid.T, g *group) {
		lost := rapid.Int64Range(0, records-1).Draw(t, "lost")
		g.events = slices.DeleteFunc(g.events, func(e history.Event) bool { return e.Offset == lost && e.Kind == history.Finished })
	},
	history.Overlap: func(t *rapid.T, g *group) {
		i := g.pick(t, history.Finished)
		e := g.events[i]
		e.Member = "another"
		g.insert(i, e.Started())
	},
	history.Order: func(t *rapid.T, g *group) {
		// A whole run of a later record of the key, before the first of an earlier one.
		i := slices.IndexFunc(g.events, func(e history.Event) bool {
			return e.Kind == history.Started && g.later(e) > 0
		})
		if i < 0 {
			t.Skip("no two records of a key")
		}
		e := g.events[i]
		e.Offset, e.Attempt, e.Member = g.later(e), 1, "another"
		g.insert(i, e.Started(), e.Finished())
	},
	history.Repeated: func(t *rapid.T, g *group) {
		e := g.events[g.pick(t, history.Finished)]
		e.Member, e.At, e.Attempt = "another", g.events[len(g.events)-1].At, 1
		g.events = append(g.events, e.Started(), e.Finished())
	},
	history.CommitAhead: func(_ *rapid.T, g *group) {
		i := slices.IndexFunc(g.events, func(e history.Event) bool { return e.Kind == history.Finished })
		g.insert(i, history.Event{Kind: history.Committed, Topic: "t", Offset: g.events[i].Offset + 1, At: g.events[i].At})
	},
	history.CommitBack: func(t *rapid.T, g *group) {
		back := history.Event{Kind: history.Committed, Topic: "t", Offset: rapid.Int64Range(0, records-1).Draw(t, "back")}
		back.At = g.events[len(g.events)-1].At
		g.events = append(g.events, back)
	},
	history.Attempts: func(t *rapid.T, g *group) {
		i := g.pick(t, history.Started)
		from := g.events[i]
		const by = 100 // more than there can be failures to forget
		for j := range g.events {
			if e := &g.events[j]; j >= i && e.Offset == from.Offset && e.Attempt > 0 {
				e.Attempt += by
			}
		}
	},
	history.Early: func(t *rapid.T, g *group) {
		i := slices.IndexFunc(g.events, func(e history.Event) bool { return e.Kind == history.Started && e.Attempt > 1 })
		if i < 0 {
			t.Skip("no retry")
		}
		for j := range g.events[:i] {
			if e := &g.events[j]; e.Kind == history.Failed && e.Offset == g.events[i].Offset {
				e.Due = g.events[i].At + int64(2*time.Millisecond)
			}
		}
	},
	history.Refused: func(t *rapid.T, g *group) {
		i := g.pick(t, history.Started)
		g.events[i].Seq = 1000
		refused := g.events[i]
		refused.Offset = -1
		g.insert(i, refused.Published(1000, history.Fail))
	},
}

func (g *group) pick(t *rapid.T, kind history.Kind) int {
	var found []int
	for i, e := range g.events {
		if e.Kind == kind {
			found = append(found, i)
		}
	}
	return rapid.SampledFrom(found).Draw(t, "event")
}

// later is a record of the key of e that comes after it, 0 if there is none.
func (g *group) later(e history.Event) int64 {
	for offset := e.Offset + 1; offset < records; offset++ {
		if g.keys[offset] == e.Key {
			return offset
		}
	}
	return 0
}

func (g *group) insert(i int, events ...history.Event) {
	g.events = slices.Insert(g.events, i, events...)
}

func TestOneMutationIsFound(t *testing.T) {
	t.Parallel()
	for rule, mutate := range mutations {
		t.Run(string(rule), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				g := randomGroup(t)
				allow := g.allow()
				allow.Repeats = g.repeats
				mutate(t, g)
				require.Positive(t, check(&g.script, allow).Broken[rule])
			})
		})
	}
}
