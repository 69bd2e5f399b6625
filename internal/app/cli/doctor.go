package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/terminal"
)

const doctorLong = `doctor looks at the way to the cluster and at what messaging needs there, and says what to
do about what is not as it should be:
  ✓ as it should be    ! works, and may do harm one day    ✗ does not work

It looks at where the settings come from, at each broker (its name, the connection, the
certificate and when that ends, the credentials), those that the cluster names too: a
program has to reach them all. Then at versions, partitions without a leader or with too
few replicas in sync, topics that make themselves, what new topics get, and dead-letter
topics that lose what is in them. With --topic and --group also at what these settings may
do there.

It asks only: it writes nothing, joins no group, and makes no topic.

--json prints an object: "ok", and "findings", each with "check", "state" (ok, warning,
problem), "text" and "fix".

Exit codes: 0 all is well, or works in spite of warnings, 1 something does not work,
2 usage, 130 interrupted.`

const doctorExamples = `  duplex doctor
  duplex doctor -C prod --topic orders --group billing
  duplex doctor --json | jq '.findings[] | select(.state != "ok")'`

// The states of findings.
const (
	stateOK      = "ok"
	stateWarning = "warning"
	stateProblem = "problem"
)

// finding is what was seen of one thing.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"`
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"`
}

// checkup is one run of doctor.
type checkup struct {
	flags        *config.ClusterFlags
	timeout      time.Duration
	json         bool
	topic, group string

	cmd      *cobra.Command
	cluster  duplex.Cluster
	client   *kgo.Client
	admin    *kadm.Client
	metadata kadm.Metadata
	findings []finding
}

func doctorCommand(environ []string) (*cobra.Command, error) {
	d := &checkup{}
	cmd := &cobra.Command{Use: "doctor", Short: "Look at the way to the cluster, and at what messaging needs there", Long: doctorLong, Example: doctorExamples, Args: cobra.NoArgs}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&d.topic, "topic", "t", "", "also look at what may be done with this `topic`")
	flags.StringVarP(&d.group, "group", "g", "", "also look at what may be done with this `group`")
	flags.BoolVar(&d.json, "json", false, "print JSON")
	flags.DurationVar(&d.timeout, "timeout", 10*time.Second, "how long each broker, and then the cluster, may take to answer")
	var err error
	d.flags, err = config.AddClusterFlags(flags, "duplex-doctor")
	config.AddFlags(flags)
	err = errors.Join(err, cmd.RegisterFlagCompletionFunc("topic", flagCompletion(environ, topicNames)),
		cmd.RegisterFlagCompletionFunc("group", flagCompletion(environ, groupNames)))
	cmd.RunE = command.Body(environ, func(cmd *cobra.Command, _ []string) error { return d.run(cmd) })
	return cmd, err
}

func (d *checkup) run(cmd *cobra.Command) error {
	switch {
	case d.timeout <= 0:
		return command.UsageError(fmt.Errorf("--timeout %s: must be positive", d.timeout))
	case d.topic != "" && duplex.ValidateTopicName(d.topic) != nil:
		return command.UsageError(fmt.Errorf("--topic: %w", duplex.ValidateTopicName(d.topic)))
	}
	d.cmd, d.cluster = cmd, d.flags.Cluster()
	if err := d.look(cmd.Context()); err != nil {
		return err
	}
	return d.conclude(stateProblem)
}

// conclude prints what was found, for programs, and fails if there is a finding in one of the
// states.
func (d *checkup) conclude(failing ...string) error {
	failed := slices.ContainsFunc(d.findings, func(f finding) bool { return slices.Contains(failing, f.State) })
	if d.json {
		err := printJSON(d.cmd.OutOrStdout(), struct {
			OK       bool      `json:"ok"`
			Findings []finding `json:"findings"`
		}{!failed, d.findings})
		if err != nil {
			return err
		}
	}
	if failed {
		return command.ErrFailed
	}
	return nil
}

// look looks at everything that can be reached.
func (d *checkup) look(ctx context.Context) error {
	if !d.lookAtSettings() || !d.lookAtWay(ctx) {
		return context.Cause(ctx)
	}
	client, err := kafka.NewClient(d.cluster, nil)
	if err != nil {
		return command.UsageError(err)
	}
	defer client.Close()
	d.client, d.admin = client, kadm.NewClient(client)
	bounded, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	if !d.lookAtCluster(bounded) {
		return context.Cause(ctx)
	}
	for _, check := range []func(context.Context){
		d.lookAtAdvertised, d.lookAtVersions, d.lookAtPartitions, d.lookAtDefaults, d.lookAtDeadLetters, d.lookAtTopic, d.lookAtGroup,
	} {
		bounded, cancel := context.WithTimeout(ctx, d.timeout)
		check(bounded)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// say notes a finding, and shows it where a person looks on.
func (d *checkup) say(f finding) {
	d.findings = append(d.findings, f)
	if d.json {
		return
	}
	text := f.Text
	if f.Fix != "" {
		text += ": " + f.Fix
	}
	mark := map[string]string{stateOK: "✓", stateWarning: "!", stateProblem: "✗"}[f.State]
	fmt.Fprintf(d.cmd.OutOrStdout(), "%s %-12s %s\n", mark, f.Check, terminal.Printable(text))
}

func (d *checkup) ok(check, format string, args ...any) {
	d.say(finding{Check: check, State: stateOK, Text: fmt.Sprintf(format, args...)})
}

func (d *checkup) warn(check, fix, format string, args ...any) {
	d.say(finding{Check: check, State: stateWarning, Text: fmt.Sprintf(format, args...), Fix: fix})
}

func (d *checkup) wrong(check, fix, format string, args ...any) {
	d.say(finding{Check: check, State: stateProblem, Text: fmt.Sprintf(format, args...), Fix: fix})
}

// failed notes an error of the cluster, with the hint that it has before fix.
func (d *checkup) failed(check, fix string, err error) {
	if e, ok := errors.AsType[*duplex.Error](err); ok {
		if fix != "" && e.Hint != "" {
			fix = "; " + fix
		}
		fix, err = e.Hint+fix, e.Err
	}
	d.wrong(check, fix, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
}
