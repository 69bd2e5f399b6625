package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/terminal"
)

const dlqExportLong = `export writes the letters of QUEUE that fit as JSON, one a line, with their values:
  {"topic":…,"partition":…,"offset":…,"timestamp":…,"key":…,"value":…,"headers":[[…,…]],
   "letter":{"id":…,"dialect":…,"state":…,"origin":{…},"error_message":…,"fingerprint":…}}
Key and value that are not UTF-8 are key_b64 and value_b64, and such a header is a triple that
ends with "b64". Times are in ms since 1970. Values of pointers are not fetched.

` + filterHelp + `

Exit codes: 0 all written, 1 there is no such queue, the cluster did not answer or the output
took no more; 2 usage, 130 interrupted. What was written up to then is whole lines.`

func dlqExportCommand(environ []string) (*cobra.Command, error) {
	o := &inspecting{}
	cmd := &cobra.Command{
		Use: "export QUEUE", Short: "Write dead letters as JSON, one a line", Long: dlqExportLong, Args: wants("QUEUE"),
		Example: "  duplex dlq export dlq.billing.orders > letters.ndjson\n  duplex dlq export dlq.billing.orders -G 'reason=undecodable' | jq -r .letter.error_message",
	}
	err := o.addFlags(cmd, true, false)
	cmd.ValidArgsFunction = completion(environ, 1, queueNames)
	cmd.RunE = o.body(environ, func(cmd *cobra.Command, i *dlq.Inspector, f dlq.Filter, args []string) error {
		out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
		tell, end := progress(cmd.ErrOrStderr())
		scanned, err := i.Export(cmd.Context(), args[0], dlq.ScanConfig{Filter: f, Progress: tell}, out)
		end()
		if err = errors.Join(err, out.Flush()); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "duplex: %s\n", said(scanned))
		return nil
	})
	return cmd, err
}

const dlqTailLong = `tail shows the last letters of QUEUE and then those that come, one a line, until it is
interrupted.

` + filterHelp + `

Exit codes: 0 ended with --follow=false, 1 there is no such queue or the cluster did not
answer, 2 usage, 130 interrupted.`

// maxTail bounds what is looked back at.
const maxTail = 1000

type dlqTail struct {
	inspecting
	last   int
	follow bool
	every  time.Duration
}

func dlqTailCommand(environ []string) (*cobra.Command, error) {
	o := &dlqTail{every: time.Second}
	cmd := &cobra.Command{
		Use: "tail QUEUE", Short: "Show dead letters as they come", Long: dlqTailLong, Args: wants("QUEUE"),
		Example: "  duplex dlq tail dlq.billing.orders\n  duplex dlq tail dlq.billing.orders -n 100 --follow=false -G 'reason=panic'",
	}
	cmd.Flags().IntVarP(&o.last, "last", "n", 10, "how many of the letters that are there to show at most; of each partition, no more are looked at")
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", true, "go on with those that come")
	err := o.addFlags(cmd, true, true)
	cmd.ValidArgsFunction = completion(environ, 1, queueNames)
	cmd.RunE = o.body(environ, func(cmd *cobra.Command, i *dlq.Inspector, f dlq.Filter, args []string) error {
		if o.last < 0 || o.last > maxTail {
			return command.UsageError(fmt.Errorf("--last %d: want a number from 0 to %d", o.last, maxTail))
		}
		return o.tail(cmd.Context(), cmd, i, f, args[0])
	})
	return cmd, err
}

func (o *dlqTail) tail(ctx context.Context, cmd *cobra.Command, i *dlq.Inspector, f dlq.Filter, queue string) error {
	before, err := o.back(ctx, cmd, i, f, queue)
	if err != nil {
		return err
	}
	for o.follow {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(o.every):
		}
		scanned, err := i.Scan(ctx, queue, dlq.ScanConfig{From: behind(before), Filter: f, KeepValues: o.json}, func(l *dlq.Letter) error { return o.write(cmd, l) })
		if err != nil {
			return err
		}
		if n := scanned.Total().Expired; n > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "duplex: %s letters were deleted before they could be read\n", terminal.Count(n))
		}
		if scanned.TopicID != before.TopicID {
			return fmt.Errorf("dlq: following %q: it was deleted and made again: begin anew", queue)
		}
		before = scanned
	}
	return nil
}

// behind is where the next scan begins.
func behind(s dlq.Scanned) map[int32]int64 {
	next := map[int32]int64{}
	for _, p := range s.Partitions {
		next[p.Partition] = p.Next
	}
	return next
}

// back shows the letters that are there and came last.
func (o *dlqTail) back(ctx context.Context, cmd *cobra.Command, i *dlq.Inspector, f dlq.Filter, queue string) (dlq.Scanned, error) {
	last := int64(o.last)
	if last == 0 {
		last = -1 // none of those
	}
	var letters []*dlq.Letter
	scanned, err := i.Scan(ctx, queue, dlq.ScanConfig{Last: last, Filter: f, KeepValues: o.json}, func(l *dlq.Letter) error {
		letters = append(letters, l.Clone())
		return nil
	})
	if err != nil {
		return scanned, err
	}
	slices.SortStableFunc(letters, func(a, b *dlq.Letter) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Partition, b.Partition))
	})
	for _, l := range letters[max(0, len(letters)-o.last):] {
		if err := o.write(cmd, l); err != nil {
			return scanned, err
		}
	}
	return scanned, nil
}

// write shows one letter on a line.
func (o *dlqTail) write(cmd *cobra.Command, l *dlq.Letter) error {
	if o.json {
		line, err := dlq.AppendLine(nil, l)
		if err == nil {
			_, err = cmd.OutOrStdout().Write(line)
		}
		return err
	}
	begin := fmt.Sprintf("%s  %d/%d  %s  ", stamp(l.Time), l.Partition, l.Offset, orDash(l.Origin.Topic))
	text := errorText(orDash(string(l.Reason))+" "+l.ErrorType, l.ErrorMessage)
	most := 200
	if width := terminal.Width(cmd.OutOrStdout()); width > 0 {
		most = max(16, width-len(begin))
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), begin+oneLine(text, most))
	return err
}
