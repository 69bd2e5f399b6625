package push_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/push"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
)

// listen starts an embedded broker on a port, as the program needs it.
func listen(t *testing.T, topics ...broker.Topic) *broker.Broker {
	t.Helper()
	b, err := broker.Start(broker.Config{Listen: "127.0.0.1:0", Topics: topics})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// output may be read while the program writes to it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) lines() []string { return lines(o.String()) }

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// program is a run of consumer inside this process.
type program struct {
	t              *testing.T
	stdout, stderr output
	signal         context.CancelCauseFunc
	code           chan int
}

// start runs consumer; what it writes goes to out, or to p.stdout where out is nil.
func start(t *testing.T, out io.Writer, environ []string, args ...string) *program {
	t.Helper()
	p := &program{t: t, code: make(chan int, 1)}
	if out == nil {
		out = &p.stdout
	}
	cmd, err := push.Command(environ)
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(context.Background())
	t.Cleanup(func() { cancel(nil) })
	p.signal = cancel
	go func() {
		p.code <- command.Run(ctx, cmd, command.Process{Args: args, Environ: environ, Stdin: strings.NewReader(""), Stdout: out, Stderr: &p.stderr})
	}()
	return p
}

func (p *program) wait() int {
	p.t.Helper()
	select {
	case code := <-p.code:
		return code
	case <-time.After(30 * time.Second):
		require.Fail(p.t, "the program does not end", p.stderr.String())
		return -1
	}
}

// run runs consumer against b to its end, which must be a good one.
func run(t *testing.T, b *broker.Broker, args ...string) []string {
	t.Helper()
	p := start(t, nil, nil, to(b, args...)...)
	require.Zero(t, p.wait(), p.stderr.String())
	require.Empty(t, p.stderr.String())
	return p.stdout.lines()
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
