package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/terminal"
)

const trimLong = `trim deletes from QUEUE what nobody needs any more: in each partition all letters before
the first one that is open, or that was redriven with an outcome that is not known. Kafka
deletes from the beginning of a partition only, so what is closed behind that letter stays.

It reads the whole queue, shows what it would delete, and asks. What is deleted is gone:
'duplex dlq export' keeps it elsewhere. The audit says who did it.

Exit codes: 0 done, or nothing to do; 1 there is no such queue, or the cluster did not
answer, or it refused; 2 usage; 4 a guard refused it: a job of the queue is not over, there
was one meanwhile, nobody said yes, or the settings are read-only; 130 interrupted.`

func trimCommand(environ []string) (*cobra.Command, error) {
	o := &jobOptions{environ: environ}
	cmd := &cobra.Command{
		Use: "trim QUEUE", Short: "Delete letters that nobody needs any more", Long: trimLong, Args: wants("QUEUE"),
		Example: "  duplex dlq trim dlq.billing.orders --dry-run\n  duplex dlq trim dlq.billing.orders --reason 'quarterly' --yes",
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVarP(&o.reason, "reason", "r", "", "why, for the audit")
	o.addConsent(cmd)
	o.addWho(cmd)
	cmd.ValidArgsFunction = completion(environ, 1, queueNames)
	err := o.addFlags(cmd)
	cmd.RunE = command.Body(without(environ, neverFromEnvironment...), func(cmd *cobra.Command, args []string) error {
		if !o.consent.dryRun {
			if err := o.cluster.Writes("dlq: trimming " + args[0]); err != nil {
				return err
			}
		}
		return o.withRedriver(cmd, func(r *dlq.Redriver) error { return o.trim(cmd, r, args[0]) })
	})
	return cmd, err
}

// trimmed is what trim prints for programs.
type trimmed struct {
	*dlq.Trim
	Applied bool `json:"applied"`
}

func (o *jobOptions) trim(cmd *cobra.Command, r *dlq.Redriver, queue string) error {
	tell, done := progress(cmd.ErrOrStderr())
	t, err := r.PlanTrim(cmd.Context(), queue, tell)
	done()
	if err != nil {
		return err
	}
	switch {
	case o.consent.dryRun && o.json:
		return printJSON(cmd.OutOrStdout(), trimmed{Trim: t})
	case o.consent.dryRun:
		return writeTrim(cmd.OutOrStdout(), t)
	case t.Letters > 0:
		if err := o.doTrim(cmd, r, t); err != nil {
			return err
		}
	}
	if o.json {
		return printJSON(cmd.OutOrStdout(), trimmed{t, t.Letters > 0})
	}
	if t.Letters == 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "nothing to trim in %s\n", queue)
		return nil
	}
	fmt.Fprintf(cmd.OutOrStdout(), "deleted %s letters of %s, %s are left\n", terminal.Count(t.Letters), queue, terminal.Count(t.Kept))
	return nil
}

func (o *jobOptions) doTrim(cmd *cobra.Command, r *dlq.Redriver, t *dlq.Trim) error {
	if !o.consent.yes || !o.json {
		if err := writeTrim(cmd.ErrOrStderr(), t); err != nil {
			return err
		}
	}
	if !o.consent.yes {
		question := fmt.Sprintf("To delete these %s letters for good?", terminal.Count(t.Letters))
		if err := confirm(cmd, "dlq: trimming "+t.Queue, question); err != nil {
			return err
		}
	}
	return r.Trim(cmd.Context(), t, o.who(), o.reason)
}

func writeTrim(to io.Writer, t *dlq.Trim) error {
	fmt.Fprintf(to, "trim of %s: %s letters would be deleted, %s stay\n", t.Queue, terminal.Count(t.Letters), terminal.Count(t.Kept))
	return table(to, "  ", func(row func(cells ...any)) {
		row("PARTITION", "FROM", "BEFORE", "LETTERS", "UP TO")
		for _, p := range t.Partitions {
			upTo := "its end"
			if p.First != "" {
				upTo = "a letter that is " + string(p.First)
			}
			row(p.Partition, p.Start, p.Before, p.Letters, upTo)
		}
	})
}
