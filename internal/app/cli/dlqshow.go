package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/terminal"
)

const dlqShowLong = `show prints one dead letter: what is known of it, its headers and its value, and of one that
has no value of its own the record that it points to, or why that is gone.

REF is the place of the letter in QUEUE, as in 3/42 for offset 42 of partition 3, or its
ID, for which the queue is read up to it.

Of a value, the first 4 KiB are shown, in hexadecimal where they are not text; --json has all
of it.

Exit codes: 0 shown, 1 there is no such letter or queue, or the cluster did not answer,
2 usage, 130 interrupted.`

func dlqShowCommand(environ []string) (*cobra.Command, error) {
	o := &inspecting{}
	cmd := &cobra.Command{
		Use: "show QUEUE REF", Short: "Show one dead letter", Long: dlqShowLong, Args: wants("QUEUE", "REF"),
		Example: "  duplex dlq show dlq.billing.orders 3/42\n  duplex dlq show dlq.billing.orders 3/42 --json | jq -r .value",
	}
	err := o.addFlags(cmd, false, true)
	cmd.ValidArgsFunction = completion(environ, 1, queueNames)
	cmd.RunE = o.body(environ, func(cmd *cobra.Command, i *dlq.Inspector, _ dlq.Filter, args []string) error {
		f, err := i.Letter(cmd.Context(), args[0], args[1])
		if err != nil {
			return err
		}
		if !o.json {
			return writeLetter(cmd.OutOrStdout(), f)
		}
		if f.Source != nil { // programs want the value
			f.Record.Key, f.Record.Value = f.Source.Key, f.Source.Value
		}
		if f.Gone != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "duplex: payload gone: %s\n", terminal.Printable(f.Gone))
		}
		line, err := dlq.AppendLine(nil, &f.Letter)
		if err == nil {
			_, err = cmd.OutOrStdout().Write(line)
		}
		return err
	})
	return cmd, err
}

// writeLetter shows a letter to people.
func writeLetter(to io.Writer, f *dlq.Found) error {
	fmt.Fprintf(to, "%s %d/%d  %s  %s\n", f.Topic, f.Partition, f.Offset, f.State, f.Dialect)
	err := table(to, "  ", func(row func(cells ...any)) {
		for _, fact := range factsOf(&f.Letter) {
			if fact[1] != "" {
				row(fact[0], terminal.Printable(fact[1]))
			}
		}
	})
	if err != nil {
		return err
	}
	writeRecord(to, f.Record)
	switch {
	case f.Gone != "":
		fmt.Fprintf(to, "payload gone: %s\n", terminal.Printable(f.Gone))
	case f.Source != nil:
		fmt.Fprintf(to, "payload, from %s %d/%d\n", f.Source.Topic, f.Source.Partition, f.Source.Offset)
		writeRecord(to, f.Source)
	}
	if f.Stack != "" {
		fmt.Fprintln(to, "stack")
		for line := range strings.Lines(f.Stack) {
			fmt.Fprintln(to, "  "+terminal.Printable(strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    ")))
		}
	}
	return nil
}

// factsOf are what is known of a letter, in words.
func factsOf(l *dlq.Letter) [][2]string {
	origin := ""
	if l.Origin.Topic != "" {
		origin = l.Origin.Topic
		if l.HasOrigin() {
			origin += fmt.Sprintf(" %d/%d", l.Origin.Partition, l.Origin.Offset)
		}
		if !l.Origin.Timestamp.IsZero() {
			origin += " of " + stamp(l.Origin.Timestamp)
		}
	}
	failed := ""
	if !l.LastFailed.IsZero() {
		failed = stamp(l.LastFailed) + ", " + ago(l.LastFailed) + " ago"
	}
	if !l.FirstFailed.IsZero() {
		failed += ", first " + stamp(l.FirstFailed)
	}
	return [][2]string{
		{"id", l.ID},
		{"origin", origin},
		{"group", l.Group},
		{"handler", l.Handler},
		{"reason", string(l.Reason)},
		{"error", errorText(l.ErrorType, l.ErrorMessage)},
		{"code", l.ErrorCode},
		{"attempts", atLeastOne(l.Attempts)},
		{"failed", strings.TrimPrefix(failed, ", ")},
		{"written", stamp(l.Time)},
		{"cause", l.Fingerprint},
		{"generation", atLeastOne(l.Generation)},
		{"redrive", l.RedriveID},
		{"edit of", l.EditOf},
		{"trace", l.Trace},
		{"trouble", l.Trouble},
	}
}

func atLeastOne(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func writeRecord(to io.Writer, r *kgo.Record) {
	fmt.Fprintf(to, "key      %s\n", payload(r.Key))
	for _, h := range r.Headers {
		fmt.Fprintf(to, "header   %s: %s\n", terminal.Printable(h.Key), payload(h.Value))
	}
	fmt.Fprintf(to, "value    %s\n", payload(r.Value))
}

// maxShown is how much of a value is shown.
const maxShown = 4 << 10

// payload is bytes for people.
func payload(b []byte) string {
	if b == nil {
		return "null"
	}
	more := ""
	if len(b) > maxShown {
		b, more = b[:maxShown], fmt.Sprintf(" … (%s bytes in all)", terminal.Count(int64(len(b))))
		for n := 0; n < utf8.UTFMax && !utf8.Valid(b) && utf8.Valid(b[:len(b)-n]); n++ {
			b = b[:len(b)-n]
		}
	}
	if utf8.Valid(b) {
		return terminal.Printable(string(b)) + more
	}
	return fmt.Sprintf("0x%x%s", b, more)
}
