package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/terminal"
)

const filterHelp = `FILTER is terms with spaces between them, all of which must hold, such as
  reason=panic origin=orders failed>2026-11-27T09:00:00Z !group=archive message~"seat \d+"
  = the whole value   ~ a regular expression   < <= > >= of numbers, times and ages   ! not
Fields: fingerprint reason type code message group handler origin partition offset key
header.NAME failed first time age generation attempts state id dialect.`

// inspecting is what the commands that read dead letters have in common.
type inspecting struct {
	cluster *config.ClusterFlags
	timeout time.Duration
	json    bool
	filter  string
}

func dlqCommand(environ []string) (*cobra.Command, error) {
	root := command.Group(&cobra.Command{Use: "dlq", Short: "Read dead letters, and close them: queues, causes, single letters"})
	var errs []error
	for _, of := range []func(environ []string) (*cobra.Command, error){dlqLsCommand, dlqGroupsCommand, dlqShowCommand, dlqTailCommand, dlqExportCommand, discardCommand, restoreCommand, trimCommand, dlqDoctorCommand} {
		cmd, err := of(environ)
		root.AddCommand(cmd)
		errs = append(errs, err)
	}
	return root, errors.Join(errs...)
}

func (o *inspecting) addFlags(cmd *cobra.Command, filters, json bool) (err error) {
	flags := cmd.Flags()
	flags.SortFlags = false
	if filters {
		flags.StringVarP(&o.filter, "filter", "G", "", "only letters that fit this `FILTER`, see above")
	}
	if json {
		flags.BoolVar(&o.json, "json", false, "print JSON")
	}
	flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long the cluster may take to answer")
	o.cluster, err = config.AddClusterFlags(flags, "duplex-dlq")
	config.AddFlags(flags)
	return err
}

// body is what such a command does, with an Inspector and what the filter means.
func (o *inspecting) body(environ []string, run func(cmd *cobra.Command, i *dlq.Inspector, f dlq.Filter, args []string) error) func(*cobra.Command, []string) error {
	return command.Body(environ, func(cmd *cobra.Command, args []string) error {
		if o.timeout <= 0 {
			return command.UsageError(fmt.Errorf("--timeout %s: must be positive", o.timeout))
		}
		f, err := dlq.ParseFilter(o.filter)
		if err != nil {
			return command.UsageError(fmt.Errorf("--filter: %w", err))
		}
		i, err := dlq.NewInspector(dlq.InspectorConfig{Cluster: o.cluster.Cluster(), Timeout: o.timeout})
		if err != nil {
			return command.UsageError(err)
		}
		defer i.Close()
		return run(cmd, i, f, args)
	})
}

// queueNames are the dead-letter queues of a cluster, for shells.
func queueNames(ctx context.Context, admin *kadm.Client) (queues []string, err error) {
	topics, err := admin.ListTopics(ctx)
	for _, t := range topics.Names() {
		if dlq.IsQueue(t) {
			queues = append(queues, t)
		}
	}
	return queues, err
}

// progress shows how far a scan is, to people who look on, until end is called.
func progress(to io.Writer) (tell func(dlq.Progress), end func()) {
	var last atomic.Pointer[dlq.Progress]
	p := terminal.Show(to, func() string {
		at := last.Load()
		if at == nil {
			return "asking the cluster"
		}
		percent := int64(100)
		if at.Of > 0 {
			percent = at.Read * 100 / at.Of
		}
		return fmt.Sprintf("%s letters read, %d%%, %s fit", terminal.Count(at.Letters), percent, terminal.Count(at.Matched))
	})
	return func(at dlq.Progress) { last.Store(&at) }, p.Close
}

// said is a sentence about what was read.
func said(s dlq.Scanned) string {
	t := s.Total()
	text := fmt.Sprintf("%s of %s letters fit, read in %s", terminal.Count(t.Matched), terminal.Count(t.Read), s.Took.Round(time.Millisecond))
	if t.Duplicates > 0 {
		text += fmt.Sprintf("; %s are second copies", terminal.Count(t.Duplicates))
	}
	if t.Expired > 0 {
		text += fmt.Sprintf("; %s were deleted before they could be read", terminal.Count(t.Expired))
	}
	return text
}

// scannedJSON is what was read, for programs.
type scannedJSON struct {
	Read       int64           `json:"read"`
	Matched    int64           `json:"matched"`
	Duplicates int64           `json:"duplicates"`
	Expired    int64           `json:"expired"`
	Bytes      int64           `json:"bytes"`
	Millis     int64           `json:"ms"`
	Partitions []partitionJSON `json:"partitions"`
}

type partitionJSON struct {
	Partition int32 `json:"partition"`
	From      int64 `json:"from"`
	To        int64 `json:"to"`
	Next      int64 `json:"next"`
	Read      int64 `json:"read"`
	Expired   int64 `json:"expired"`
}

func scannedAsJSON(s dlq.Scanned) scannedJSON {
	t := s.Total()
	out := scannedJSON{Read: t.Read, Matched: t.Matched, Duplicates: t.Duplicates, Expired: t.Expired, Bytes: t.Bytes, Millis: s.Took.Milliseconds(), Partitions: []partitionJSON{}}
	for _, p := range s.Partitions {
		out.Partitions = append(out.Partitions, partitionJSON{p.Partition, p.From, p.To, p.Next, p.Read, p.Expired})
	}
	return out
}

// stamp is a time as filters take it, a dash for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// ago is how long ago a time was, a dash for none.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(max(0, time.Since(t)))
}

// stampJSON is a time for programs, null for none.
func stampJSON(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC().Format(time.RFC3339Nano))
}

// span is a duration in its two largest units, a dash if it is negative.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-"
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// millisJSON is a duration for programs, null if it is negative.
func millisJSON(d time.Duration) *int64 {
	if d < 0 {
		return nil
	}
	return new(d.Milliseconds())
}

// oneLine is text without what moves a cursor, in at most so many characters.
func oneLine(text string, most int) string {
	text = terminal.Printable(strings.Join(strings.Fields(text), " "))
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:max(most-1, 0)]) + "…"
}

// fitted is a table whose last column is cut so that its rows fit a terminal. What is no
// terminal gets 200 characters of it.
func fitted(to io.Writer, rows [][]string) error {
	widths := make([]int, len(rows[0]))
	for _, cells := range rows {
		for n, c := range cells {
			widths[n] = max(widths[n], utf8.RuneCountInString(c)+2)
		}
	}
	last := len(widths) - 1
	most := 200
	if width := terminal.Width(to); width > 0 {
		most = width
		for _, w := range widths[:last] {
			most -= w
		}
	}
	return table(to, "", func(row func(cells ...any)) {
		for _, cells := range rows {
			all := make([]any, len(cells))
			for n, c := range cells {
				all[n] = c
			}
			all[last] = oneLine(cells[last], max(most, 16))
			row(all...)
		}
	})
}

// errorText is the last error of a letter.
func errorText(kind, message string) string {
	return strings.TrimPrefix(strings.TrimSuffix(kind+": "+message, ": "), ": ")
}

func orDash(s string) string { return cmp.Or(terminal.Printable(s), "-") }
