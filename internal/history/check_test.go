package history_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/internal/history"
)

// script builds a history by hand: each call is one event, a millisecond after
// the one before.
type script struct {
	now    time.Duration
	events []history.Event
}

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (s *script) add(e history.Event) *script {
	s.now += time.Millisecond
	e.At = began.Add(s.now).UnixNano()
	if e.Topic == "" {
		e.Topic = "t"
	}
	s.events = append(s.events, e)
	return s
}

func (s *script) wait(d time.Duration) *script {
	s.now += d
	return s
}

func (s *script) published(offset int64, key string) *script {
	return s.add(history.Event{Kind: history.Published, Offset: offset, Key: key, Seq: offset + 1, Outcome: history.OK})
}

func (s *script) publish(seq int64, key string, outcome history.Outcome) *script {
	return s.add(history.Event{Kind: history.Published, Offset: -1, Key: key, Seq: seq, Outcome: outcome})
}

func run(member string, offset int64, key string, attempt int) history.Event {
	return history.Event{Member: member, Offset: offset, Key: key, Attempt: attempt}
}

func (s *script) started(member string, offset int64, key string, attempt int) *script {
	return s.add(run(member, offset, key, attempt).Started())
}

func (s *script) finished(member string, offset int64, key string, attempt int) *script {
	return s.add(run(member, offset, key, attempt).Finished())
}

func (s *script) ran(member string, offset int64, key string) *script {
	return s.started(member, offset, key, 1).finished(member, offset, key, 1)
}

func (s *script) failed(member string, offset int64, key string, attempt int, after time.Duration) *script {
	return s.add(run(member, offset, key, attempt).Failed(began.Add(s.now + after)))
}

func (s *script) member(kind history.Kind, member string) *script {
	return s.add(history.Event{Kind: kind, Member: member})
}

func (s *script) committed(offset int64) *script {
	return s.add(history.Event{Kind: history.Committed, Offset: offset})
}

func check(s *script, allow history.Allow) *history.Report {
	var h history.History
	h.Add(s.events...)
	return h.Check(allow)
}

// four are published: offsets 0 and 2 of a, 1 and 3 of b.
func four() *script {
	return new(script).published(0, "a").published(1, "b").published(2, "a").published(3, "b")
}

func TestEachBrokenRuleIsReportedAsThatRule(t *testing.T) {
	t.Parallel()
	keyless := history.Event{Member: "m1", Keyless: true, Attempt: 1}
	for name, test := range map[string]struct {
		script *script
		allow  history.Allow
		rule   history.Rule
		words  string
	}{
		"a record is not handled": {
			four().ran("m1", 0, "a").ran("m1", 1, "b").ran("m1", 3, "b"), history.Allow{},
			history.Lost, `t/0: offset 2, key "a", was never started`,
		},
		"a record is not tried again": {
			four().ran("m1", 0, "a").ran("m1", 1, "b").ran("m1", 3, "b").started("m1", 2, "a", 1).failed("m1", 2, "a", 1, 0), history.Allow{},
			history.Lost, `t/0: offset 2, key "a", failed 1 times, last at 03:04:05.012000 with m1, and was not tried again`,
		},
		"a run does not end": {
			four().ran("m1", 0, "a").ran("m1", 1, "b").ran("m1", 3, "b").started("m1", 2, "a", 1), history.Allow{},
			history.Lost, `t/0: offset 2, key "a", was started and never ended`,
		},
		"two records of a key at once": {
			four().ran("m1", 1, "b").ran("m1", 3, "b").started("m1", 0, "a", 1).started("m2", 2, "a", 1).finished("m1", 0, "a", 1).finished("m2", 2, "a", 1),
			history.Allow{},
			history.Overlap, `t/0: offset 2, key "a", was started by m2 at 03:04:05.010000 while m1 was at work on offset 0, since 03:04:05.009000`,
		},
		"one record without a key twice at once": {
			new(script).add(keyless.Started()).add(run2(keyless, "m2").Started()).add(keyless.Finished()).member(history.Killed, "m2"), history.Allow{},
			history.Overlap, `t/0: offset 0, key none, was started by m2 at 03:04:05.002000 while m1 was at work on offset 0`,
		},
		"a killed member's handler went on": {
			four().ran("m1", 0, "a").ran("m1", 1, "b").ran("m1", 2, "a").started("m1", 3, "b", 1).started("m2", 3, "b", 1).
				member(history.Killed, "m1").finished("m2", 3, "b", 1), history.Allow{},
			history.Overlap, `t/0: offset 3, key "b", was started by m2`,
		},
		"a later record first": {
			four().ran("m1", 2, "a").ran("m1", 1, "b").ran("m1", 3, "b").ran("m1", 0, "a"), history.Allow{},
			history.Order, `t/0: key "a": offset 2 was finished at 03:04:05.006000 by m1, offset 0 before it only at 03:04:05.012000 by m1`,
		},
		"a later record while one waits": {
			four().ran("m1", 1, "b").ran("m1", 3, "b").started("m1", 0, "a", 1).failed("m1", 0, "a", 1, time.Second).
				started("m1", 2, "a", 1).member(history.Killed, "m1").wait(time.Second).
				started("m2", 0, "a", 2).finished("m2", 0, "a", 2).ran("m2", 2, "a"), history.Allow{},
			history.Order, `t/0: offset 2, key "a", was started by m1 at 03:04:05.011000 while offset 0, which had failed at 03:04:05.010000 with m1, waited`,
		},
		"handled again after a stop": {
			four().ran("m1", 0, "a").ran("m1", 1, "b").member(history.Stopped, "m1").ran("m2", 1, "b").ran("m2", 2, "a").ran("m2", 3, "b"), history.Allow{},
			history.Repeated, `t/0: offset 1, key "b", was finished at 03:04:05.008000 by m1 and at 03:04:05.011000 by m2; 0 repeats are allowed`,
		},
		"more repeats than allowed": {
			four().ran("m1", 0, "a").ran("m1", 1, "b").member(history.Killed, "m1").ran("m2", 0, "a").ran("m2", 1, "b").ran("m2", 2, "a").ran("m2", 3, "b"),
			history.Allow{Repeats: 1}, history.Repeated, `t/0: offset 1, key "b"`,
		},
		"a repeat that is not allowed": {
			four().ran("m1", 0, "a").ran("m1", 1, "b").member(history.Killed, "m1").ran("m2", 1, "b").ran("m2", 2, "a").ran("m2", 3, "b"),
			history.Allow{Repeats: 9, Repeat: func(r history.Repeat) bool { return r.Offset != 1 }},
			history.Repeated, `was finished at 03:04:05.008000 by m1 and at 03:04:05.011000 by m2, which was not to be repeated`,
		},
		"a commit passes what runs": {
			four().ran("m1", 0, "a").started("m1", 1, "b", 1).committed(2).finished("m1", 1, "b", 1).ran("m1", 2, "a").ran("m1", 3, "b"), history.Allow{},
			history.CommitAhead, `t/0: offset 2 was committed by 03:04:05.008000, and offset 1, key "b", was not finished at 03:04:05.008000`,
		},
		"a commit is to pass what runs": {
			four().ran("m1", 0, "a").started("m1", 1, "b", 1).add(history.Event{Kind: history.Committing, Offset: 2}).finished("m1", 1, "b", 1).committed(2).
				ran("m1", 2, "a").ran("m1", 3, "b"), history.Allow{},
			history.CommitAhead, `t/0: offset 2 was committed by 03:04:05.008000, and offset 1, key "b", was not finished at 03:04:05.008000`,
		},
		"a commit passes what nobody knew yet": {
			new(script).published(0, "a").ran("m1", 0, "a").committed(2).ran("m1", 1, "b"), history.Allow{},
			history.CommitAhead, `t/0: offset 2 was committed by 03:04:05.004000, and offset 1, key "b", was not finished at 03:04:05.005000`,
		},
		"a commit goes back": {
			four().ran("m1", 0, "a").ran("m1", 1, "b").ran("m1", 2, "a").ran("m1", 3, "b").committed(4).committed(3), history.Allow{},
			history.CommitBack, `t/0: offset 3 was committed at 03:04:05.014000, and 4 at 03:04:05.013000 before`,
		},
		"attempts begin anew": {
			new(script).started("m1", 0, "a", 1).failed("m1", 0, "a", 1, 0).member(history.Stopped, "m1").ran("m2", 0, "a"), history.Allow{Forget: time.Minute},
			history.Attempts, `t/0: offset 0, key "a", was started by m2 at 03:04:05.004000 as attempt 1 after 1 failures, the last one at 03:04:05.002000 with m1`,
		},
		"an old failure is forgotten": {
			new(script).started("m1", 0, "a", 1).failed("m1", 0, "a", 1, 0).wait(time.Minute).member(history.Killed, "m1").ran("m2", 0, "a"),
			history.Allow{Forget: time.Second}, history.Attempts, `as attempt 1 after 1 failures`,
		},
		"a young failure takes an old one with it": {
			new(script).started("m1", 0, "a", 1).failed("m1", 0, "a", 1, 0).wait(time.Minute).
				started("m1", 0, "a", 2).failed("m1", 0, "a", 2, 0).member(history.Killed, "m1").ran("m2", 0, "a"),
			history.Allow{Forget: time.Second}, history.Attempts, `as attempt 1 after 2 failures`,
		},
		"an attempt too many": {
			new(script).started("m1", 0, "a", 2).finished("m1", 0, "a", 2), history.Allow{},
			history.Attempts, `as attempt 2 after 0 failures`,
		},
		"a retry too early": {
			new(script).started("m1", 0, "a", 1).failed("m1", 0, "a", 1, time.Second).started("m2", 0, "a", 2).finished("m2", 0, "a", 2), history.Allow{},
			history.Early, `t/0: offset 0, key "a", was started by m2 at 03:04:05.003000 as attempt 2, and was not due before 03:04:06.001000`,
		},
		"what was refused is handled": {
			new(script).publish(7, "a", history.Fail).add(history.Event{Member: "m1", Key: "a", Seq: 7, Attempt: 1, Kind: history.Started}).finished("m1", 0, "a", 1),
			history.Allow{}, history.Refused, `t/0: offset 0, key "a", publish 7 of its key, was started by m1 at 03:04:05.002000, and had been refused at 03:04:05.001000`,
		},
		"an end without a start": {
			new(script).ran("m1", 0, "a").finished("m1", 0, "a", 1), history.Allow{Repeats: 1},
			history.Malformed, `attempt 1 of t/0: offset 0, key "a", finished with m1 at 03:04:05.003000 without having been started`,
		},
		"acknowledged twice": {
			new(script).published(0, "a").published(0, "a").ran("m1", 0, "a"), history.Allow{},
			history.Malformed, `t/0: offset 0, key "a", was acknowledged twice`,
		},
		"an offset that cannot be": {
			new(script).started("m1", -1, "a", 1).member(history.Killed, "m1"), history.Allow{},
			history.Malformed, `started of t/0: offset -1`,
		},
		"an event that cannot be": {
			new(script).add(history.Event{}), history.Allow{}, history.Malformed, `an event of the kind 0 at 03:04:05.001000`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := check(test.script, test.allow)
			require.Equal(t, map[history.Rule]int{test.rule: 1}, report.Broken, "%v", report.Err())
			require.Contains(t, report.Violations[test.rule][0], test.words)
			require.ErrorContains(t, report.Err(), string(test.rule)+", 1 times:\n  "+report.Violations[test.rule][0])
		})
	}
}

func run2(e history.Event, member string) history.Event {
	e.Member = member
	return e
}

func TestWhatIsAllowedIsNotReported(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script *script
		allow  history.Allow
	}{
		"nothing happens": {new(script), history.Allow{}},
		"keys mixed": {
			four().started("m1", 0, "a", 1).started("m1", 1, "b", 1).finished("m1", 1, "b", 1).started("m1", 3, "b", 1).finished("m1", 0, "a", 1).
				ran("m1", 2, "a").committed(3).finished("m1", 3, "b", 1).committed(4), history.Allow{},
		},
		"keys of different partitions": {
			new(script).add(run("m1", 0, "a", 1).Started()).add(other(run("m2", 0, "a", 1)).Started()).
				add(run("m1", 0, "a", 1).Finished()).add(other(run("m2", 0, "a", 1)).Finished()), history.Allow{},
		},
		"records without a key in any order, at once": {
			new(script).add(keyless(1).Started()).add(keyless(0).Started()).add(keyless(1).Finished()).add(keyless(0).Finished()), history.Allow{},
		},
		"an unknown publish that is there": {
			new(script).publish(1, "a", history.Unknown).ran("m1", 0, "a").committed(1), history.Allow{},
		},
		"an unknown publish that is not there": {new(script).publish(1, "a", history.Unknown), history.Allow{}},
		"a refused publish that is not there":  {new(script).publish(1, "a", history.Fail).published(0, "a").ran("m1", 0, "a"), history.Allow{}},
		"handled before the acknowledgement came": {
			new(script).ran("m1", 0, "a").committed(1).published(0, "a"), history.Allow{},
		},
		"a commit comes too late": {
			four().ran("m1", 0, "a").ran("m1", 1, "b").ran("m2", 2, "a").ran("m2", 3, "b").committed(4).add(history.Event{Kind: history.Committing, Offset: 2}).committed(4),
			history.Allow{},
		},
		"ended early": {four().ran("m1", 0, "a").started("m1", 1, "b", 1), history.Allow{Unfinished: true}},
		"a retry in its place, other keys go on": {
			four().started("m1", 0, "a", 1).failed("m1", 0, "a", 1, time.Second).ran("m1", 1, "b").ran("m1", 3, "b").wait(time.Second).
				started("m1", 0, "a", 2).finished("m1", 0, "a", 2).ran("m1", 2, "a").committed(4), history.Allow{},
		},
		"attempts go on after a kill": {
			new(script).started("m1", 0, "a", 1).failed("m1", 0, "a", 1, time.Second).started("m1", 1, "b", 1).member(history.Killed, "m1").wait(time.Second).
				started("m2", 0, "a", 2).finished("m2", 0, "a", 2).ran("m2", 1, "b"), history.Allow{},
		},
		"a young failure is forgotten": {
			new(script).started("m1", 0, "a", 1).failed("m1", 0, "a", 1, time.Second).member(history.Killed, "m1").ran("m2", 0, "a"),
			history.Allow{Forget: time.Second},
		},
		"the young one of two failures is forgotten": {
			new(script).started("m1", 0, "a", 1).failed("m1", 0, "a", 1, 0).wait(time.Minute).
				started("m1", 0, "a", 2).failed("m1", 0, "a", 2, 0).member(history.Killed, "m1").started("m2", 0, "a", 2).finished("m2", 0, "a", 2),
			history.Allow{Forget: time.Second},
		},
		"a failure of a member that is cut off is forgotten": {
			new(script).member(history.Cut, "m1").wait(time.Minute).started("m1", 0, "a", 1).failed("m1", 0, "a", 1, time.Second).
				ran("m2", 0, "a").member(history.Healed, "m1"), history.Allow{},
		},
		"repeats after a kill": {
			four().ran("m1", 0, "a").ran("m1", 1, "b").ran("m1", 2, "a").member(history.Killed, "m1").
				ran("m2", 1, "b").ran("m2", 2, "a").ran("m2", 3, "b"), history.Allow{Repeats: 2, Repeat: func(r history.Repeat) bool { return r.Offset > 0 }},
		},
		"a repeat fails and is tried again": {
			four().ran("m1", 0, "a").ran("m1", 1, "b").ran("m1", 2, "a").ran("m1", 3, "b").member(history.Killed, "m1").
				started("m2", 0, "a", 1).failed("m2", 0, "a", 1, 0).started("m2", 0, "a", 2).finished("m2", 0, "a", 2).ran("m2", 2, "a"), history.Allow{Repeats: 2},
		},
		"a frozen member's run overlaps and fails, its next runs are repeats": {
			four().started("m1", 0, "a", 1).member(history.Frozen, "m1").ran("m2", 0, "a").ran("m2", 1, "b").started("m2", 2, "a", 1).
				member(history.Thawed, "m1").failed("m1", 0, "a", 1, 0).started("m1", 2, "a", 1).finished("m1", 2, "a", 1).
				finished("m2", 2, "a", 1).ran("m2", 3, "b"), history.Allow{Thaw: time.Second, Repeats: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, check(test.script, test.allow).Err())
		})
	}
}

func other(e history.Event) history.Event {
	e.Partition = 1
	return e
}

func keyless(offset int64) history.Event {
	return history.Event{Member: "m1", Offset: offset, Keyless: true, Attempt: 1}
}

func at(nanos int64, e history.Event) history.Event {
	e.At, e.Topic = nanos, "t"
	return e
}

func TestRecordersAreMergedByTime(t *testing.T) {
	t.Parallel()
	var h history.History
	h.Add(at(2, run("m2", 2, "a", 1).Started()), at(3, run("m2", 2, "a", 1).Finished())) // at the nanosecond at which m1 ended
	h.Add(at(2, run("m1", 0, "a", 1).Finished()), at(1, run("m1", 0, "a", 1).Started())) // recorded with times of their own
	require.NoError(t, h.Check(history.Allow{}).Err())
}

// A thawed member is excused only for a while, and only what it does.
func TestThawEnds(t *testing.T) {
	t.Parallel()
	s := four().member(history.Frozen, "m1").member(history.Thawed, "m1").ran("m1", 0, "a").ran("m1", 1, "b").ran("m1", 3, "b").wait(time.Second).
		started("m2", 2, "a", 1).started("m1", 2, "a", 1).finished("m1", 2, "a", 1).finished("m2", 2, "a", 1)
	report := check(s, history.Allow{Thaw: 500 * time.Millisecond, Repeats: 1})
	require.Equal(t, map[history.Rule]int{history.Overlap: 1}, report.Broken)
	report = check(s, history.Allow{Thaw: 2 * time.Second, Repeats: 1})
	require.NoError(t, report.Err())
	require.Equal(t, 1, report.Excused)
}

func TestReportCounts(t *testing.T) {
	t.Parallel()
	s := four().publish(9, "a", history.Unknown).publish(10, "a", history.Fail).
		ran("m1", 0, "a").started("m1", 1, "b", 1).failed("m1", 1, "b", 1, 0).started("m1", 2, "a", 1).committed(1).member(history.Killed, "m1").
		ran("m2", 0, "a").ran("m2", 1, "b").ran("m2", 2, "a").ran("m2", 3, "b").committed(4)
	report := check(s, history.Allow{Repeats: 1, Forget: time.Second})
	require.NoError(t, report.Err())
	require.Equal(t, history.Repeat{
		Topic: "t", Offset: 0, Key: `"a"`, Runs: []history.Finish{
			{Member: "m1", At: began.Add(8 * time.Millisecond).Local()}, {Member: "m2", At: began.Add(15 * time.Millisecond).Local()},
		},
	}, report.Repeats[0])
	report.Repeats, report.Gaps = nil, nil
	require.Equal(t, &history.Report{
		Published: 4, Unknown: 1, Refused: 1, Runs: 7, Peak: 1, Failures: 1, Finished: 4, Cut: 1, Repeated: 1, Commits: 2, Forgotten: 1,
		Broken: map[history.Rule]int{}, Violations: map[history.Rule][]string{},
	}, report)
	require.Contains(t, report.String(), "4 published, 1 refused, 1 unknown; 7 runs, up to 1 at once, 1 failed, 1 cut, 4 records finished")
}

// A partition stands still while there is something to do, and not when there is
// nothing.
func TestLongestGap(t *testing.T) {
	t.Parallel()
	s := new(script).published(0, "a").ran("m1", 0, "a").wait(time.Hour).
		published(1, "a").wait(time.Second).published(2, "a").ran("m1", 1, "a").wait(2*time.Second).ran("m1", 2, "a").wait(time.Hour).
		add(other(history.Event{Kind: history.Published, Key: "b", Seq: 1, Outcome: history.OK})).wait(3 * time.Second).committed(3)
	report := check(s, history.Allow{Unfinished: true})
	require.NoError(t, report.Err())
	require.Len(t, report.Gaps, 2)
	require.Equal(t, 2*time.Second+2*time.Millisecond, report.Gaps[0].Length())
	require.Equal(t, 3*time.Second+time.Millisecond, report.Gaps[1].Length(), "to the end where something is left")
	require.Equal(t, report.Gaps[1], report.LongestGap())
	require.Contains(t, report.String(), "longest gap 3.001s in t/1 from ")
}

func TestPeakCountsRunsAtOnce(t *testing.T) {
	t.Parallel()
	s := four().started("m1", 0, "a", 1).started("m2", 1, "b", 1).member(history.Killed, "m1").ran("m2", 2, "a").finished("m2", 1, "b", 1)
	require.Equal(t, 2, check(s, history.Allow{Unfinished: true}).Peak)
}

func TestOnlyTheFirstFewAreInWords(t *testing.T) {
	t.Parallel()
	s := new(script)
	for offset := range int64(20) {
		s.published(offset, "a")
	}
	report := check(s, history.Allow{})
	require.Equal(t, 20, report.Broken[history.Lost])
	require.Len(t, report.Violations[history.Lost], 5)
	require.ErrorContains(t, report.Err(), "and 15 more")
}
