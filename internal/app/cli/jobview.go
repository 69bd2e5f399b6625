package cli

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/app/shell"
	"github.com/duplex-go/duplex/internal/terminal"
)

// showPlan prints a plan.
func (o *jobOptions) showPlan(cmd *cobra.Command, plan *dlq.Plan) error {
	if o.json {
		return printJSON(cmd.OutOrStdout(), plan)
	}
	return o.writePlan(cmd, cmd.OutOrStdout(), plan)
}

// writePlan prints a plan for people.
func (o *jobOptions) writePlan(cmd *cobra.Command, to io.Writer, plan *dlq.Plan) error {
	var b bytes.Buffer
	what := terminal.Printable(plan.Filter)
	if what == "" {
		what = "all that are open"
	}
	fmt.Fprintf(&b, "%s %s of %s: %s\n", plan.Kind, plan.ID, plan.Queue, what)
	err := table(&b, "  ", func(row func(cells ...any)) {
		row("letters", fmt.Sprintf("%s of %s read, %s", terminal.Count(plan.Records), terminal.Count(plan.Scanned), size(plan.Bytes)))
		for _, to := range plan.To {
			row("to", fmt.Sprintf("%s: %s", to.Topic, receivers(to.Receivers)))
		}
		for _, why := range slices.Sorted(maps.Keys(plan.Blocked)) {
			row("left out", fmt.Sprintf("%s %s", terminal.Count(plan.Blocked[why]), blockedWords(why)))
		}
		for i, c := range plan.Causes {
			if i == mostShown {
				row("", "and others")
				break
			}
			row("cause", fmt.Sprintf("%s × %s  %s", terminal.Count(c.Records), c.Fingerprint, oneLine(c.Message, mostWide)))
		}
		if rate, err := parseRate(o.pace.rate); err == nil && rate > 0 {
			row("takes", plan.Took(rate).String()+" at "+o.pace.rate)
		}
		for _, s := range plan.Samples {
			row("such as", fmt.Sprintf("%d/%d  %s", s.Partition, s.Offset, oneLine(s.ID, mostWide)))
		}
	})
	if err != nil {
		return err
	}
	if o.edit != "" && plan.Records > 0 {
		if err := o.previewEdit(cmd, &b, plan); err != nil {
			return err
		}
	}
	if _, err := to.Write(b.Bytes()); err != nil {
		return fmt.Errorf("redrive: writing the plan: %w", err)
	}
	return nil
}

// mostShown is how many causes are listed, mostWide how long their words may be.
const mostShown, mostWide = 10, 100

// size is a number of bytes for people.
func size(n int64) string {
	const unit = 1 << 10
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n)/unit, []string{"KiB", "MiB", "GiB", "TiB"}
	for len(units) > 1 && v >= unit {
		v, units = v/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %s", v, units[0])
}

func receivers(groups []dlq.Receiver) string {
	if len(groups) == 0 {
		return "NOBODY reads it"
	}
	words := make([]string, len(groups))
	for i, g := range groups {
		words[i] = fmt.Sprintf("group %s (%s, members: %d)", terminal.Printable(g.Group), g.State, g.Members)
	}
	return strings.Join(words, ", ")
}

func blockedWords(why dlq.Blocked) string {
	switch why {
	case dlq.BlockedLoop:
		return "came back too often: --force, with a reason, brings them back once more"
	case dlq.BlockedNoOrigin:
		return "do not say where they came from, or whose they are: --to topic:NAME takes them"
	case dlq.BlockedNoTopic:
		return "would go to a topic that does not exist, or is a queue"
	case dlq.BlockedGone:
		return "have no value of their own, and the record that they point to is gone"
	}
	return string(why)
}

// previewEdit shows what the command makes of the samples of a plan.
func (o *jobOptions) previewEdit(cmd *cobra.Command, to io.Writer, plan *dlq.Plan) error {
	inspector, err := dlq.NewInspector(dlq.InspectorConfig{Cluster: o.cluster.Cluster()})
	if err != nil {
		return err
	}
	defer inspector.Close()
	var letters []*dlq.Letter
	var before []dlq.Letter
	for _, s := range plan.Samples {
		found, err := inspector.Letter(cmd.Context(), plan.Queue, fmt.Sprintf("%d/%d", s.Partition, s.Offset))
		if err != nil {
			return err
		}
		l := found.Letter.Clone()
		if found.Source != nil {
			l.Record = found.Source
		}
		letters, before = append(letters, l), append(before, *l.Clone())
	}
	if err := editWith(o.edit, o.environ, shell.NewLines(cmd.ErrOrStderr(), "edit: "))(cmd.Context(), letters); err != nil {
		return err
	}
	for i, l := range letters {
		fmt.Fprintf(to, "  edit of %d/%d\n", l.Partition, l.Offset)
		differences(to, &before[i], l)
	}
	return nil
}

// differences are what an edit changed.
func differences(to io.Writer, before, after *dlq.Letter) {
	same := true
	one := func(what string, old, now []byte) {
		if bytes.Equal(old, now) && (old == nil) == (now == nil) {
			return
		}
		same = false
		fmt.Fprintf(to, "    - %s %s\n    + %s %s\n", what, excerpt(old), what, excerpt(now))
	}
	one("key", before.Record.Key, after.Record.Key)
	one("value", before.Record.Value, after.Record.Value)
	old, now := before.Record.Headers, after.Record.Headers
	for i := range max(len(old), len(now)) {
		var was, is []byte
		if i < len(old) {
			was = []byte(old[i].Key + "=" + string(old[i].Value))
		}
		if i < len(now) {
			is = []byte(now[i].Key + "=" + string(now[i].Value))
		}
		one("header", was, is)
	}
	if same {
		fmt.Fprintln(to, "    unchanged")
	}
}

func excerpt(b []byte) string {
	if b == nil {
		return "(none)"
	}
	const most = 400
	return terminal.Printable(string(b[:min(len(b), most)]))
}

// showJob shows on a terminal how far a job is, until done is called.
func showJob(cmd *cobra.Command) (tell func(dlq.JobProgress), done func()) {
	var mu sync.Mutex
	line, warned := "", false
	p := terminal.Show(cmd.ErrOrStderr(), func() string {
		mu.Lock()
		defer mu.Unlock()
		return line
	})
	var once sync.Once
	return func(j dlq.JobProgress) {
		mu.Lock()
		defer mu.Unlock()
		line = fmt.Sprintf("%s %s: %s of %s", j.ID, j.State, terminal.Count(j.Moved), terminal.Count(j.Selected()))
		if j.Plan.Target == (dlq.Target{}) && j.Plan.Kind == dlq.KindRedrive {
			line += fmt.Sprintf(", handled %s, dead again %s, pending %s", terminal.Count(j.Handled), terminal.Count(j.DeadAgain), terminal.Count(j.Pending()))
		}
		if j.Waiting != "" {
			line += " · waits for " + j.Waiting
		}
		if j.AtLeastOnce && !warned {
			warned = true
			fmt.Fprintln(cmd.ErrOrStderr(), "WITHOUT transactions, since there is no right to have them: if this dies, some records may come twice, with the same dlq-id")
		}
	}, func() { once.Do(p.Close) }
}

// showJobs prints jobs.
func (o *jobOptions) showJobs(cmd *cobra.Command, jobs ...*dlq.Job) error {
	if o.json {
		if len(jobs) == 1 {
			return printJSON(cmd.OutOrStdout(), jobs[0])
		}
		return printJSON(cmd.OutOrStdout(), jobs)
	}
	for _, j := range jobs {
		if _, err := io.WriteString(cmd.OutOrStdout(), jobLine(j)); err != nil {
			return fmt.Errorf("redrive: writing what became of a job: %w", err)
		}
	}
	return nil
}

// jobLine is a job for people.
func jobLine(j *dlq.Job) string {
	if j.ID == "" {
		return fmt.Sprintf("nothing to %s in %s\n", j.Plan.Kind, j.Plan.Queue)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s: ", j.Plan.Kind, j.ID, j.State)
	switch {
	case j.Plan.Kind != dlq.KindRedrive:
		fmt.Fprintf(&b, "%s letters", terminal.Count(j.Moved))
	case j.Plan.Target == dlq.Target{}:
		fmt.Fprintf(&b, "moved %s of %s, handled %s, dead again %s, pending %s", terminal.Count(j.Moved), terminal.Count(j.Selected()),
			terminal.Count(j.Handled), terminal.Count(j.DeadAgain), terminal.Count(j.Pending()))
	default:
		fmt.Fprintf(&b, "moved %s of %s to %s; what becomes of them is not known", terminal.Count(j.Moved), terminal.Count(j.Selected()), j.Plan.Target)
	}
	for _, of := range []struct {
		what string
		n    int64
	}{{"expired", j.Expired}, {"left", j.Left}} {
		if of.n > 0 {
			fmt.Fprintf(&b, ", %s %s", of.what, terminal.Count(of.n))
		}
	}
	if j.Why != "" {
		fmt.Fprintf(&b, " (%s)", terminal.Printable(j.Why))
	}
	b.WriteByte('\n')
	return b.String()
}

// jobTable lists jobs.
func jobTable(to io.Writer, jobs []*dlq.Job) error {
	return table(to, "", func(row func(cells ...any)) {
		row("JOB", "KIND", "STATE", "BEGAN", "LETTERS", "MOVED", "HANDLED", "DEAD-AGAIN", "PENDING", "BY", "REASON")
		for _, j := range jobs {
			handled, dead, pending := any("-"), any("-"), any("-")
			if j.Plan.Kind == dlq.KindRedrive && j.Plan.Target == (dlq.Target{}) {
				handled, dead, pending = j.Handled, j.DeadAgain, j.Pending()
			}
			row(j.ID, j.Plan.Kind, j.State, j.Began.UTC().Format(time.RFC3339), j.Selected(), j.Moved, handled, dead, pending,
				oneLine(j.Plan.By, mostWide), oneLine(j.Plan.Reason, mostWide))
		}
	})
}
