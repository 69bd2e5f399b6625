package push_test

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/app/push"
	"github.com/duplex-go/duplex/internal/kafka"
)

// soon is how long a test waits for what must come.
const soon = 20 * time.Second

// start runs consumer; what it writes goes to out, or to p.Stdout where out is nil.
func start(t *testing.T, out io.Writer, environ []string, args ...string) *apptest.Program {
	t.Helper()
	return apptest.Start(t, push.Command, apptest.IO{Environ: environ, Stdout: out}, args...)
}

// run runs consumer against b to its end, which must be a good one.
func run(t *testing.T, b *broker.Broker, args ...string) []string {
	t.Helper()
	p := start(t, nil, nil, to(b, args...)...)
	require.Zero(t, p.Wait(), p.Stderr.String())
	require.Empty(t, p.Stderr.String())
	return p.Stdout.Lines()
}

// lines are those of a text, without their ends.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func to(b *broker.Broker, args ...string) []string {
	return append(args, "--brokers", strings.Join(b.Addrs(), ","))
}

// publish stores the records.
func publish(t *testing.T, b *broker.Broker, records ...*kgo.Record) {
	t.Helper()
	client, err := kafka.NewClient(b.Cluster(), nil, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.ProduceSync(t.Context(), records...).FirstErr())
}

// numbered are n records with their numbers as values, over the partitions by
// turns.
func numbered(topic string, n, partitions int) []*kgo.Record {
	all := make([]*kgo.Record, n)
	for i := range all {
		all[i] = &kgo.Record{Topic: topic, Partition: int32(i % partitions), Value: []byte(strconv.Itoa(i))}
	}
	return all
}

// record is one line of JSON output, and the names of its fields.
type record struct {
	Topic             string
	Partition         int32
	Offset, Timestamp int64
	Key, Value        *string
	KeyB64            *string `json:"key_b64"`
	ValueB64          *string `json:"value_b64"`
	Headers           [][]*string
}

func parse(t *testing.T, line string) record {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.DisallowUnknownFields()
	var r record
	require.NoError(t, decoder.Decode(&r), line)
	return r
}

func values(t *testing.T, lines []string) []string {
	t.Helper()
	all := []string{}
	for _, l := range lines {
		all = append(all, *parse(t, l).Value)
	}
	return all
}

// committed gives the group's committed offset of each partition of a topic; a
// partition without one is missing.
func committed(b *broker.Broker, group, topic string) map[int32]int64 {
	offsets := map[int32]int64{}
	if g := b.Kfake().GroupInfo(group); g != nil {
		for p, c := range g.Commits[topic] {
			offsets[p] = c.Offset
		}
	}
	return offsets
}

func sum(offsets map[int32]int64) (total int) {
	for _, o := range offsets {
		total += int(o)
	}
	return total
}

func orders(t *testing.T, partitions int32, records ...*kgo.Record) *broker.Broker {
	t.Helper()
	b := apptest.Listen(t, broker.Topic{Name: "orders", Partitions: partitions, Configs: forEver()})
	publish(t, b, records...)
	return b
}

func order(key, value string) *kgo.Record {
	return &kgo.Record{Topic: "orders", Key: []byte(key), Value: []byte(value)}
}
