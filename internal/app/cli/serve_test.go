//go:build unix

package cli_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/rpc"
)

// serve serves a service with a command, and returns when it does.
func serve(t *testing.T, b *broker.Broker, service, cmd string, more ...string) *apptest.Program {
	t.Helper()
	environ := []string{"PATH=" + os.Getenv("PATH"), "INHERITED=yes", "DUPLEX_KEY=stale", "DUPLEX_HEADER_X=stale", "DUPLEX_ONE_WAY=1"}
	p := start(t, environ, to(b, append([]string{"serve", service, "--exec", cmd}, more...)...)...)
	require.Eventually(t, func() bool { return strings.Contains(p.Stderr.String(), fmt.Sprintf("serving %q", service)) }, soon, 5*time.Millisecond, p.Stderr.String())
	t.Cleanup(func() {
		p.Signal(command.ErrTerminated)
		require.Eventually(t, func() bool { return strings.HasSuffix(p.Stderr.String(), "messages\n") || len(p.Code) > 0 }, soon, 5*time.Millisecond)
	})
	return p
}

func TestCommandAnswersACall(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	serve(t, b, "echo", "cat")
	for _, data := range []string{`{"a":1}`, "\x01\xff no newline at the end", "", "a line\n", strings.Repeat("x", 900_000)} {
		stdout, stderr, code := call(t, b, "echo", "Any", "--data", data)
		require.Equal(t, command.OK, code, stderr)
		require.Equal(t, data, stdout)
		require.Empty(t, stderr)
	}
	_, stderr, code := call(t, b, "echo", "Any", "--data", strings.Repeat("x", 2_000_000))
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "invalid_argument: the request is larger than the topic takes")
	require.Contains(t, stderr, "(executed: never)")
}

func TestCommandGetsTheRequest(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	serve(t, b, "a.b", `printf '%s|%s|%s|%s|%s|%s|%s|' "$DUPLEX_METHOD" "${DUPLEX_KEY-none}" "$DUPLEX_ATTEMPT" "${DUPLEX_ONE_WAY-none}" "$INHERITED" "${DUPLEX_HEADER_X-none}" "$DUPLEX_HEADER_CONTENT_TYPE"
		printf '%s' "$DUPLEX_CALLER" | cut -d/ -f1; echo "$DUPLEX_DEADLINE"; env | grep -ciE 'rpc[-_]|kafka_' || true`)
	began := time.Now()
	stdout, stderr, code := call(t, b, "a.b", "Do it; $(true)", "--data", "{}", "--header", "X=a b")
	require.Equal(t, command.OK, code, stderr)
	lines := strings.Split(stdout, "\n")
	require.Equal(t, "Do it; $(true)|none|1|none|yes|a b|application/json|duplex-call", lines[0])
	deadline, err := time.Parse(time.RFC3339Nano, lines[1])
	require.NoError(t, err)
	require.Len(t, lines[1], len("2026-01-02T15:04:05.000Z"))
	require.WithinRange(t, deadline, began.Add(15*time.Second), time.Now().Add(20*time.Second))
	require.Equal(t, "0", lines[2], "headers of calls are not told")
	stdout, _, _ = call(t, b, "a.b", "Any", "--key", "it's")
	require.True(t, strings.HasPrefix(stdout, "Any|it's|1|none|yes|none||duplex-call\n"), stdout)
	_, stderr, code = call(t, b, "a.b", "Any", "--header", "big="+strings.Repeat("x", 64<<10-50))
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "invalid_argument: ", "more than a server reads")
	require.Contains(t, stderr, "(executed: never)")
}

func TestExitCodesOfCommands(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	p := serve(t, b, "exit", `echo ignored; printf '\033first\nthe code is %s' "$(cat)" >&2; exit $DUPLEX_HEADER_CODE`)
	for code, want := range map[int]string{
		1: "internal", 3: "internal", 64: "invalid_argument", 65: "invalid_argument", 66: "not_found", 67: "unimplemented",
		69: "unavailable", 75: "unavailable", 77: "permission_denied", 127: "internal", 255: "internal",
	} {
		stdout, stderr, ended := call(t, b, "exit", "Any", "--data", strconv.Itoa(code), "--header", fmt.Sprint("code=", code))
		require.Equal(t, command.Failed, ended, code)
		require.Empty(t, stdout)
		require.Equal(t, fmt.Sprintf("%s: the code is %d (executed: completed)\n", want, code), stderr)
	}
	require.Contains(t, p.Stderr.String(), ": the code is 66\n")
	require.Contains(t, p.Stderr.String(), "rpc.requests.exit/")

	silent := serve(t, b, "silent", `[ $DUPLEX_METHOD != Kill ] || kill -9 $$; [ $DUPLEX_METHOD != Long ] || { head -c 30000 /dev/zero | tr '\0' y >&2; }; exit 9`)
	_, stderr, _ := call(t, b, "silent", "Any")
	require.Equal(t, "internal: the command ended with exit status 9 (executed: completed)\n", stderr)
	_, stderr, _ = call(t, b, "silent", "Kill")
	require.Equal(t, "internal: the command ended with signal: killed (executed: completed)\n", stderr)
	_, stderr, _ = call(t, b, "silent", "Long")
	require.Equal(t, "internal: "+strings.Repeat("y", 200)+" (executed: completed)\n", stderr)
	require.Contains(t, silent.Stderr.String(), ": the command ended with exit status 9\n", "who serves hears of it")
}

func TestLargeReplies(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	serve(t, b, "big", `head -c "$DUPLEX_METHOD" /dev/zero`)
	stdout, stderr, code := call(t, b, "big", "900000")
	require.Equal(t, command.OK, code, stderr)
	require.Len(t, stdout, 900_000)
	_, stderr, code = call(t, b, "big", "2000000")
	require.Equal(t, command.Failed, code)
	require.Equal(t, "resource_exhausted: the response is larger than the reply topic takes (executed: completed)\n", stderr)
	_, stderr, code = call(t, b, "big", "100000000000")
	require.Equal(t, command.Failed, code)
	require.Equal(t, "resource_exhausted: taking the command's output: it has more than 8388608 bytes (executed: completed)\n", stderr)
}

func TestDeadlineEndsTheCommand(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	file := filepath.Join(t.TempDir(), "pids")
	serve(t, b, "slow", `[ "$DUPLEX_METHOD" != Quick ] || exit 0; trap '' TERM; sleep 100 & echo $$ $! > `+file+`; wait; sleep 100`)
	_, stderr, code := call(t, b, "slow", "Quick")
	require.Equal(t, command.OK, code, stderr)
	began := time.Now()
	stdout, stderr, code := call(t, b, "slow", "Thing", "--timeout", "1s")
	require.Equal(t, command.TooLate, code, stderr)
	require.Empty(t, stdout)
	require.True(t, strings.HasPrefix(stderr, "deadline_exceeded: "), stderr)
	require.Less(t, time.Since(began), 10*time.Second)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	pids := strings.Fields(string(text))
	require.Len(t, pids, 2)
	for _, word := range pids {
		pid, err := strconv.Atoi(word)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, soon, 20*time.Millisecond, "SIGTERM was ignored, SIGKILL is not")
	}
	_, stderr, code = call(t, b, "slow", "Quick")
	require.Equal(t, command.OK, code, stderr)
}

func TestCommandsRunAtOnce(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	dir := t.TempDir()
	// Each waits until three have begun.
	serve(t, b, "meet", `touch `+dir+`/$DUPLEX_METHOD; while [ $(ls `+dir+` | wc -l) -lt 3 ]; do sleep 0.01; done; echo met`, "--concurrency", "3")
	var programs []*apptest.Program
	for _, name := range []string{"a", "b", "c"} {
		programs = append(programs, start(t, nil, to(b, "call", "meet", name, "--timeout", "20s")...))
	}
	for _, p := range programs {
		require.Equal(t, command.OK, p.Wait(), p.Stderr.String())
		require.Equal(t, "met\n", p.Stdout.String())
	}
}

func TestServerThatIsStoppedAnswersWhatItBegan(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	for cause, code := range map[error]int{command.ErrTerminated: command.OK, command.ErrInterrupted: command.Interrupted} {
		dir := t.TempDir()
		p := serve(t, b, "slow", `touch `+dir+`/begun; while [ ! -e `+dir+`/go ]; do sleep 0.01; done; echo finished`)
		caller := start(t, nil, to(b, "call", "slow", "Thing", "--timeout", "20s", "--wait")...)
		require.Eventually(t, func() bool { _, err := os.Stat(dir + "/begun"); return err == nil }, soon, 5*time.Millisecond)
		p.Signal(cause)
		require.NoError(t, os.WriteFile(dir+"/go", nil, 0o600))
		require.Equal(t, command.OK, caller.Wait(), caller.Stderr.String())
		require.Equal(t, "finished\n", caller.Stdout.String())
		require.Equal(t, code, p.Wait(), p.Stderr.String())
		require.Contains(t, p.Stderr.String(), "duplex: 1 calls answered, 0 of them with an error; 0 messages\n")
	}
}

func TestServerSaysThatNobodyListens(t *testing.T) {
	t.Parallel()
	address := apptest.Nobody(t)
	p := start(t, nil, "serve", "fares", "--exec", "cat", "--brokers", address)
	require.Eventually(t, func() bool {
		return strings.Contains(p.Stderr.String(), `duplex: waiting for group "rpc.fares" at `+address)
	}, soon, 10*time.Millisecond)
	p.Signal(command.ErrInterrupted)
	require.Equal(t, command.Interrupted, p.Wait(), p.Stderr.String())
}

func TestMessagesThatFailGoToTheDeadLetterQueue(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	p := serve(t, b, "mail", `in=$(cat); case "$in" in bad) exit 65;; down) echo "no connection" >&2; exit 75;; esac; echo "sent $in" >&2`,
		"--dlq", "--retry", "50ms", "--admin", "127.0.0.1:0")
	for _, message := range []string{"bad", "down", "fine"} {
		_, stderr, code := call(t, b, "mail", "Send", "--one-way", "--data", message)
		require.Equal(t, command.OK, code, stderr)
	}
	letters := make(map[string]string)
	reader, err := kafka.NewClient(b.Cluster(), nil, kgo.ConsumeTopics(dlq.DeadTopic(rpc.Group("mail"), rpc.RequestTopic("mail"))))
	require.NoError(t, err)
	defer reader.Close()
	require.Eventually(t, func() bool {
		reader.PollFetches(t.Context()).EachRecord(func(r *kgo.Record) {
			for _, h := range r.Headers {
				if h.Key == dlq.HeaderReason {
					letters[string(r.Value)] = string(h.Value)
				}
			}
		})
		return len(letters) == 2
	}, soon, 5*time.Millisecond)
	require.Equal(t, map[string]string{"bad": "permanent", "down": "exhausted"}, letters)
	require.Eventually(t, func() bool { return strings.Contains(p.Stderr.String(), "sent fine") }, soon, 5*time.Millisecond)
	require.Equal(t, 2, strings.Count(p.Stderr.String(), ": no connection\n"), "once more, by --retry")

	at := regexp.MustCompile(`admin at (http://127\.0\.0\.1:\d+)\n`).FindStringSubmatch(p.Stderr.String())
	require.NotNil(t, at)
	web := &http.Client{Timeout: soon}
	defer web.CloseIdleConnections()
	for path, want := range map[string]string{"/readyz": "", "/metrics": `rpc_server_call_duration_seconds_count{`} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at[1]+path, http.NoBody)
		require.NoError(t, err)
		resp, err := web.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, errors.Join(err, resp.Body.Close()))
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Contains(t, string(body), want)
	}
}

func TestSettingsOfAServerThatDoNotFit(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "serve", "mail", "--exec", "cat", "--retry", "1s", "--max-attempts", "3", "--admin-insecure")
	require.Equal(t, command.Usage, p.Wait())
	for _, want := range []string{"--retry: only with --dlq", "--max-attempts: only with --dlq", "--admin-insecure: only with --admin"} {
		require.Contains(t, p.Stderr.String(), want)
	}
	p = start(t, nil, "serve", "mail", "--exec", "cat", "--dlq", "--max-attempts", "-1")
	require.Equal(t, command.Usage, p.Wait())
	require.Contains(t, p.Stderr.String(), "--dlq, --retry, --max-attempts: MaxAttempts = -1")
	p = start(t, nil, "serve", "mail", "--exec", "cat", "--admin", "0.0.0.0:9090")
	require.Equal(t, command.Usage, p.Wait())
	require.Contains(t, p.Stderr.String(), `--admin "0.0.0.0:9090": is not on the loopback interface`)
}
