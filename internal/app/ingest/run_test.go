package ingest_test

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/app/ingest"
	"github.com/duplex-go/duplex/internal/kafka"
)

// program is a run of producer inside this process.
type program struct{ *apptest.Program }

func start(t *testing.T, stdin io.Reader, environ []string, args ...string) *program {
	t.Helper()
	return &program{apptest.Start(t, ingest.Command, apptest.IO{Environ: environ, Stdin: stdin}, args...)}
}

// run runs producer against b to its end.
func run(t *testing.T, b *broker.Broker, stdin string, args ...string) (p *program, code int) {
	t.Helper()
	p = start(t, strings.NewReader(stdin), nil, append(args, "--brokers", strings.Join(b.Addrs(), ","))...)
	code = p.Wait()
	return p, code
}

// summary is what --json prints; a field that is missing stays nil.
type summary struct {
	Read, Published, Failed, Unknown, Skipped *int
	Seconds                                   *float64
}

func (p *program) summary(t *testing.T) summary {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(p.Stdout.String()))
	decoder.DisallowUnknownFields()
	var s summary
	require.NoError(t, decoder.Decode(&s), p.Stdout.String())
	_, err := decoder.Token()
	require.ErrorIs(t, err, io.EOF, "more than one object on standard output: %s", p.Stdout.String())
	require.NotNil(t, s.Seconds)
	return s
}

// counts checks the summary: read, published, failed, unknown.
func (p *program) counts(t *testing.T, want ...int) {
	t.Helper()
	s := p.summary(t)
	for _, n := range []*int{s.Read, s.Published, s.Failed, s.Unknown} {
		require.NotNil(t, n, p.Stdout.String())
	}
	require.Equal(t, want, []int{*s.Read, *s.Published, *s.Failed, *s.Unknown}, "%s\n%s", p.Stdout.String(), p.Stderr.String())
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
