package history

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Allow is what a scenario excuses. Its zero value excuses nothing.
type Allow struct {
	// Repeats is how many times in all a record that was finished may be finished
	// again.
	Repeats int
	// Repeat says of a record that was whether that is all right; nil = always.
	Repeat func(Repeat) bool
	// Forget is how long before a Killed, Frozen or Cut of its member a failure
	// may be forgotten, so that the attempts of its record go on from fewer: the
	// interval of commits, and how long one may take.
	Forget time.Duration
	// Thaw is for how long after a Thawed the member may go on as if nothing had
	// happened: until it has learnt that it was thrown out. Its runs of that time,
	// and those that were under way when it was frozen, may overlap with others,
	// and their failures need not count.
	Thaw time.Duration
	// Unfinished says that the history was ended early: records that were not
	// finished are not lost.
	Unfinished bool
}

// dueGrain is in what steps times are kept beside a committed offset.
const dueGrain = int64(time.Millisecond)

// Check goes through the history and reports what broke a rule, and what else
// there is to say.
func (h *History) Check(allow Allow) *Report {
	c := &checker{
		h: h, allow: allow, report: &Report{Broken: map[Rule]int{}, Violations: map[Rule][]string{}},
		tables: make([]*table, len(h.places)), members: make([]memberState, len(h.members.list)),
		open: map[lane][]run{}, waiting: map[lane]waiting{}, refused: map[sending]int64{}, again: map[spot][]Finish{},
	}
	for i := range c.tables {
		c.tables[i] = newTable()
	}
	h.each(c.take)
	c.end()
	return c.report
}

type checker struct {
	h       *History
	allow   Allow
	report  *Report
	tables  []*table // by the number of the partition
	members []memberState
	open    map[lane][]run
	waiting map[lane]waiting
	refused map[sending]int64 // when
	again   map[spot][]Finish
	now     int64
	running int
}

// lane is what runs one at a time: a key of a partition, or one record without.
type lane struct {
	place, key uint32
	offset     int64 // −1 for a key
}

// run is a handler at work.
type run struct {
	at, offset int64
	attempt    int32
	member     uint16
	stale      bool // its member was frozen meanwhile, or had been
}

// waiting is the failed record that a lane waits for.
type waiting struct {
	at, offset int64
	member     uint16
}

type sending struct {
	topic, key uint32
	seq        int64
}

type spot struct {
	place  uint32
	offset int64
}

type memberState struct {
	frozen bool
	thawed int64
	shaken int64 // when it was last killed, frozen or cut off
	calm   int64 // when that was over; before shaken, it is not
}

// forgets reports whether a failure of that time may not have reached the broker.
func (m *memberState) forgets(failedAt int64, slack time.Duration) bool {
	return m.shaken > 0 && failedAt > m.shaken-int64(slack) && (m.calm < m.shaken || failedAt < m.calm+int64(slack))
}

func (e *entry) lane() lane {
	if e.keyless {
		return lane{place: e.place, offset: e.offset}
	}
	return lane{place: e.place, key: e.key, offset: -1}
}

func (c *checker) take(e *entry) {
	c.now = e.at
	member := &c.members[e.member]
	switch e.kind {
	case Published:
		c.published(e)
	case Started:
		c.started(e)
	case Finished, Failed:
		c.ended(e)
	case Committed:
		c.commit(e)
	case Committing:
		c.report.Asked++
		c.passes(e)
	case Stopped, Killed:
		if e.kind == Killed {
			member.shaken = e.at
		}
		c.drop(e.member)
	case Frozen:
		member.frozen, member.shaken = true, e.at
		c.stale(e.member)
	case Thawed:
		member.frozen, member.thawed, member.calm = false, e.at, e.at
	case Cut:
		member.shaken = e.at
	case Healed:
		member.calm = e.at
	case Joined:
	default:
		c.report.broken(Malformed, "an event of the kind %d at %s", e.kind, clock(e.at))
	}
}

func (c *checker) published(e *entry) {
	switch e.outcome {
	case outcomeFail:
		c.report.Refused++
		if e.more > 0 {
			c.refused[sending{c.h.places[e.place].topic, e.key, e.more}] = e.at
		}
		return
	case outcomeUnknown:
		c.report.Unknown++
		return
	default:
	}
	c.report.Published++
	r, t := c.seen(e)
	if r.published {
		c.report.broken(Malformed, "%s was acknowledged twice", c.where(e))
		return
	}
	r.published = true
	if r.finishes == 0 {
		if t.pending == 0 {
			t.since = e.at
		}
		t.pending++
	}
}

// seen is the record of e, which e shows to be in the log.
func (c *checker) seen(e *entry) (*record, *table) {
	t := c.tables[e.place]
	if e.offset < 0 {
		c.report.broken(Malformed, "%s of %s at %s", e.kind, c.where(e), clock(e.at))
		return &record{}, t
	}
	r := t.at(e.offset)
	if !r.known {
		r.known, r.key, r.keyless = true, e.key, e.keyless
		if e.offset < t.checked {
			c.ahead(e.place, e.offset, r)
		}
	}
	return r, t
}

func (c *checker) started(e *entry) {
	c.report.Runs++
	r, _ := c.seen(e)
	m, in := &c.members[e.member], e.lane()
	one := run{at: e.at, offset: e.offset, attempt: e.attempt, member: e.member}
	one.stale = m.frozen || (m.thawed > 0 && e.at < m.thawed+int64(c.allow.Thaw))
	for _, other := range c.open[in] {
		if one.stale || other.stale {
			c.report.Excused++
			continue
		}
		c.report.broken(Overlap, "%s was started by %s at %s while %s was at work on offset %d, since %s",
			c.where(e), c.member(e.member), clock(e.at), c.member(other.member), other.offset, clock(other.at))
	}
	c.open[in] = append(c.open[in], one)
	c.running++
	c.report.Peak = max(c.report.Peak, c.running)
	if at, was := c.refused[sending{c.h.places[e.place].topic, e.key, e.more}]; was && e.more > 0 {
		c.report.broken(Refused, "%s publish %d of its key, was started by %s at %s, and had been refused at %s",
			c.where(e), e.more, c.member(e.member), clock(e.at), clock(at))
	}
	r.started = true
	if !one.stale {
		c.afterFailure(e, in)
		c.attempt(e, r)
	}
}

// afterFailure checks that nothing overtakes a failed record.
func (c *checker) afterFailure(e *entry, in lane) {
	w, some := c.waiting[in]
	if !some || e.offset < w.offset {
		return
	}
	delete(c.waiting, in)
	if e.offset > w.offset {
		c.report.broken(Order, "%s was started by %s at %s while offset %d, which had failed at %s with %s, waited for its next attempt",
			c.where(e), c.member(e.member), clock(e.at), w.offset, clock(w.at), c.member(w.member))
	}
}

// attempt checks how often a run says that its record was tried, and when.
func (c *checker) attempt(e *entry, r *record) {
	most := r.failures + 1
	least := most
	switch {
	case r.finishes > 0:
		least = 1
	case r.failures > 0 && c.members[r.failer].forgets(r.failedAt, c.allow.Forget):
		least = r.durable + 1
	}
	switch {
	case e.attempt < least || e.attempt > most:
		c.report.broken(Attempts, "%s was started by %s at %s as attempt %d after %d failures, the last one at %s with %s",
			c.where(e), c.member(e.member), clock(e.at), e.attempt, r.failures, clock(r.failedAt), c.member(r.failer))
	case e.attempt < most:
		if r.finishes == 0 {
			c.report.Forgotten++
		}
	case r.due > 0 && e.at < r.due-dueGrain:
		c.report.broken(Early, "%s was started by %s at %s as attempt %d, and was not due before %s",
			c.where(e), c.member(e.member), clock(e.at), e.attempt, clock(r.due))
	}
	r.due = 0
	r.failures = max(e.attempt-1, 0)
	r.durable = min(r.durable, r.failures)
}

func (c *checker) ended(e *entry) {
	in := e.lane()
	runs := c.open[in]
	i := slices.IndexFunc(runs, func(o run) bool {
		return o.member == e.member && o.offset == e.offset && o.attempt == e.attempt
	})
	if i < 0 {
		c.report.broken(Malformed, "attempt %d of %s %s with %s at %s without having been started",
			e.attempt, c.where(e), e.kind, c.member(e.member), clock(e.at))
		return
	}
	one := runs[i]
	if runs = slices.Delete(runs, i, i+1); len(runs) > 0 {
		c.open[in] = runs
	} else {
		delete(c.open, in)
	}
	c.running--
	r, t := c.seen(e)
	if e.kind == Finished {
		c.finish(e, r, t)
		return
	}
	c.report.Failures++
	if one.stale {
		return
	}
	c.waiting[in] = waiting{at: e.at, offset: e.offset, member: e.member}
	if r.failedAt > 0 && r.failedAt <= e.at-int64(c.allow.Forget) && !c.members[r.failer].forgets(r.failedAt, c.allow.Forget) {
		r.durable = r.failures
	}
	r.failures, r.failedAt, r.failer, r.due = e.attempt, e.at, e.member, e.more
}

func (c *checker) finish(e *entry, r *record, t *table) {
	r.finishes++
	if r.finishes == 1 {
		c.report.Finished++
		r.finished, r.finisher = e.at, e.member
		if r.published {
			c.still(e.place, t, e.at)
			t.pending--
		}
		t.since = e.at
		return
	}
	at := spot{e.place, e.offset}
	if r.finishes == 2 {
		c.again[at] = []Finish{{c.member(r.finisher), time.Unix(0, r.finished)}}
	}
	c.again[at] = append(c.again[at], Finish{c.member(e.member), time.Unix(0, e.at)})
}

// still notes that nothing was finished until now.
func (c *checker) still(number uint32, t *table, now int64) {
	if now-t.since > int64(t.gap.Length()) {
		p := c.h.places[number]
		t.gap = Gap{Topic: c.h.topics.list[p.topic], Partition: p.partition, From: time.Unix(0, t.since), To: time.Unix(0, now)}
	}
}

// commit compares a committed offset with the one before.
func (c *checker) commit(e *entry) {
	c.report.Commits++
	t, p := c.tables[e.place], c.h.places[e.place]
	if e.offset < t.committed {
		c.report.broken(CommitBack, "%s/%d: offset %d was committed at %s, and %d at %s before",
			c.h.topics.list[p.topic], p.partition, e.offset, clock(e.at), t.committed, clock(t.committedAt))
	}
	t.committed, t.committedAt = e.offset, e.at
	c.passes(e)
}

// passes compares an offset with what is finished below it.
func (c *checker) passes(e *entry) {
	t := c.tables[e.place]
	if e.offset <= t.checked {
		return
	}
	from := t.checked
	t.checked, t.checkedAt = e.offset, e.at
	t.each(from, e.offset, func(offset int64, r *record) bool {
		if r.finishes == 0 {
			c.ahead(e.place, offset, r)
		}
		return true
	})
}

func (c *checker) ahead(number uint32, offset int64, r *record) {
	p, t := c.h.places[number], c.tables[number]
	c.report.broken(CommitAhead, "%s/%d: offset %d was committed by %s, and offset %d, key %s, was not finished at %s",
		c.h.topics.list[p.topic], p.partition, t.checked, clock(t.checkedAt), offset, c.key(r), clock(c.now))
}

// drop ends the runs of a member that is no more.
func (c *checker) drop(member uint16) {
	for in, runs := range c.open {
		had := len(runs)
		runs = slices.DeleteFunc(runs, func(o run) bool { return o.member == member })
		c.report.Cut += had - len(runs)
		c.running -= had - len(runs)
		if len(runs) > 0 {
			c.open[in] = runs
		} else {
			delete(c.open, in)
		}
	}
}

// stale marks the runs of a member that is being frozen.
func (c *checker) stale(member uint16) {
	for _, runs := range c.open {
		for i := range runs {
			if runs[i].member == member {
				runs[i].stale = true
			}
		}
	}
}

// end checks what can only be known at the end.
func (c *checker) end() {
	for number, t := range c.tables {
		last := map[uint32]*record{} // by key: the last one that was started
		at := map[uint32]int64{}
		t.each(0, math.MaxInt64, func(offset int64, r *record) bool {
			if r.finishes == 0 && !c.allow.Unfinished {
				c.lost(uint32(number), offset, r)
			}
			if r.keyless || !r.started {
				return true
			}
			if before := last[r.key]; before != nil && r.finishes > 0 {
				c.inOrder(uint32(number), at[r.key], offset, before, r)
			}
			last[r.key], at[r.key] = r, offset
			return true
		})
		if t.pending > 0 {
			c.still(uint32(number), t, c.now)
		}
		if t.gap.Length() > 0 {
			c.report.Gaps = append(c.report.Gaps, t.gap)
		}
	}
	slices.SortFunc(c.report.Gaps, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	c.repeats()
}
