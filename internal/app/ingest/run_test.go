package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/ingest"
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

// program is a run of producer inside this process.
type program struct {
	t              *testing.T
	stdout, stderr output
	signal         context.CancelCauseFunc
	code           chan int
}

func start(t *testing.T, stdin io.Reader, environ []string, args ...string) *program {
	t.Helper()
	p := &program{t: t, code: make(chan int, 1)}
	cmd, err := ingest.Command(environ)
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(context.Background())
	t.Cleanup(func() { cancel(nil) })
	p.signal = cancel
	go func() {
		p.code <- command.Run(ctx, cmd, command.Process{Args: args, Environ: environ, Stdin: stdin, Stdout: &p.stdout, Stderr: &p.stderr})
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

// run runs producer against b to its end.
func run(t *testing.T, b *broker.Broker, stdin string, args ...string) (p *program, code int) {
	t.Helper()
	p = start(t, strings.NewReader(stdin), nil, append(args, "--brokers", strings.Join(b.Addrs(), ","))...)
	code = p.wait()
	return p, code
}

// summary is what --json prints; a field that is missing stays nil.
type summary struct {
	Read, Published, Failed, Unknown, Skipped *int
	Seconds                                   *float64
}

func (p *program) summary() summary {
	p.t.Helper()
	decoder := json.NewDecoder(strings.NewReader(p.stdout.String()))
	decoder.DisallowUnknownFields()
	var s summary
	require.NoError(p.t, decoder.Decode(&s), p.stdout.String())
	_, err := decoder.Token()
	require.ErrorIs(p.t, err, io.EOF, "more than one object on standard output: %s", p.stdout.String())
	require.NotNil(p.t, s.Seconds)
	return s
}

// counts checks the summary: read, published, failed, unknown.
func (p *program) counts(want ...int) {
	p.t.Helper()
	s := p.summary()
	for _, n := range []*int{s.Read, s.Published, s.Failed, s.Unknown} {
		require.NotNil(p.t, n, p.stdout.String())
	}
	require.Equal(p.t, want, []int{*s.Read, *s.Published, *s.Failed, *s.Unknown}, "%s\n%s", p.stdout.String(), p.stderr.String())
}

// log reads the n records of a topic, and makes sure that there are no more.
func log(t *testing.T, b *broker.Broker, topic string, n int) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client, err := kafka.NewClient(b.Cluster(), nil, kgo.ConsumeTopics(topic))
	require.NoError(t, err)
	defer client.Close()
	ends, err := kafka.EndOffsets(ctx, client, topic)
	require.NoError(t, err)
	total := int64(0)
	for _, end := range ends {
		total += end
	}
	require.EqualValues(t, n, total, "records in topic %q", topic)
	var all []*kgo.Record
	for len(all) < n {
		fetches := client.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		all = append(all, fetches.Records()...)
	}
	return all
}
