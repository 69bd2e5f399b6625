package history

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func (c *checker) lost(number uint32, offset int64, r *record) {
	p := c.h.places[number]
	how := "was never started"
	switch {
	case r.failures > 0:
		how = fmt.Sprintf("failed %d times, last at %s with %s, and was not tried again", r.failures, clock(r.failedAt), c.member(r.failer))
	case r.started:
		how = "was started and never ended"
	}
	c.report.broken(Lost, "%s/%d: offset %d, key %s, %s", c.h.topics.list[p.topic], p.partition, offset, c.key(r), how)
}

// inOrder compares two records of a key that follow each other, the second one
// finished.
func (c *checker) inOrder(number uint32, first, second int64, before, r *record) {
	if before.finishes > 0 && before.finished <= r.finished {
		return
	}
	when := "was not"
	if before.finishes > 0 {
		when = fmt.Sprintf("only at %s by %s", clock(before.finished), c.member(before.finisher))
	}
	p := c.h.places[number]
	c.report.broken(Order, "%s/%d: key %s: offset %d was finished at %s by %s, offset %d before it %s",
		c.h.topics.list[p.topic], p.partition, c.key(r), second, clock(r.finished), c.member(r.finisher), first, when)
}

// repeats lists what was finished more than once and says which of it was not to
// be.
func (c *checker) repeats() {
	for at, runs := range c.again {
		p := c.h.places[at.place]
		c.report.Repeats = append(c.report.Repeats, Repeat{
			Topic: c.h.topics.list[p.topic], Partition: p.partition, Offset: at.offset,
			Key: c.key(c.tables[at.place].at(at.offset)), Runs: runs,
		})
	}
	slices.SortFunc(c.report.Repeats, func(a, b Repeat) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	for _, r := range c.report.Repeats {
		c.report.Repeated += len(r.Runs) - 1
		switch {
		case c.allow.Repeat != nil && !c.allow.Repeat(r):
			c.report.broken(Repeated, "%s, which was not to be repeated", r)
		case c.report.Repeated > c.allow.Repeats:
			c.report.broken(Repeated, "%s; %d repeats are allowed", r, c.allow.Repeats)
		}
	}
}

// String names the record and the runs.
func (r Repeat) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%d: offset %d, key %s, was finished", r.Topic, r.Partition, r.Offset, r.Key)
	for i, f := range r.Runs {
		if i > 0 {
			b.WriteString(" and")
		}
		fmt.Fprintf(&b, " at %s by %s", clock(f.At.UnixNano()), f.Member)
	}
	return b.String()
}

// where names the record of e.
func (c *checker) where(e *entry) string {
	p := c.h.places[e.place]
	return fmt.Sprintf("%s/%d: offset %d, key %s,", c.h.topics.list[p.topic], p.partition, e.offset, c.key(&record{key: e.key, keyless: e.keyless}))
}

// key is a record's key as it reads in violations.
func (c *checker) key(r *record) string {
	if r.keyless {
		return "none"
	}
	return strconv.Quote(c.h.keys.list[r.key])
}

func (c *checker) member(number uint16) string { return cmp.Or(c.h.members.list[number], "nobody") }
