package dlq

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/duplex-go/duplex/internal/kafka"
)

// Queue is a dead-letter queue of a cluster.
type Queue struct {
	// Topic is its name, Partitions how many it has.
	Topic      string
	Partitions int
	// Letters are in its log, at most: markers of transactions count too. Open are those
	// of them that nothing closed; a second copy, which only a scan finds, counts.
	Letters, Open int64
	// Oldest is when the oldest open letter was written, zero without one. TimeToLoss is
	// how long it is kept at least from now on: zero if that has passed, negative if
	// nothing is deleted for its age.
	Oldest     time.Time
	TimeToLoss time.Duration
	// Retention is how long records are kept, −1 for ever, and RetentionBytes how many
	// bytes of a partition are, −1 for all.
	Retention      time.Duration
	RetentionBytes int64
	// CleanupPolicy is delete, compact or both. A queue that is compacted loses letters.
	CleanupPolicy string
	// Trouble says why the rest is not known, such as that reading is not allowed.
	Trouble string
}

// IsQueue reports whether a topic is a dead-letter queue by its name: that of Duplex and of
// share groups, dlq.*; those of Spring, *-dlt, *.DLT and *.dlq; that of SmallRye,
// dead-letter-topic-*; and *-dlq.
func IsQueue(topic string) bool {
	for _, not := range []string{"dlq-state.", "dlq-audit", "retry.", "redrive.", "rpc."} {
		if strings.HasPrefix(topic, not) {
			return false
		}
	}
	for _, end := range []string{"-dlt", "-DLT", ".dlt", ".DLT", "-dlq", "-DLQ", ".dlq", ".DLQ"} {
		if strings.HasSuffix(topic, end) {
			return true
		}
	}
	return strings.HasPrefix(topic, "dlq.") || strings.HasPrefix(topic, "dead-letter-topic-")
}

// Queues lists the dead-letter queues of the cluster, by IsQueue, and the topics that are
// named besides, sorted by name. One of these that does not exist is an error with
// duplex.ErrUnknownTopic. What is wrong with one queue is its Trouble, and no error.
func (i *Inspector) Queues(ctx context.Context, besides ...string) ([]Queue, error) {
	const op = "dlq: listing queues"
	if err := i.reach(ctx); err != nil {
		return nil, err
	}
	asked, cancel := context.WithTimeout(ctx, i.cfg.Timeout)
	defer cancel()
	if len(besides) > 0 {
		if _, err := kafka.Topics(asked, i.client, op, besides...); err != nil {
			return nil, unknownQueue(op, err)
		}
	}
	admin := kadm.NewClient(i.client)
	there, err := admin.ListTopics(asked)
	if err != nil {
		return nil, kafka.Explain(op, err)
	}
	var names []string
	for name := range there {
		if IsQueue(name) || slices.Contains(besides, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	slices.Sort(names)
	settings, err := i.settings(asked, names...)
	if err != nil {
		return nil, err
	}
	queues := make([]Queue, len(names))
	for n, name := range names {
		set := settings[name]
		queues[n] = Queue{
			Topic: name, Partitions: len(there[name].Partitions), TimeToLoss: -1,
			Retention: set.retention, RetentionBytes: set.bytes, CleanupPolicy: set.policy,
		}
		if err := i.measure(ctx, &queues[n]); err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			queues[n].Trouble = err.Error()
		}
	}
	return queues, nil
}

// measure counts the letters of a queue and finds the oldest one that is open.
func (i *Inspector) measure(ctx context.Context, q *Queue) error {
	_, starts, ends, err := i.bounds(ctx, q.Topic)
	if err != nil {
		return err
	}
	s, err := i.loadStates(ctx, q.Topic)
	if err != nil {
		return err
	}
	for p, end := range ends {
		q.Letters += end - starts[p]
		q.Open += end - starts[p] - s.closed(p, starts[p], end)
	}
	if q.Open == 0 {
		return nil
	}
	open := i.newScan(q.Topic, ScanConfig{Filter: only(StateOpen), To: ends}, func(l *Letter) error {
		if q.Oldest.IsZero() || l.Time.Before(q.Oldest) {
			q.Oldest = l.Time
		}
		return errEnough
	})
	open.states = s
	if _, err := open.do(ctx); err != nil {
		return err
	}
	q.TimeToLoss = timeToLoss(q.Oldest, time.Now(), q.Retention)
	return nil
}

// only is a filter for one state.
func only(s State) Filter {
	field, _ := fieldNamed("state")
	return Filter{terms: []term{{field: field, op: "=", value: string(s)}}}
}

// settings are what a topic's configuration says of how long it keeps what it has.
type settings struct {
	retention time.Duration // −1 for ever
	bytes     int64
	policy    string
}

func (i *Inspector) settings(ctx context.Context, topics ...string) (map[string]settings, error) {
	ctx, cancel := context.WithTimeout(ctx, i.cfg.Timeout)
	defer cancel()
	configs, err := kadm.NewClient(i.client).DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, kafka.Explain(fmt.Sprintf("dlq: asking for the settings of %s", strings.Join(topics, ", ")), err)
	}
	all := map[string]settings{}
	for _, t := range topics {
		set := settings{retention: -1, bytes: -1, policy: configOf(configs, t, "cleanup.policy")}
		if ms, err := strconv.ParseInt(configOf(configs, t, "retention.ms"), 10, 64); err == nil && ms >= 0 && ms < int64(forEver/time.Millisecond) {
			set.retention = time.Duration(ms) * time.Millisecond
		}
		if n, err := strconv.ParseInt(configOf(configs, t, "retention.bytes"), 10, 64); err == nil {
			set.bytes = n
		}
		if set.policy == "compact" {
			set.retention = -1
		}
		all[t] = set
	}
	return all, nil
}

// forEver is a retention that does not fit a time.Duration, or nearly.
const forEver = 250 * 365 * 24 * time.Hour
