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
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/terminal"
)

const dlqDoctorLong = `doctor says what is wrong with QUEUE, one line each, and what to do:

  cleanup        it is compacted: of the letters of one key only the last is kept
  retention      letters are kept for less than a week, or for less long than their source
  replicas       it has one replica, of several brokers
  partitions     it has fewer partitions than its source
  redrive        the redrive topic of its group is not there
  state          the topic that says what was done is not compacted, has partitions, or is
                 not there although there were jobs
  origin         open letters do not say where they came from
  rights         its settings may not be asked for

'duplex doctor' looks at the queues of a whole cluster, and does not read them.

Exit codes: 0 nothing is wrong, 1 there are findings, there is no such queue, or the cluster
did not answer, 2 usage, 130 interrupted.`

func dlqDoctorCommand(environ []string) (*cobra.Command, error) {
	o := &inspecting{}
	cmd := &cobra.Command{
		Use: "doctor QUEUE", Short: "Say what is wrong with a queue", Long: dlqDoctorLong, Args: wants("QUEUE"),
		Example: "  duplex dlq doctor dlq.billing.orders\n  duplex dlq doctor dlq.billing.orders --json | jq -r '.findings[].fix'",
	}
	err := o.addFlags(cmd, false, true)
	cmd.ValidArgsFunction = completion(environ, 1, queueNames)
	cmd.RunE = o.body(environ, func(cmd *cobra.Command, i *dlq.Inspector, _ dlq.Filter, args []string) error {
		d := &checkup{cmd: cmd, cluster: o.cluster.Cluster(), timeout: o.timeout, json: o.json}
		if err := d.examineQueue(cmd.Context(), i, args[0]); err != nil {
			return err
		}
		return d.conclude(stateWarning, stateProblem)
	})
	return cmd, err
}

// examineQueue looks at one queue.
func (d *checkup) examineQueue(ctx context.Context, i *dlq.Inspector, queue string) (err error) {
	if d.client, err = kafka.NewClient(d.cluster, nil); err != nil {
		return command.UsageError(err)
	}
	defer d.client.Close()
	if err := kafka.Reach(ctx, d.client, "dlq", d.timeout); err != nil {
		return err
	}
	d.admin = kadm.NewClient(d.client)
	bounded, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	if _, err := kafka.Topics(bounded, d.client, "dlq: examining "+queue, queue); err != nil {
		return err
	}
	if d.metadata, err = d.admin.Metadata(bounded); err != nil {
		return kafka.Explain("dlq: examining "+queue, err)
	}
	all, err := d.queueFindings(bounded, queue)
	if err != nil {
		return err
	}
	say := func(f finding) { all = append(all, f) }
	if d.beside(bounded, queue, say) == "" {
		if err := d.forgotten(ctx, queue, say); err != nil {
			return err
		}
	}
	letters, err := d.withoutOrigin(ctx, i, queue, say)
	if err != nil {
		return err
	}
	for _, f := range all {
		d.say(f)
	}
	if len(all) == 0 {
		d.ok("queue", "%s: nothing is wrong with it, %s letters were read", queue, terminal.Count(letters))
	}
	return nil
}

// beside looks at the topics that redrives need. It returns the name of the state topic, ""
// if there is none.
func (d *checkup) beside(ctx context.Context, queue string, say func(finding)) (state string) {
	if group, source := d.ownerOf(queue); source != "" {
		redrive := dlq.RedriveTopic(group, source)
		if _, there := d.metadata.Topics[redrive]; !there {
			say(finding{"redrive", stateProblem, fmt.Sprintf("%s is not there, or hidden from us: letters have nowhere to come back to", redrive),
				fmt.Sprintf("start a consumer of group %s with a dlq.Policy, or duplex topics ensure %s --group %s", group, source, group)})
		}
	}
	state = dlq.StateTopicOf(queue)
	t, there := d.metadata.Topics[state]
	if !there || errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
		return ""
	}
	if n := len(t.Partitions); n != 1 {
		say(finding{"state", stateProblem, fmt.Sprintf("%s has %d partitions, and only the first is read: what was done may be forgotten", state, n), "it must have one: make it again while no job works, and nothing is open"})
	}
	configs, err := d.admin.DescribeTopicConfigs(ctx, state)
	if err == nil && len(configs) == 1 {
		err = configs[0].Err
	}
	switch {
	case err != nil:
		say(finding{"rights", stateWarning, state + ": its settings are not known", "grant DESCRIBE_CONFIGS on it"})
	case setting(configs[0], "cleanup.policy") != "compact":
		say(finding{"state", stateProblem, fmt.Sprintf("%s has cleanup.policy=%s: once an entry is deleted, letters that were handled are open again", state, setting(configs[0], "cleanup.policy")), "set cleanup.policy=compact"})
	}
	return state
}

// forgotten looks whether there were jobs, of which nothing is known without the state topic.
func (d *checkup) forgotten(ctx context.Context, queue string, say func(finding)) error {
	r, err := dlq.NewRedriver(dlq.RedriverConfig{Cluster: d.cluster})
	if err != nil {
		return err
	}
	last := dlq.Audit{}
	err = r.Audit(ctx, queue, func(a dlq.Audit) error {
		if a.Job != "" { // a trim has none
			last = a
		}
		return nil
	})
	if last.Job != "" {
		say(finding{"state", stateProblem, fmt.Sprintf("%s is not there, and %s had a job, %s of %s: all its letters count as open, also those that were handled", dlq.StateTopicOf(queue), queue, short(last.Job), last.At.Format(time.RFC3339)),
			"unless the queue was made again since, look at 'duplex redrive history " + queue + " --audit' before you redrive any"})
	}
	return errors.Join(err, r.Close())
}

// ownerOf is the group, and the source, that a queue is for, "" where it is none of Duplex's
// or its source is not there.
func (d *checkup) ownerOf(queue string) (group, source string) {
	of, ok := d.sourceOf(queue)
	name, ours := strings.CutPrefix(queue, "dlq.")
	if !ok || !ours {
		return "", ""
	}
	return strings.ReplaceAll(strings.TrimSuffix(name, "."+of.Topic), "..", "."), of.Topic
}

// withoutOrigin looks for open letters that no redrive can send anywhere.
func (d *checkup) withoutOrigin(ctx context.Context, i *dlq.Inspector, queue string, say func(finding)) (letters int64, err error) {
	var lost int64
	example := ""
	tell, end := progress(d.cmd.ErrOrStderr())
	scanned, err := i.Scan(ctx, queue, dlq.ScanConfig{Progress: tell}, func(l *dlq.Letter) error {
		if l.State == dlq.StateOpen && !l.HasOrigin() {
			lost++
			if example == "" {
				example = placeOf(l)
			}
		}
		return nil
	})
	end()
	if err != nil {
		return 0, err
	}
	if lost > 0 {
		say(finding{"origin", stateWarning, fmt.Sprintf("%s open letters do not say where they came from, such as %s: only a redrive --to topic:NAME takes them", terminal.Count(lost), example),
			"look at who writes them: duplex dlq show " + queue + " " + example})
	}
	return scanned.Total().Read, nil
}

// queueFindings are what is wrong with the settings of queues. The queues of d.metadata are
// there.
func (d *checkup) queueFindings(ctx context.Context, queues ...string) (all []finding, err error) {
	names := slices.Clone(queues)
	for _, q := range queues {
		if source, ok := d.sourceOf(q); ok && !slices.Contains(names, source.Topic) {
			names = append(names, source.Topic)
		}
	}
	configs, err := d.admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return nil, kafka.Explain("dlq: asking for settings of topics", err)
	}
	of := map[string]kadm.ResourceConfig{}
	for _, c := range configs {
		of[c.Name] = c
	}
	for _, q := range slices.Sorted(slices.Values(queues)) {
		source, _ := d.sourceOf(q)
		all = append(all, d.queueSettings(of[q], of[source.Topic])...)
		all = append(all, d.queuePartitions(q, source)...)
	}
	return all, nil
}
