package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/terminal"
)

const dlqLsLong = `ls lists the dead-letter queues of the cluster, which it knows by their names: dlq.*,
*-dlt, *.DLT, *-dlq, *.dlq, dead-letter-topic-*. TOPIC names others besides.

LETTERS are in the log. OPEN are those of them that nobody has brought back or discarded.
OLDEST is when the oldest open one was written, LOST IN how long the queue keeps it at
least from now on; a dash where nothing is deleted for its age.

Exit codes: 0 listed, 1 the cluster did not answer or not all is known, 2 usage,
130 interrupted.`

func dlqLsCommand(environ []string) (*cobra.Command, error) {
	o := &inspecting{}
	cmd := &cobra.Command{
		Use: "ls [TOPIC...]", Short: "List dead-letter queues", Long: dlqLsLong,
		Example: "  duplex dlq ls\n  duplex dlq ls --json | jq '.[] | select(.open > 0)'",
	}
	err := o.addFlags(cmd, false, true)
	cmd.ValidArgsFunction = completion(environ, mostCompletions, topicNames)
	cmd.RunE = o.body(environ, func(cmd *cobra.Command, i *dlq.Inspector, _ dlq.Filter, args []string) error {
		queues, err := i.Queues(cmd.Context(), args...)
		if err != nil {
			return err
		}
		return o.list(cmd, queues)
	})
	return cmd, err
}

// queueJSON is a queue for programs. Times and durations that there are none of are null.
type queueJSON struct {
	Topic         string  `json:"topic"`
	Partitions    int     `json:"partitions"`
	Letters       int64   `json:"letters"`
	Open          int64   `json:"open"`
	Oldest        *string `json:"oldest"`
	TimeToLoss    *int64  `json:"time_to_loss_ms"`
	Retention     *int64  `json:"retention_ms"`
	CleanupPolicy string  `json:"cleanup_policy"`
	Trouble       string  `json:"trouble,omitempty"`
}

func (o *inspecting) list(cmd *cobra.Command, queues []dlq.Queue) error {
	failed := false
	for _, q := range queues {
		if q.Trouble != "" {
			failed = true
			fmt.Fprintf(cmd.ErrOrStderr(), "duplex: queue %s: %s\n", q.Topic, terminal.Printable(q.Trouble))
		}
	}
	if err := o.writeQueues(cmd, queues); err != nil {
		return err
	}
	if failed {
		return command.ErrFailed
	}
	return nil
}

func (o *inspecting) writeQueues(cmd *cobra.Command, queues []dlq.Queue) error {
	if o.json {
		all := make([]queueJSON, len(queues))
		for n, q := range queues {
			all[n] = queueJSON{
				Topic: q.Topic, Partitions: q.Partitions, Letters: q.Letters, Open: q.Open, Oldest: stampJSON(q.Oldest),
				TimeToLoss: millisJSON(q.TimeToLoss), Retention: millisJSON(q.Retention), CleanupPolicy: q.CleanupPolicy, Trouble: q.Trouble,
			}
		}
		return printJSON(cmd.OutOrStdout(), all)
	}
	if len(queues) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "duplex: no dead-letter queues: no topic has a name like dlq.*, *-dlt, *.DLT, *-dlq, *.dlq or dead-letter-topic-*; name others")
		return nil
	}
	return table(cmd.OutOrStdout(), "", func(row func(cells ...any)) {
		row("QUEUE", "LETTERS", "OPEN", "OLDEST", "LOST IN", "KEPT")
		for _, q := range queues {
			row(q.Topic, q.Letters, q.Open, stamp(q.Oldest), span(q.TimeToLoss), kept(q))
		}
	})
}

// kept is how long a queue keeps letters.
func kept(q dlq.Queue) string {
	text := "for ever"
	if q.Retention >= 0 {
		text = span(q.Retention.Round(time.Second))
	}
	if q.CleanupPolicy != "delete" {
		text += ", " + orDash(q.CleanupPolicy) + "!"
	}
	return text
}
