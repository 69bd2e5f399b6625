//go:build unix

package cli_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	words "github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/app/cli"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/rpc"
)

type trip struct{ From, To string }

func TestCallsAProgram(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	quote := rpc.Method[trip, int]{Service: "fares", Name: "Quote"}
	handle(t, b, rpc.Handle(quote, func(_ context.Context, trip trip) (int, error) {
		if trip.From == "ZZZ" {
			return 0, rpc.Errorf(rpc.NotFound, "nobody flies\x1b[2J from\n%s", trip.From)
		}
		return 420, nil
	}))
	for name, c := range map[string]struct {
		args           []string
		stdout, stderr string
		code           int
	}{
		"reply":          {[]string{"Quote", "--data", `{"from":"LAX"}`}, "420", "", command.OK},
		"error":          {[]string{"Quote", "--data", `{"from":"ZZZ"}`}, "", "not_found: nobody flies [2J from ZZZ (executed: completed)\n", command.Failed},
		"broken JSON":    {[]string{"Quote", "--data", `{"from":`}, "", "invalid_argument: ", command.Failed},
		"no value":       {[]string{"Quote"}, "", "invalid_argument: ", command.Failed},
		"an empty value": {[]string{"Quote", "--data", ""}, "", "invalid_argument: ", command.Failed},
		"unknown method": {[]string{"Book", "--data", "{}"}, "", `unimplemented: the service has no such method, or the request is of a newer version: fares has no method "fares/Book" (executed: never)` + "\n", command.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := call(t, b, append([]string{"fares", "--wait"}, c.args...)...)
			require.Equal(t, c.code, code, stderr)
			require.Equal(t, c.stdout, stdout)
			if c.stderr == "" || strings.HasSuffix(c.stderr, "\n") {
				require.Equal(t, c.stderr, stderr)
			}
			require.Contains(t, stderr, c.stderr)
			require.LessOrEqual(t, strings.Count(stderr, "\n"), 1, "one line")
		})
	}
}

func TestRequestOfACall(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	requests := make(chan *kgo.Record, 1)
	handle(t, b, rpc.HandleRecord("any", "", func(_ context.Context, r *kgo.Record) (*kgo.Record, error) {
		requests <- r
		return &kgo.Record{Value: r.Value}, nil
	}))
	path := filepath.Join(t.TempDir(), "request")
	require.NoError(t, os.WriteFile(path, []byte("\x00\xff of a file\n"), 0o600))
	for name, c := range map[string]struct {
		args  []string
		value []byte
		typed string // "" for none
	}{
		"JSON":             {[]string{"--data", ` {"a": 1} `}, []byte(` {"a": 1} `), "application/json"},
		"broken JSON":      {[]string{"--data", `{"a":`}, []byte(`{"a":`), "application/octet-stream"},
		"file":             {[]string{"--data", "@" + path}, []byte("\x00\xff of a file\n"), "application/octet-stream"},
		"standard input":   {[]string{"--data", "-"}, []byte("\xfe of standard input\n"), "application/octet-stream"},
		"empty":            {[]string{"--data", ""}, []byte{}, "application/octet-stream"},
		"none":             {nil, nil, ""},
		"its type is said": {[]string{"--data", "<a/>", "--header", "content-type=text/xml"}, []byte("<a/>"), "text/xml"},
	} {
		args := to(b, append([]string{"call", "any", "Thing", "--wait", "--timeout", "20s", "-H", "x=1", "-H", "x=2=3"}, c.args...)...)
		p := apptest.Start(t, cli.Command, apptest.IO{
			Stdin:   strings.NewReader("\xfe of standard input\n"),
			Environ: []string{"DUPLEX_KEY=stale", "DUPLEX_DATA=stale", "DUPLEX_HEADER=stale=1"},
		}, args...)
		require.Equal(t, command.OK, p.Wait(), p.Stderr.String())
		require.Equal(t, string(c.value), p.Stdout.String(), name)
		r := <-requests
		require.Equal(t, c.value == nil, r.Value == nil, name)
		require.Equal(t, string(c.value), string(r.Value), name)
		require.Nil(t, r.Key, name)
		typed, there := words.Header(r, words.HeaderContentType)
		require.Equal(t, c.typed != "", there, name)
		require.Equal(t, c.typed, typed, name)
		require.Equal(t, [][]byte{[]byte("1"), []byte("2=3")}, words.HeaderValues(r, "x"), name)
	}
	_, stderr, code := call(t, b, "any", "Thing", "--key", "k")
	require.Equal(t, command.OK, code, stderr)
	require.Equal(t, "k", string((<-requests).Key))
}

func TestCallOfNobody(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	stdout, stderr, code := call(t, b, "fares", "Quote", "--data", "{}")
	require.Equal(t, command.Failed, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "unavailable: the service's group has no members, or the service no topic")
	require.Contains(t, stderr, "(executed: never)")

	waiting := start(t, nil, to(b, "call", "fares", "Quote", "--data", "{}", "--wait", "--timeout", "20s")...)
	serve(t, b, "fares", "echo served")
	require.Equal(t, command.OK, waiting.Wait(), waiting.Stderr.String())
	require.Equal(t, "served\n", waiting.Stdout.String())
}

func TestCallOfAClusterThatIsNot(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{"nobody": apptest.Nobody(t), "silence": apptest.Silence(t)} {
		_, stderr, code := duplex(t, nil, "call", "fares", "Quote", "--brokers", address, "--timeout", "500ms")
		require.Equal(t, command.Failed, code, name)
		require.Contains(t, stderr, "reaching the cluster at "+address, name)
		require.Contains(t, stderr, "unreachable", name)
	}
	_, stderr, code := duplex(t, nil, "call", "fares", "Quote", "--brokers", "nonsense")
	require.Equal(t, command.Usage, code)
	require.Contains(t, stderr, "want host:port")
}

func TestCallThatIsInterrupted(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	began := make(chan struct{})
	handle(t, b, rpc.HandleRecord("slow", "", func(ctx context.Context, _ *kgo.Record) (*kgo.Record, error) {
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	p := start(t, nil, to(b, "call", "slow", "Thing", "--wait", "--timeout", "2s")...)
	<-began
	p.Signal(command.ErrInterrupted)
	require.Equal(t, command.Interrupted, p.Wait())
	require.Contains(t, p.Stderr.String(), "canceled: ")
	require.Contains(t, p.Stderr.String(), "(executed: maybe)")
}

func TestCallThatWaitsForItsInputIsInterrupted(t *testing.T) {
	t.Parallel()
	in, out := io.Pipe()
	t.Cleanup(func() { _ = out.Close() })
	p := apptest.Start(t, cli.Command, apptest.IO{Stdin: in}, "call", "fares", "Quote", "--data", "-")
	_, err := out.Write([]byte("{")) // it reads
	require.NoError(t, err)
	p.Signal(command.ErrInterrupted)
	require.Equal(t, command.Interrupted, p.Wait())
}

type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, errors.New("the pipe is closed") }

func TestReplyThatNobodyTakes(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	serve(t, b, "fares", "echo 1")
	p := apptest.Start(t, cli.Command, apptest.IO{Stdout: closed{}}, to(b, "call", "fares", "Quote", "--wait")...)
	require.Equal(t, command.Failed, p.Wait())
	require.Contains(t, p.Stderr.String(), "writing the reply: the pipe is closed")
}

func TestMessages(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	_, stderr, code := call(t, b, "mail", "Send", "--one-way", "--data", "{}")
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "unknown-topic")

	require.NoError(t, b.CreateTopic(broker.Topic{Name: "rpc.requests.mail"}))
	stdout, stderr, code := call(t, b, "mail", "Send", "--one-way", "--key", "k", "--data", "dear all")
	require.Equal(t, command.OK, code, stderr)
	require.Empty(t, stdout)
	require.Equal(t, "stored at rpc.requests.mail/0/0\n", stderr)

	file := filepath.Join(t.TempDir(), "message")
	p := serve(t, b, "mail", `{ cat; echo " $DUPLEX_METHOD $DUPLEX_KEY $DUPLEX_ONE_WAY $DUPLEX_ATTEMPT ${DUPLEX_DEADLINE-none}"; } >> `+file+`; [ $DUPLEX_ATTEMPT = 2 ]`)
	want := "dear all Send k 1 1 none\ndear all Send k 1 2 none\n"
	require.Eventually(t, func() bool { text, _ := os.ReadFile(file); return string(text) == want }, soon, 10*time.Millisecond, "it was sent before anybody served, and is tried again")
	p.Signal(command.ErrTerminated)
	require.Equal(t, command.OK, p.Wait())
	require.Contains(t, p.Stderr.String(), "duplex: 0 calls answered, 0 of them with an error; 2 messages\n")
}
