package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/kafka"
)

// leastRetention is how long dead letters should wait for people at least.
const leastRetention = 7 * 24 * time.Hour

// lookAtCluster asks what there is. It reports whether there was an answer.
func (d *checkup) lookAtCluster(ctx context.Context) bool {
	err := kafka.Reach(ctx, d.client, "doctor", d.timeout)
	if err == nil {
		d.metadata, err = d.admin.Metadata(kadm.WithAuthorizedOps(ctx))
	}
	if err != nil {
		d.failed("cluster", "", kafka.Explain("", err))
		return false
	}
	m := d.metadata
	text := fmt.Sprintf("%s, %d brokers, %d topics, controller %d", orWord(m.Cluster, "without an id"), len(m.Brokers), len(m.Topics), m.Controller)
	if m.Controller < 0 {
		d.wrong("cluster", "look at the controllers' logs: no topic can be made, and no leader chosen", "%s", text)
		return true
	}
	d.ok("cluster", "%s", text)
	return true
}

// lookAtVersions asks the brokers what they can do.
func (d *checkup) lookAtVersions(ctx context.Context) {
	all, err := d.admin.ApiVersions(ctx)
	if err != nil {
		d.failed("versions", "", kafka.Explain("", err))
		return
	}
	missing, guesses := map[string]bool{}, map[string]bool{}
	for _, v := range all {
		if v.Err != nil {
			continue // said of the broker
		}
		guess := v.VersionGuess()
		if strings.HasPrefix(guess, "between") { // it is none of Kafka's
			guess = "of no known version"
		}
		guesses[guess] = true
		for key, what := range map[kmsg.Key]string{
			kmsg.InitProducerID: "idempotent producers", kmsg.AddPartitionsToTxn: "transactions",
			kmsg.ConsumerGroupHeartbeat: "groups of KIP-848", kmsg.DeleteRecords: "deleting of records",
		} {
			if _, _, has := v.KeyVersions(key.Int16()); !has {
				missing[what] = true
			}
		}
	}
	text := "Kafka " + strings.Join(sortedKeys(guesses), ", ") + ", as it looks"
	switch gone := sortedKeys(missing); {
	case missing["idempotent producers"]:
		d.wrong("versions", "Duplex writes with idempotent producers: use Kafka 0.11 or later", "%s; without %s", text, strings.Join(gone, ", "))
	case missing["transactions"] || missing["deleting of records"]:
		d.warn("versions", "redrives and trims that need it fall back, or are refused", "%s; without %s", text, strings.Join(gone, ", "))
	case len(guesses) > 1:
		d.warn("versions", "bring them to one version", "the brokers differ: %s", text)
	case len(gone) > 0:
		d.ok("versions", "%s; without %s, classic groups do", text, strings.Join(gone, ", "))
	default:
		d.ok("versions", "%s; with idempotent producers, transactions, groups of KIP-848, deleting of records", text)
	}
}

func sortedKeys(set map[string]bool) []string {
	var all []string
	for key := range set {
		all = append(all, key)
	}
	slices.Sort(all)
	return all
}

// lookAtPartitions looks for those without a leader, and with too few replicas in sync.
func (d *checkup) lookAtPartitions(context.Context) {
	total := 0
	var headless, behind []string
	for _, t := range d.metadata.Topics.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			total++
			name := fmt.Sprintf("%s/%d", t.Topic, p.Partition)
			switch {
			case p.Leader < 0:
				headless = append(headless, name)
			case len(p.ISR) < len(p.Replicas):
				behind = append(behind, name)
			}
		}
	}
	if len(headless) > 0 {
		d.wrong("partitions", "start the brokers that have them", "%d of %d have no leader: %s", len(headless), total, few(headless))
	}
	if len(behind) > 0 {
		d.warn("partitions", "look at the brokers that are down or slow", "%d of %d have replicas that are not in sync: %s", len(behind), total, few(behind))
	}
	if len(headless)+len(behind) == 0 {
		d.ok("partitions", "all %d have a leader and all replicas in sync", total)
	}
}

// few are the first of names.
func few(names []string) string {
	const most = 3
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// lookAtDefaults looks at what topics get that nobody described, and whether they make
// themselves.
func (d *checkup) lookAtDefaults(ctx context.Context) {
	configs, _ := d.admin.DescribeBrokerConfigs(ctx, d.metadata.Brokers.NodeIDs()...) // one that answers will do
	configs = slices.DeleteFunc(configs, func(c kadm.ResourceConfig) bool { return c.Err != nil })
	if len(configs) == 0 {
		d.warn("defaults", "grant DESCRIBE_CONFIGS on the cluster to see them", "not known: what new topics get, and whether topics make themselves")
		return
	}
	for _, c := range configs {
		if setting(c, "auto.create.topics.enable") == "true" {
			d.warn("new topics", "set auto.create.topics.enable=false", "broker %s makes topics by itself: a name typed wrong becomes a topic, with the defaults", c.Name)
			break
		}
	}
	copies, least := number(setting(configs[0], "default.replication.factor")), number(setting(configs[0], "min.insync.replicas"))
	text := fmt.Sprintf("%d replicas, at least %d in sync to write", copies, least)
	switch brokers := int64(len(d.metadata.Brokers)); {
	case copies == 0:
		d.ok("defaults", "not said by the brokers")
	case copies > brokers:
		d.warn("defaults", "set default.replication.factor to as many as there are", "%s, of %d brokers: topics without a number of replicas cannot be made", text, brokers)
	case least > copies:
		d.wrong("defaults", "set min.insync.replicas below default.replication.factor", "%s: nothing can be written to new topics", text)
	case least == copies && copies > 1:
		d.warn("defaults", "set min.insync.replicas one below default.replication.factor", "%s: nothing can be written while one broker is away", text)
	case copies == 1:
		d.warn("defaults", "set default.replication.factor=3 on a cluster that matters", "%s: what one broker loses is lost", text)
	case least == 1:
		d.warn("defaults", "set min.insync.replicas=2", "%s: a record counts as stored when one broker has it", text)
	default:
		d.ok("defaults", "%s", text)
	}
}

func setting(c kadm.ResourceConfig, key string) string {
	for _, one := range c.Configs {
		if one.Key == key {
			return one.MaybeValue()
		}
	}
	return ""
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// lookAtDeadLetters looks for queues that lose what people have not seen yet.
func (d *checkup) lookAtDeadLetters(ctx context.Context) {
	var queues []string
	for _, name := range d.metadata.Topics.Names() {
		if dlq.IsQueue(name) {
			queues = append(queues, name)
		}
	}
	if len(queues) == 0 {
		return
	}
	all, err := d.queueFindings(ctx, queues...)
	if err != nil {
		d.warn("dead letters", "grant DESCRIBE_CONFIGS on them", "%d topics, and how long they keep is not known", len(queues))
		return
	}
	for _, f := range all {
		f.Check = "dead letters"
		d.say(f)
	}
	if len(all) == 0 {
		d.ok("dead letters", "%d topics, kept for a week or more", len(queues))
	}
}

// queueSettings are what is wrong with the settings of a queue.
func (d *checkup) queueSettings(c, source kadm.ResourceConfig) (all []finding) {
	if c.Err != nil {
		return []finding{{"rights", stateWarning, c.Name + ": how long it keeps is not known", "grant DESCRIBE_CONFIGS on it"}}
	}
	if strings.Contains(setting(c, "cleanup.policy"), "compact") {
		text := c.Name + " is compacted: of the letters of one key only the last is kept, and those without a key are refused"
		all = append(all, finding{"cleanup", stateProblem, text, "set cleanup.policy=delete"})
	}
	switch kept, ofSource := keeps(c), keeps(source); {
	case kept < 0:
	case kept < leastRetention:
		all = append(all, finding{"retention", stateWarning, fmt.Sprintf("%s keeps letters for %s", c.Name, kept), "raise retention.ms"})
	case kept < ofSource:
		text := fmt.Sprintf("%s keeps letters for %s, and %s what they were for %s", c.Name, kept, source.Name, ofSource)
		all = append(all, finding{"retention", stateWarning, text, fmt.Sprintf("set retention.ms=%d", ofSource.Milliseconds())})
	}
	return all
}

// keeps is how long a topic keeps records, negative if its settings are not known or it
// deletes none for their age.
func keeps(c kadm.ResourceConfig) time.Duration {
	text := setting(c, "retention.ms")
	ms := number(text)
	const forEver = int64(250 * 365 * 24 * time.Hour / time.Millisecond)
	if c.Err != nil || text == "" || !strings.Contains(setting(c, "cleanup.policy"), "delete") || ms < 0 || ms > forEver {
		return -1
	}
	return time.Duration(ms) * time.Millisecond
}

// queuePartitions are what is wrong with the partitions of a queue.
func (d *checkup) queuePartitions(name string, source kadm.TopicDetail) (all []finding) {
	queue := d.metadata.Topics[name]
	if queue.Partitions.NumReplicas() == 1 && len(d.metadata.Brokers) > 1 {
		text := fmt.Sprintf("%s has one replica of %d brokers: what that one loses is lost", name, len(d.metadata.Brokers))
		all = append(all, finding{"replicas", stateWarning, text, "raise its number of replicas"})
	}
	if len(queue.Partitions) < len(source.Partitions) {
		text := fmt.Sprintf("%s has %d partitions, %s has %d", name, len(queue.Partitions), source.Topic, len(source.Partitions))
		all = append(all, finding{"partitions", stateWarning, text, "give it as many: programs with a dlq.Policy do, when they start"})
	}
	return all
}

// sourceOf is the topic that a queue is for: the longest name at its end that there is.
func (d *checkup) sourceOf(queue string) (kadm.TopicDetail, bool) {
	var source kadm.TopicDetail
	for name, t := range d.metadata.Topics {
		if rest, ok := strings.CutSuffix(queue, "."+name); ok && len(rest) > len("dlq.") && len(name) > len(source.Topic) {
			source = t
		}
	}
	return source, source.Topic != ""
}
