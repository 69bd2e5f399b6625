package history

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Rule is a promise that Check looks after.
type Rule string

// The rules, by their rows in docs/guarantees.md.
const (
	// Lost: C2, a record that is in the log was never finished.
	Lost Rule = "C2 lost"
	// Overlap: C3, two runs of one key at the same time.
	Overlap Rule = "C3 overlap"
	// Order: C4, a record was finished before an earlier one of its key, or
	// started while an earlier one waited for its next attempt.
	Order Rule = "C4 order"
	// Repeated: C5, a record was finished more than once and was not allowed to.
	Repeated Rule = "C5 repeated"
	// CommitAhead: C1, a commit passed a record that was not finished.
	CommitAhead Rule = "C1 commit ahead"
	// CommitBack: C6, a committed offset went back.
	CommitBack Rule = "C6 commit back"
	// Attempts: C11, attempts that did not rise by one with each failure.
	Attempts Rule = "C11 attempts"
	// Early: C11, a retry started before it was due.
	Early Rule = "C11 early"
	// Refused: P2, a record was handled whose publish was refused.
	Refused Rule = "P2 refused"
	// Malformed: the history contradicts itself, so no rule was checked well.
	Malformed Rule = "malformed history"
)

// rules are all, in the order in which they are reported.
func rules() []Rule {
	return []Rule{Malformed, Lost, Overlap, Order, Repeated, CommitAhead, CommitBack, Attempts, Early, Refused}
}

// Report is what Check found.
type Report struct {
	// Published, Refused and Unknown count publishes by their outcome.
	Published, Refused, Unknown int
	// Runs counts the runs of handlers that started, Failures those that failed,
	// Finished the records that were finished at least once, Cut the runs that a
	// member did not live to end.
	Runs, Failures, Finished, Cut int
	// Peak is how many runs there were at once, at most.
	Peak int
	// Excused counts overlaps with a run of a member that was frozen.
	Excused int
	// Forgotten counts retries that began with fewer attempts than there were
	// failures, as Allow.Forget permits.
	Forgotten int
	// Repeated counts how often a record was finished that had been before.
	Repeated int
	// Commits counts the offsets that were seen to be committed, Asked those that a
	// member asked for.
	Commits, Asked int
	// Repeats are the records that were finished more than once, by partition and
	// offset.
	Repeats []Repeat
	// Gaps are the longest times in which nothing was finished in a partition
	// while there was something to do, by topic and partition.
	Gaps []Gap
	// Broken says how often each rule was broken; rules that held are missing.
	Broken map[Rule]int
	// Violations are the first few of each rule, in words.
	Violations map[Rule][]string
}

// Repeat is a record that was finished more than once.
type Repeat struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       string
	// Runs are those that finished it, in their order: at least two.
	Runs []Finish
}

// Finish is the good end of a run.
type Finish struct {
	Member string
	At     time.Time
}

// Gap is a time in which a partition stood still.
type Gap struct {
	Topic     string
	Partition int32
	From, To  time.Time
}

// Length is how long it took.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

// LongestGap is the longest of all; the zero Gap if there was none.
func (r *Report) LongestGap() (longest Gap) {
	for _, g := range r.Gaps {
		if g.Length() > longest.Length() {
			longest = g
		}
	}
	return longest
}

// Err is nil if all rules held; otherwise it lists what was wrong.
func (r *Report) Err() error {
	if len(r.Broken) == 0 {
		return nil
	}
	var b strings.Builder
	for _, rule := range rules() {
		n := r.Broken[rule]
		if n == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s, %d times:", rule, n)
		for _, v := range r.Violations[rule] {
			b.WriteString("\n  " + v)
		}
		if more := n - len(r.Violations[rule]); more > 0 {
			fmt.Fprintf(&b, "\n  and %d more", more)
		}
	}
	return errors.New("history: broken:" + b.String())
}

// String is a summary in one line.
func (r *Report) String() string {
	gap := r.LongestGap()
	s := fmt.Sprintf("%d published, %d refused, %d unknown; %d runs, up to %d at once, %d failed, %d cut, %d records finished, %d repeats; "+
		"%d commits; %d retries forgot attempts, %d overlaps excused; longest gap %s", r.Published, r.Refused, r.Unknown,
		r.Runs, r.Peak, r.Failures, r.Cut, r.Finished, r.Repeated, r.Commits, r.Forgotten, r.Excused, gap.Length().Round(time.Millisecond))
	if gap.Topic != "" {
		s += fmt.Sprintf(" in %s/%d from %s", gap.Topic, gap.Partition, clock(gap.From.UnixNano()))
	}
	return s
}

const wordsOfEach = 5

func (r *Report) broken(rule Rule, format string, args ...any) {
	r.Broken[rule]++
	if len(r.Violations[rule]) < wordsOfEach {
		r.Violations[rule] = append(r.Violations[rule], fmt.Sprintf(format, args...))
	}
}

// clock is how times read in violations.
func clock(at int64) string { return time.Unix(0, at).UTC().Format("15:04:05.000000") }
