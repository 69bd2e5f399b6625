package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/commitmeta"
	"github.com/duplex-go/duplex/internal/kafka"
)

const seekLong = `seek has GROUP go on elsewhere in a topic, when it is started again.

  --to start                  the oldest record that is kept
  --to end                    behind the newest
  --to 42                     offset 42
  --to 2026-01-02T15:04:05Z   the first record from that time on (RFC 3339)
  --to @1767366245000         the same, in milliseconds since 1970
  --to -1h                    the first record of the last hour

It shows what would change: how many records the group skips, and how many it has again.
A person at a terminal is asked then; anybody else gives --yes, or is refused. What was
finished ahead, or waited for another attempt, is forgotten where a partition moves. The
group's retry topics stay where they are, unless --topic names one.

A group with members is refused: stop them first. A running Duplex consumer moves itself,
by Consumer.Seek and Consumer.SeekTime.

What is moved is said by arguments and flags only: DUPLEX_TOPIC, DUPLEX_TO,
DUPLEX_PARTITION and DUPLEX_YES are not read.

Exit codes: 0 moved, or nothing to move; 1 there is no such group, topic or offset, or the
cluster did not answer; 2 usage; 4 refused, since the group has members, nobody said yes, or
the settings are read-only; 130 interrupted.`

const seekExamples = `  duplex group seek billing --topic orders --to -1h --dry-run
  duplex group seek billing --topic orders --to start --yes
  duplex group seek billing --topic orders --partition 3 --to 1042`

type seekOptions struct {
	asking
	topic       string
	to          string
	partitions  []int32
	yes, dryRun bool
}

func seekCommand(environ []string) (*cobra.Command, error) {
	o := &seekOptions{}
	cmd := &cobra.Command{
		Use: "seek GROUP --topic T --to WHERE", Short: "Have a group go on elsewhere in a topic",
		Long: seekLong, Example: seekExamples, Args: wants("GROUP"),
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&o.topic, "topic", "t", "", "`topic` in which the group moves (required)")
	flags.StringVar(&o.to, "to", "", "`where` to go on, see above (required)")
	flags.Int32SliceVarP(&o.partitions, "partition", "p", nil, "move this `partition` only; repeatable (default: all)")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	flags.BoolVarP(&o.dryRun, "dry-run", "n", false, "show what would change, and change nothing")
	cmd.ValidArgsFunction = completion(environ, 1, groupNames)
	err := errors.Join(o.addFlags(cmd, "duplex-group"), cmd.RegisterFlagCompletionFunc("topic", completion(environ, mostCompletions, topicNames)))
	cmd.RunE = command.Body(without(environ, "DUPLEX_TOPIC", "DUPLEX_TO", "DUPLEX_PARTITION", "DUPLEX_YES"), func(cmd *cobra.Command, args []string) error {
		to, err := parseTarget(o.to, time.Now())
		if err := errors.Join(o.validate(), err); err != nil {
			return command.UsageError(err)
		}
		if !o.dryRun {
			if err := o.cluster.Writes("group: seeking for group " + args[0]); err != nil {
				return err
			}
		}
		return o.run(cmd, "group", func(ctx context.Context, cmd *cobra.Command, client *kgo.Client) error {
			return o.seek(ctx, cmd, client, args[0], to)
		})
	})
	return cmd, err
}

func (o *seekOptions) validate() error {
	var errs []error
	if o.topic == "" {
		errs = append(errs, errors.New("--topic is missing: name the topic in which the group moves"))
	} else if err := duplex.ValidateTopicName(o.topic); err != nil {
		errs = append(errs, fmt.Errorf("--topic: %w", err))
	}
	for _, p := range o.partitions {
		if p < 0 {
			errs = append(errs, fmt.Errorf("--partition %d: must not be negative", p))
		}
	}
	return errors.Join(errs...)
}

// target is where to go on: at the start, the end, an offset, or a time.
type target struct {
	start, end bool
	offset     int64
	at         time.Time // the zero time if it is not one
}

// lastMilli is the last millisecond of a time that counts: of the year 9999.
const lastMilli = 253402300799999

func parseTarget(text string, now time.Time) (t target, err error) {
	millis, isMillis := strings.CutPrefix(text, "@")
	switch {
	case text == "":
		return t, errors.New("--to is missing: want start, end, an offset, or a time")
	case text == "start":
		return target{start: true}, nil
	case text == "end":
		return target{end: true}, nil
	case isMillis:
		n, err := strconv.ParseInt(millis, 10, 64)
		if err != nil || n < 0 || n > lastMilli {
			return t, fmt.Errorf("--to %q: want milliseconds since 1970 behind the @", text)
		}
		t.at = time.UnixMilli(n)
	case strings.Trim(text, "0123456789") == "":
		if t.offset, err = strconv.ParseInt(text, 10, 64); err != nil {
			return t, fmt.Errorf("--to %s: is larger than any offset, %d", text, int64(math.MaxInt64))
		}
		return t, nil
	case strings.HasPrefix(text, "-"):
		ago, err := time.ParseDuration(text[1:])
		if err != nil || ago < 0 {
			return t, fmt.Errorf("--to %q: want how long ago, such as -90m", text)
		}
		t.at = now.Add(-ago)
	default:
		if t.at, err = time.Parse(time.RFC3339, text); err != nil {
			return t, fmt.Errorf("--to %q: want start, end, an offset, a time such as 2026-01-02T15:04:05Z or @1767366245000, or -1h", text)
		}
	}
	switch {
	case t.at.After(now):
		return t, fmt.Errorf("--to %s: that time is to come: what is written until then is not known; --to end is behind the newest record", text)
	case t.at.UnixMilli() < 0:
		return t, fmt.Errorf("--to %s: that is before 1970; --to start is the oldest record", text)
	}
	return t, nil
}

// move is what a seek does to a partition.
type move struct {
	Partition int32 `json:"partition"`
	From      int64 `json:"from"` // −1 without an offset
	To        int64 `json:"to"`
	// Skipped are records that are not finished and never will be, Repeated ones that are
	// and will be handled again. Waiting are those of the skipped that failed and wait.
	Skipped  int64 `json:"skipped"`
	Repeated int64 `json:"repeated"`
	Waiting  int   `json:"waiting"`
	Start    int64 `json:"start"`
	End      int64 `json:"end"`

	metadata string // to commit
}

func (m *move) changes() bool { return m.From != m.To }

// moved is what seek prints as JSON.
type moved struct {
	Group      string `json:"group"`
	Topic      string `json:"topic"`
	Applied    bool   `json:"applied"`
	Partitions []move `json:"partitions"`
}

func (o *seekOptions) seek(ctx context.Context, cmd *cobra.Command, client *kgo.Client, name string, to target) error {
	v, err := findGroup(ctx, client, name)
	if err != nil {
		return err
	}
	op := fmt.Sprintf("group: seeking in topic %q for group %q", o.topic, name)
	if err := v.atRest(op); err != nil {
		return err
	}
	moves, err := o.plan(ctx, client, name, to)
	if err != nil {
		return err
	}
	result := moved{Group: name, Topic: o.topic, Partitions: moves}
	changing := slices.DeleteFunc(slices.Clone(moves), func(m move) bool { return !m.changes() })
	if !o.json {
		if err := writeMoves(cmd.OutOrStdout(), o.topic, moves); err != nil {
			return err
		}
	}
	switch {
	case len(changing) == 0:
		fmt.Fprintf(cmd.ErrOrStderr(), "duplex: nothing to move: the group is there already\n")
	case o.dryRun:
		fmt.Fprintf(cmd.ErrOrStderr(), "duplex: --dry-run: %d partitions would move, nothing was changed\n", len(changing))
	default:
		if err := o.apply(ctx, cmd, client, op, name, changing); err != nil {
			return err
		}
		result.Applied = true
		fmt.Fprintf(cmd.ErrOrStderr(), "duplex: moved %d partitions\n", len(changing))
	}
	if o.json {
		return printJSON(cmd.OutOrStdout(), result)
	}
	return nil
}

// atRest refuses a group that has members: they would go on where they are, and commit over
// what is set here.
func (v *groupView) atRest(op string) error {
	if len(v.Members) == 0 && v.State == stateEmpty {
		return nil
	}
	who := "members are joining it"
	if len(v.Members) > 0 {
		m := v.Members[0]
		who = fmt.Sprintf("%d members, such as %s at %s", len(v.Members), cmp.Or(short(m.ClientID), "one without a name"), short(m.Host))
	}
	hint := "stop them all, wait until duplex group describe shows none, and try again; a running Duplex consumer moves itself by Consumer.Seek"
	if slices.ContainsFunc(v.Members, func(m groupMember) bool { return m.InstanceID != "" }) {
		hint += "; a member with an instance id goes only when its session times out"
	}
	return &duplex.Error{Op: op, Codes: []duplex.Code{duplex.ErrRefused}, Err: fmt.Errorf("the group is %s: %s", v.State, who), Hint: hint}
}

// plan finds out what would change.
func (o *seekOptions) plan(ctx context.Context, client *kgo.Client, group string, to target) ([]move, error) {
	if err := knownTopic(ctx, client, "group", o.topic); err != nil {
		return nil, err
	}
	admin := kadm.NewClient(client)
	of := boundsOf(ctx, admin, []string{o.topic})[o.topic]
	if b, failed := of[-1]; failed {
		return nil, kafka.Explain(fmt.Sprintf("group: asking for the offsets of topic %q", o.topic), b.err)
	}
	numbers := slices.Compact(slices.Sorted(slices.Values(o.partitions)))
	for _, p := range numbers {
		if _, ok := of[p]; !ok {
			return nil, fmt.Errorf("group: seeking in %s/%d: there is no such partition: the topic has 0 to %d", o.topic, p, len(of)-1)
		}
	}
	for p := int32(0); len(o.partitions) == 0 && int(p) < len(of); p++ {
		numbers = append(numbers, p)
	}
	offsets, err := o.offsets(ctx, client, of, to)
	if err != nil {
		return nil, err
	}
	committed, err := admin.FetchOffsets(ctx, group)
	if err != nil {
		return nil, kafka.Explain(fmt.Sprintf("group: asking for the offsets of group %q", group), err)
	}
	var errs []error
	moves := make([]move, len(numbers))
	for i, p := range numbers {
		b := of[p]
		had, ok := committed.Lookup(o.topic, p)
		switch err := cmp.Or(b.err, had.Err); {
		case err != nil:
			errs = append(errs, kafka.Explain(fmt.Sprintf("group: asking for the offsets of %s/%d", o.topic, p), err))
		case offsets[p] < b.start || offsets[p] > b.end:
			errs = append(errs, outside(o.topic, p, offsets[p], b))
		case ok:
			moves[i] = newMove(p, had.At, offsets[p], b, had.Metadata)
		default:
			moves[i] = newMove(p, -1, offsets[p], b, "")
		}
	}
	return moves, errors.Join(errs...)
}

// outside is the error for an offset that a partition does not have.
func outside(topic string, partition int32, offset int64, b bounds) error {
	hint := ""
	if offset > 1e12 && offset <= lastMilli {
		hint = fmt.Sprintf("; for a time in milliseconds write --to @%d", offset)
	}
	return fmt.Errorf("group: seeking in %s/%d: it has no offset %d: it begins at %d and ends before %d%s", topic, partition, offset, b.start, b.end, hint)
}

// offsets are where each partition would go on.
func (o *seekOptions) offsets(ctx context.Context, client *kgo.Client, of map[int32]bounds, to target) (map[int32]int64, error) {
	if !to.at.IsZero() {
		return kafka.OffsetsAt(ctx, client, o.topic, to.at)
	}
	offsets := map[int32]int64{}
	for p, b := range of {
		switch {
		case to.start:
			offsets[p] = b.start
		case to.end:
			offsets[p] = b.end
		default:
			offsets[p] = to.offset
		}
	}
	return offsets, nil
}

// newMove says what becomes of records when a partition goes from one offset to another.
func newMove(partition int32, from, to int64, b bounds, metadata string) move {
	m := move{Partition: partition, From: from, To: to, Start: b.start, End: b.end}
	if from < 0 || from == to {
		return m
	}
	beside := readBeside(from, metadata)
	at := max(from, b.start) // what was deleted is neither
	if to > from {
		m.Skipped = max(to-at, 0) - beside.finishedIn(from, at, to)
		m.Repeated = beside.finishedIn(from, to, b.end)
	} else {
		m.Repeated = from - to + beside.finishedIn(from, from, b.end)
	}
	if beside == nil || beside.Text != "" || beside.Error != "" {
		return m
	}
	for _, w := range beside.Waiting {
		if w.Offset < to {
			m.Waiting++
		}
	}
	// Whether anything had begun is not known of where it goes.
	m.metadata = commitmeta.Encode(commitmeta.Meta{Partitions: beside.Begun})
	return m
}

// apply commits the offsets. The cluster refuses them when a member has joined meanwhile.
func (o *seekOptions) apply(ctx context.Context, cmd *cobra.Command, client *kgo.Client, op, group string, moves []move) error {
	if !o.yes {
		question := fmt.Sprintf("Move %d partitions of group %s in topic %s?", len(moves), short(group), o.topic)
		if err := confirm(cmd, op, question); err != nil { //nolint:contextcheck // a person may take longer than the cluster
			return err
		}
	}
	// The time that a person took is not the cluster's, and a commit that was sent is not
	// left without an answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.timeout)
	defer cancel()
	var offsets kadm.Offsets
	for i := range moves {
		m := &moves[i]
		offsets.Add(kadm.Offset{Topic: o.topic, Partition: m.Partition, At: m.To, LeaderEpoch: -1, Metadata: m.metadata})
	}
	resp, err := kadm.NewClient(client).CommitOffsets(ctx, group, offsets)
	if err == nil {
		err = resp.Error()
	}
	if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.StaleMemberEpoch) {
		return &duplex.Error{Op: op, Codes: []duplex.Code{duplex.ErrRefused}, Err: err, Hint: "a member has joined the group meanwhile: stop it, and try again"}
	}
	return kafka.Explain(op, err)
}

// knownTopic says of a topic that there is not which one is nearest.
func knownTopic(ctx context.Context, client *kgo.Client, op, topic string) error {
	_, err := kafka.Topics(ctx, client, op, topic)
	if !errors.Is(err, duplex.ErrUnknownTopic) {
		return err
	}
	all, listErr := kadm.NewClient(client).ListTopics(ctx)
	return unknownName(op, "topic", topic, all.Names(), kafka.Explain(op+": listing topics", listErr))
}

func writeMoves(to io.Writer, topic string, moves []move) error {
	return table(to, "", func(row func(cells ...any)) {
		row("PARTITION", "FROM", "TO", "START", "END", "CHANGE")
		for i := range moves {
			m := &moves[i]
			row(fmt.Sprintf("%s/%d", topic, m.Partition), known(m.From), m.To, m.Start, m.End, m.change())
		}
	})
}

// change says what a move does in a few words.
func (m *move) change() string {
	switch {
	case !m.changes():
		return "stays"
	case m.From < 0:
		return "has no offset yet"
	}
	words := []string{}
	if m.Skipped > 0 {
		words = append(words, fmt.Sprintf("%d skipped", m.Skipped))
	}
	if m.Waiting > 0 {
		words = append(words, fmt.Sprintf("%d of them waiting", m.Waiting))
	}
	if m.Repeated > 0 {
		words = append(words, fmt.Sprintf("%d repeated", m.Repeated))
	}
	if len(words) == 0 {
		return "only what was deleted is skipped"
	}
	return strings.Join(words, ", ")
}
