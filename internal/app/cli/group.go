package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/terminal"
)

const groupLsLong = `ls lists the consumer groups that you may see.

STATE is Kafka's word: Stable where members read, Empty where there are none. LAG is how
many records are not finished, in all topics that the group has to do with: its sources,
and its retry topics, which are not named here.

Exit codes: 0 listed, 1 the cluster did not answer, or not all of it; 2 usage, 130
interrupted.`

const groupDescribeLong = `describe shows the members of GROUP, of both protocols, and how far each partition is.

BESIDE is what Duplex wrote beside the offset: how many records are finished ahead of ones
that are not, and how many failed and wait for their next attempt.

Exit codes: 0 shown, 1 there is no such group or the cluster did not answer, 2 usage,
130 interrupted.`

const groupLagLong = `lag shows how far GROUP is behind: the topics first, with the retry topics of each source
and its dead letters below it, then each partition.

KEPT is how many records a topic holds; for dead letters that is all that is known of them
here. LOST were deleted, by retention or by hand, before the group had come to them.

Exit codes: 0 shown, 1 there is no such group or the cluster did not answer, 2 usage,
130 interrupted. That there is a lag, or a loss, is no failure.`

func groupCommand(environ []string) (*cobra.Command, error) {
	root := command.Group(&cobra.Command{Use: "group", Short: "Look at consumer groups, and move one to other offsets"})
	ls, describe, lag := &asking{}, &asking{}, &asking{}
	lsCmd := &cobra.Command{Use: "ls", Short: "List the groups of a cluster", Long: groupLsLong, Example: "  duplex group ls\n  duplex group ls --json | jq '.[] | select(.lag > 0)'", Args: cobra.NoArgs}
	describeCmd := &cobra.Command{Use: "describe GROUP", Short: "Show the members of a group and what they have", Long: groupDescribeLong, Example: "  duplex group describe billing", Args: wants("GROUP")}
	lagCmd := &cobra.Command{Use: "lag GROUP", Short: "Show how far a group is behind", Long: groupLagLong, Example: "  duplex group lag billing\n  duplex group lag billing --json | jq '.topics[] | {topic, lag}'", Args: wants("GROUP")}
	err := errors.Join(ls.addFlags(lsCmd, "duplex-group"), describe.addFlags(describeCmd, "duplex-group"), lag.addFlags(lagCmd, "duplex-group"))
	lsCmd.RunE = command.Body(environ, func(cmd *cobra.Command, _ []string) error { return ls.run(cmd, "group", ls.listGroups) })
	show := func(a *asking, write func(*groupView, io.Writer) error) func(*cobra.Command, []string) error {
		return command.Body(environ, func(cmd *cobra.Command, args []string) error {
			return a.run(cmd, "group", func(ctx context.Context, cmd *cobra.Command, client *kgo.Client) error {
				return a.showGroup(ctx, cmd, client, args[0], write)
			})
		})
	}
	describeCmd.ValidArgsFunction, lagCmd.ValidArgsFunction = completion(environ, 1, groupNames), completion(environ, 1, groupNames)
	describeCmd.RunE, lagCmd.RunE = show(describe, (*groupView).writeMembers), show(lag, (*groupView).writeLag)
	seek, seekErr := seekCommand(environ)
	root.AddCommand(lsCmd, describeCmd, lagCmd, seek)
	return root, errors.Join(err, seekErr)
}

// groupRow is a group as ls lists it.
type groupRow struct {
	Group    string   `json:"group"`
	State    string   `json:"state"`
	Protocol string   `json:"protocol"`
	Members  int      `json:"members"`
	Topics   []string `json:"topics"`
	Lag      int64    `json:"lag"`
	Lost     int64    `json:"lost"`
	Error    string   `json:"error,omitempty"`

	failed bool // the lag is not known, and not only that of a topic
}

// fewGroups is how many are asked for at once.
const fewGroups = 100

// listGroups is the command ls.
func (a *asking) listGroups(ctx context.Context, cmd *cobra.Command, client *kgo.Client) error {
	listed, listErr := listGroups(ctx, client)
	if listErr != nil && len(listed) == 0 {
		return listErr
	}
	rows := make([]groupRow, 0, len(listed))
	done, end := counting(cmd.ErrOrStderr(), "groups", len(listed))
	for begin := 0; begin < len(listed); begin += fewGroups {
		rows = append(rows, rowsOf(ctx, client, listed[begin:min(begin+fewGroups, len(listed))])...)
		done.Store(int64(len(rows)))
	}
	end()
	if ctx.Err() != nil { // rows would say so each
		return errors.Join(fmt.Errorf("group: listing groups: asked for %d of %d: %w", len(rows), len(listed), context.Cause(ctx)), listErr)
	}
	if err := a.writeGroups(cmd, rows); err != nil || listErr != nil {
		return errors.Join(err, listErr)
	}
	if slices.ContainsFunc(rows, func(g groupRow) bool { return g.failed }) {
		return command.ErrFailed
	}
	return nil
}

func rowsOf(ctx context.Context, client *kgo.Client, listed []listedGroup) []groupRow {
	views := make([]*groupView, len(listed))
	var asked sync.WaitGroup
	for i, g := range listed {
		v := &groupView{Group: g.name, State: g.state, Protocol: g.protocol}
		views[i] = v
		asked.Go(func() {
			if err := v.describe(ctx, client); err != nil && !unknownGroup(err) {
				v.Error = explained("asking for its members", err)
			}
		})
	}
	asked.Wait()
	measure(ctx, kadm.NewClient(client), views)
	rows := make([]groupRow, len(views))
	for i, v := range views {
		rows[i] = groupRow{Group: v.Group, State: v.State, Protocol: v.Protocol, Members: len(v.Members), Topics: []string{}, Lag: v.Lag, Error: v.Error, failed: v.Error != ""}
		for j := range v.Topics {
			rows[i].Lost += v.Topics[j].Lost
			rows[i].Error = cmp.Or(rows[i].Error, v.Topics[j].problem())
			if v.Topics[j].read {
				rows[i].Topics = append(rows[i].Topics, v.Topics[j].Topic)
			}
		}
	}
	return rows
}

func (a *asking) writeGroups(cmd *cobra.Command, groups []groupRow) error {
	if a.json {
		return printJSON(cmd.OutOrStdout(), groups)
	}
	if len(groups) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "duplex: no groups, or no right to see them")
		return nil
	}
	for i := range groups {
		if g := &groups[i]; g.Error != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "duplex: group %s: %s\n", short(g.Group), terminal.Printable(g.Error))
		}
	}
	return table(cmd.OutOrStdout(), "", func(row func(cells ...any)) {
		row("GROUP", "STATE", "PROTOCOL", "MEMBERS", "LAG", "TOPICS")
		for i := range groups {
			g := &groups[i]
			row(short(g.Group), cmp.Or(g.State, "-"), g.Protocol, g.Members, g.Lag, g.sources())
		}
	})
}

// fewTopics is how many topics of a group are named in its row.
const fewTopics = 3

// sources are the topics of a group that are not its own retry topics.
func (g *groupRow) sources() string {
	var names []string
	for _, topic := range g.Topics {
		if kind, _, _ := kindOf(g.Group, topic); kind == kindSource {
			names = append(names, short(topic))
		}
	}
	switch {
	case len(names) == 0:
		return "-"
	case len(names) > fewTopics:
		return strings.Join(names[:fewTopics], " ") + fmt.Sprintf(" and %d more", len(names)-fewTopics)
	default:
		return strings.Join(names, " ")
	}
}

// showGroup is the commands describe and lag.
func (a *asking) showGroup(ctx context.Context, cmd *cobra.Command, client *kgo.Client, name string, write func(*groupView, io.Writer) error) error {
	v, err := findGroup(ctx, client, name)
	if err != nil {
		return err
	}
	measure(ctx, kadm.NewClient(client), []*groupView{v})
	if ctx.Err() != nil {
		return fmt.Errorf("group: asking how far %q is: %w", name, context.Cause(ctx))
	}
	if a.json {
		err = printJSON(cmd.OutOrStdout(), v)
	} else {
		v.warn(cmd.ErrOrStderr())
		err = write(v, cmd.OutOrStdout())
	}
	if err == nil && v.Error != "" {
		return fmt.Errorf("group: asking for group %q: %s", name, v.Error)
	}
	return err
}

// problem is the first thing that is not known of a topic.
func (t *groupTopic) problem() string {
	if t.Error != "" {
		return fmt.Sprintf("topic %s: %s", t.Topic, t.Error)
	}
	for i := range t.Partitions {
		if p := &t.Partitions[i]; p.Error != "" {
			return fmt.Sprintf("%s/%d: %s", t.Topic, p.Partition, p.Error)
		}
	}
	return ""
}

// warn says what is not known, and what is lost.
func (v *groupView) warn(to io.Writer) {
	for i := range v.Topics {
		t := &v.Topics[i]
		if problem := t.problem(); problem != "" {
			fmt.Fprintf(to, "duplex: %s\n", terminal.Printable(problem))
		}
		for j := range t.Partitions {
			if p := &t.Partitions[j]; p.Lost > 0 {
				fmt.Fprintf(to, "duplex: %s/%d lost records: %d were deleted before the group had come to them: it is at %d, and the oldest that is kept is %d\n",
					short(t.Topic), p.Partition, p.Lost, p.Committed, p.Start)
			}
		}
	}
}

func (v *groupView) writeHead(to io.Writer) {
	protocol := v.Protocol
	if v.Assignor != "" {
		protocol += ", " + short(v.Assignor)
	}
	fmt.Fprintf(to, "%s: %s, %s, %d members, lag %d\n", short(v.Group), v.State, protocol, len(v.Members), v.Lag)
}

// writeMembers is what describe shows.
func (v *groupView) writeMembers(to io.Writer) error {
	v.writeHead(to)
	if len(v.Members) > 0 {
		err := table(to, "  ", func(row func(cells ...any)) {
			row("MEMBER", "CLIENT", "HOST", "INSTANCE", "PARTITIONS")
			for i := range v.Members {
				m := &v.Members[i]
				row(short(m.ID), cmp.Or(short(m.ClientID), "-"), cmp.Or(short(m.Host), "-"), cmp.Or(short(m.InstanceID), "-"), m.has())
			}
		})
		if err != nil {
			return err
		}
	}
	return table(to, "  ", func(row func(cells ...any)) {
		row("PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "BESIDE")
		for i := range v.Topics {
			if t := &v.Topics[i]; t.read {
				for j := range t.Partitions {
					p := &t.Partitions[j]
					row(fmt.Sprintf("%s/%d", short(t.Topic), p.Partition), known(p.Committed), p.End, p.Lag, cmp.Or(short(p.Member), "-"), cmp.Or(p.Beside.String(), "-"))
				}
			}
		}
	})
}

// writeLag is what lag shows.
func (v *groupView) writeLag(to io.Writer) error {
	v.writeHead(to)
	err := table(to, "  ", func(row func(cells ...any)) {
		row("TOPIC", "WHAT", "PARTITIONS", "LAG", "KEPT", "LOST")
		for i := range v.Topics {
			t := &v.Topics[i]
			lag := any("-")
			if t.read {
				lag = t.Lag
			}
			row(short(t.Topic), t.title(), len(t.Partitions), lag, t.Kept, t.Lost)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(to)
	return table(to, "  ", func(row func(cells ...any)) {
		row("PARTITION", "START", "COMMITTED", "END", "LAG", "LOST")
		for i := range v.Topics {
			if t := &v.Topics[i]; t.read {
				for j := range t.Partitions {
					p := &t.Partitions[j]
					row(fmt.Sprintf("%s/%d", short(t.Topic), p.Partition), p.Start, known(p.Committed), p.End, p.Lag, p.Lost)
				}
			}
		}
	})
}
