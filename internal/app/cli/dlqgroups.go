package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/terminal"
)

const dlqGroupsLong = `groups reads QUEUE and shows which of its letters have one cause, by their fingerprints, those
with the most open letters first.

OPEN are those that nobody has brought back or discarded, of ALL that fit. FIRST and LAST
are how long ago the first failed first and the last one last. LOST IN is how long the
queue keeps the oldest open one at least from now on. CAUSE is how the fingerprint begins,
to filter by, and SAMPLE the place of one letter, to show:
  duplex dlq export dlq.billing.orders -G fingerprint=9f2c41d0
  duplex dlq show dlq.billing.orders 3/42

` + filterHelp + `

Exit codes: 0 shown, also where there is none, 1 there is no such queue or the cluster did
not answer, 2 usage, 130 interrupted.`

type dlqGroups struct {
	inspecting
	most int
}

func dlqGroupsCommand(environ []string) (*cobra.Command, error) {
	o := &dlqGroups{}
	cmd := &cobra.Command{
		Use: "groups QUEUE", Short: "Group dead letters by cause", Long: dlqGroupsLong, Args: wants("QUEUE"),
		Example: "  duplex dlq groups dlq.billing.orders\n  duplex dlq groups orders-dlt -G 'age<1h state=open' --json",
	}
	cmd.Flags().IntVarP(&o.most, "most", "n", 20, "how many causes to show; 0 for all")
	err := o.addFlags(cmd, true, true)
	cmd.ValidArgsFunction = completion(environ, 1, queueNames)
	cmd.RunE = o.body(environ, func(cmd *cobra.Command, i *dlq.Inspector, f dlq.Filter, args []string) error {
		if o.most < 0 {
			return command.UsageError(fmt.Errorf("--most %d: must not be negative", o.most))
		}
		tell, end := progress(cmd.ErrOrStderr())
		causes, err := i.Causes(cmd.Context(), args[0], dlq.CausesConfig{Filter: f, Progress: tell})
		end()
		if err != nil {
			return err
		}
		return o.write(cmd, causes)
	})
	return cmd, err
}

// causeJSON is a cause for programs.
type causeJSON struct {
	Fingerprint string     `json:"fingerprint"`
	Count       int64      `json:"count"`
	Open        int64      `json:"open"`
	First       *string    `json:"first"`
	Last        *string    `json:"last"`
	Oldest      *string    `json:"oldest"`
	TimeToLoss  *int64     `json:"time_to_loss_ms"`
	Reason      dlq.Reason `json:"reason"`
	ErrorType   string     `json:"error_type"`
	Message     string     `json:"error_message"`
	Origins     []string   `json:"origins"`
	Groups      []string   `json:"groups"`
	Handlers    []string   `json:"handlers"`
	Generations []int      `json:"generations"`
	Sample      string     `json:"sample"` // its place
}

// causesJSON is what groups prints for programs.
type causesJSON struct {
	Queue  string      `json:"queue"`
	Causes []causeJSON `json:"causes"`
	Other  struct {
		Count int64 `json:"count"`
		Open  int64 `json:"open"`
	} `json:"other"` // of causes that are not shown
	Scanned scannedJSON `json:"scanned"`
}

func (o *dlqGroups) write(cmd *cobra.Command, all dlq.Causes) error {
	shown, count, open := all.All, all.OtherCount, all.OtherOpen
	if o.most > 0 && len(shown) > o.most {
		for _, c := range shown[o.most:] {
			count, open = count+c.Count, open+c.Open
		}
		shown = shown[:o.most]
	}
	if o.json {
		out := causesJSON{Queue: all.Scanned.Topic, Causes: []causeJSON{}, Scanned: scannedAsJSON(all.Scanned)}
		out.Other.Count, out.Other.Open = count, open
		for n := range shown {
			out.Causes = append(out.Causes, causeAsJSON(&shown[n]))
		}
		return printJSON(cmd.OutOrStdout(), out)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "duplex: %s\n", said(all.Scanned))
	if len(shown) == 0 {
		return nil
	}
	rows := [][]string{{"CAUSE", "OPEN", "ALL", "FIRST", "LAST", "LOST IN", "SAMPLE", "ERROR"}}
	for n := range shown {
		c := &shown[n]
		rows = append(rows, []string{
			fingerprintOf(c), strconv.FormatInt(c.Open, 10), strconv.FormatInt(c.Count, 10), ago(c.First), ago(c.Last), span(c.TimeToLoss), placeOf(&c.Sample),
			errorText(orDash(string(c.Reason))+" "+c.ErrorType, c.Message),
		})
	}
	err := fitted(cmd.OutOrStdout(), rows)
	if err == nil && count > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "duplex: %s letters more, %s open, of causes that are not shown: see --most\n", terminal.Count(count), terminal.Count(open))
	}
	return err
}

// fingerprintOf is as much of a fingerprint as nearly always tells it from others.
func fingerprintOf(c *dlq.Cause) string {
	text := strings.TrimPrefix(c.Fingerprint, "v1:")
	return orDash(text[:min(len(text), 8)])
}

func placeOf(l *dlq.Letter) string { return fmt.Sprintf("%d/%d", l.Partition, l.Offset) }

func causeAsJSON(c *dlq.Cause) causeJSON {
	return causeJSON{
		Fingerprint: c.Fingerprint, Count: c.Count, Open: c.Open, First: stampJSON(c.First), Last: stampJSON(c.Last), Oldest: stampJSON(c.Oldest),
		TimeToLoss: millisJSON(c.TimeToLoss), Reason: c.Reason, ErrorType: c.ErrorType, Message: c.Message,
		Origins: append([]string{}, c.Origins...), Groups: append([]string{}, c.Groups...), Handlers: append([]string{}, c.Handlers...),
		Generations: append([]int{}, c.Generations...), Sample: placeOf(&c.Sample),
	}
}
