//go:build unix

package push_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
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
)

// execute runs a command for each record of topic orders in group g.
func execute(t *testing.T, b *broker.Broker, cmd string, more ...string) *apptest.Program {
	t.Helper()
	args := append([]string{"-t", "orders", "-g", "g", "--exec", cmd, "--retry-min", "10ms", "--retry-max", "20ms"}, more...)
	return start(t, nil, []string{"PATH=" + os.Getenv("PATH"), "INHERITED=yes", "KAFKA_KEY=stale"}, to(b, args...)...)
}

// executeAll runs it until all is handled.
func executeAll(t *testing.T, b *broker.Broker, cmd string, more ...string) *apptest.Program {
	t.Helper()
	p := execute(t, b, cmd, append(more, "--until-end")...)
	require.Zero(t, p.Wait(), p.Stderr.String())
	return p
}

func TestCommandGetsTheRecord(t *testing.T) {
	t.Parallel()
	value := "\x00binary\xff, no newline at the end"
	b := orders(t, 1,
		&kgo.Record{
			Topic: "orders", Timestamp: time.UnixMilli(1700000000123), Key: []byte("it's $(not) a `command`"), Value: []byte(value),
			Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("x")}, {Key: "sum", Value: []byte("\xff\x00")}},
		},
		&kgo.Record{Topic: "orders", Timestamp: time.UnixMilli(1), Key: []byte("\xfe"), Value: nil},
	)
	p := executeAll(t, b, `cat; printf '|%s|%s|%s|%s|%s|%s|' "$KAFKA_TOPIC" "$KAFKA_PARTITION" "$KAFKA_OFFSET" "$KAFKA_TIMESTAMP" "$KAFKA_ATTEMPT" "$INHERITED"
		printf '%s|%s|%s|%s|%s\n' "${KAFKA_KEY-none}" "${KAFKA_KEY_B64-none}" "$KAFKA_HEADER_CONTENT_TYPE" "$KAFKA_HEADER_SUM_B64" "${KAFKA_VALUE_NULL-there}"`,
		"--order", "partition")
	require.Equal(t, value+"|orders|0|0|1700000000123|1|yes|it's $(not) a `command`|none|x|/wA=|there\n"+
		"|orders|0|1|1|1|yes|none|/g==|||1\n", p.Stdout.String())
	require.Empty(t, p.Stderr.String())
	require.Equal(t, 2, sum(committed(b, "g", "orders")))
}

func TestFailedCommandIsRunAgain(t *testing.T) {
	t.Parallel()
	for end, says := range map[string]string{
		"exit 1":          "the command ended with exit status 1",
		"exit 75":         "the command ended with exit status 75",
		"kill -9 $$":      "the command ended with signal: killed",
		"no-such-thing-1": "no-such-thing-1: not found",
		"exit 65":         "permanent: the command ended with exit status 65",
		"exit 255":        "exit status 255",
	} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			b := orders(t, 1, order("k", "v"))
			p := executeAll(t, b, `echo "$KAFKA_ATTEMPT"; echo "oh no" >&2; test "$KAFKA_ATTEMPT" = 3 || { `+end+`; }`)
			require.Equal(t, []string{"1", "2", "3"}, p.Stdout.Lines())
			require.Contains(t, p.Stderr.String(), "orders/0@0: oh no\n")
			require.Contains(t, p.Stderr.String(), says)
			require.Equal(t, 1, sum(committed(b, "g", "orders")))
		})
	}
}

// With --dlq, what fails goes through a retry topic, and what never succeeds, or says
// so with 65, to the dead-letter queue.
func TestCommandsThatFailLeaveDeadLetters(t *testing.T) {
	t.Parallel()
	b := orders(t, 1, orderRecords("hopeless", "slow to start", "broken", "fine")...)
	p := start(t, nil, []string{"PATH=" + os.Getenv("PATH")}, to(b, "-t", "orders", "-g", "g", "--dlq", "--retry", "50ms,100ms", "--exec", `
		case "$KAFKA_KEY" in
		hopeless) exit 65;;
		broken) exit 1;;
		slow*) test "$KAFKA_ATTEMPT" = 2 || exit 75;;
		esac; echo "$KAFKA_KEY $KAFKA_ATTEMPT"`)...)
	dead := dlq.DeadTopic("g", "orders")
	require.Eventually(t, func() bool {
		return len(p.Stdout.Lines()) == 2 && b.Kfake().PartitionInfo(dead, 0) != nil && b.Kfake().PartitionInfo(dead, 0).HighWatermark == 2
	},
		20*time.Second, 10*time.Millisecond, "%s", p.Stderr.String())
	p.Signal(command.ErrTerminated)
	require.Zero(t, p.Wait(), p.Stderr.String())
	require.ElementsMatch(t, []string{"fine 1", "slow to start 2"}, p.Stdout.Lines())
	require.Equal(t, 5, strings.Count(p.Stderr.String(), "handling a record failed"), "no failure is silent: %s", p.Stderr.String())
	require.Contains(t, p.Stderr.String(), "consumer: 2 handled, 1 of them after they had failed; 2 became dead letters; what waits")
	require.Equal(t, int64(4), committed(b, "g", "orders")[0])
}

func TestErrorOfACommandHasItsLastWords(t *testing.T) {
	t.Parallel()
	b := orders(t, 1, order("k", "v"))
	p := executeAll(t, b, `test "$KAFKA_ATTEMPT" = 2 || { printf 'first\nno route to \377host\n\n' >&2; exit 7; }`)
	require.Contains(t, p.Stderr.String(), "exit status 7: no route to \ufffdhost")
}

func TestCommandNeedNotReadItsInput(t *testing.T) {
	t.Parallel()
	b := orders(t, 1, order("k", strings.Repeat("x", 900_000)))
	p := executeAll(t, b, `exec 0<&-; echo done`)
	require.Equal(t, "done\n", p.Stdout.String())
	require.Empty(t, p.Stderr.String(), "EPIPE is no failure")
}

func TestCommandsRunAtOnceInTheOrderOfKeys(t *testing.T) {
	t.Parallel()
	var records []*kgo.Record
	for i := range 40 {
		records = append(records, order(fmt.Sprint("key", i%4), strconv.Itoa(i)))
	}
	b := orders(t, 1, records...)
	dir := t.TempDir()
	// Each key holds a directory while it runs, so that one that runs twice at once
	// fails; four commands must have been there together.
	cmd := `cd ` + dir + ` && mkdir "$KAFKA_KEY" || exit 9
		while [ ! -e met ]; do [ "$(ls -d key* 2>/dev/null | wc -l)" -eq 4 ] && touch met; done
		cat; echo; rmdir "$KAFKA_KEY"`
	p := executeAll(t, b, cmd, "--concurrency", "4", "--handler-timeout", "20s")
	require.Empty(t, p.Stderr.String())
	require.Len(t, p.Stdout.Lines(), 40)
	last := map[int]int{}
	for _, line := range p.Stdout.Lines() {
		i, err := strconv.Atoi(line)
		require.NoError(t, err)
		if before, ok := last[i%4]; ok {
			require.Equal(t, before+4, i, "the records of a key in their order")
		}
		last[i%4] = i
	}
}

func TestOrderSaysWhatWaits(t *testing.T) {
	t.Parallel()
	for order, waits := range map[string]string{"key": "a1", "partition": "a1 b2", "none": ""} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			b := orders(t, 1, orderRecords("a", "b", "a")...)
			dir := t.TempDir()
			// The first record goes on once the test has looked.
			cmd := `cd ` + dir + `; touch "$KAFKA_KEY$KAFKA_OFFSET"; [ $KAFKA_OFFSET -gt 0 ] || while [ ! -e go ]; do sleep 0.01; done`
			p := execute(t, b, cmd, "--until-end", "--order", order, "--concurrency", "8")
			want := map[string][]string{"key": {"a0", "b1"}, "partition": {"a0"}, "none": {"a0", "a2", "b1"}}[order]
			names := func() (all []string) {
				entries, err := os.ReadDir(dir)
				require.NoError(t, err)
				for _, e := range entries {
					all = append(all, e.Name())
				}
				return all
			}
			require.Eventually(t, func() bool { return len(names()) == len(want) }, soon, 5*time.Millisecond, waits)
			require.Never(t, func() bool { return len(names()) > len(want) }, 200*time.Millisecond, 20*time.Millisecond)
			require.Equal(t, want, names())
			require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
			require.Zero(t, p.Wait(), p.Stderr.String())
		})
	}
}

func orderRecords(keys ...string) (all []*kgo.Record) {
	for _, k := range keys {
		all = append(all, order(k, k))
	}
	return all
}

// alive says whether the process whose id is in the file runs.
func alive(t *testing.T, file string) bool {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil && strings.Contains(string(stat), ") Z ") {
		return false // dead, and its parent has not looked
	}
	return syscall.Kill(pid, 0) == nil
}

func TestHandlerTimeoutStopsACommandAndWhatItStarted(t *testing.T) {
	t.Parallel()
	for name, stubborn := range map[string]string{"ends when it is told": "", "ignores it": "trap '' TERM;"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := orders(t, 1, order("k", "v"))
			file := filepath.Join(t.TempDir(), "pid")
			began := time.Now()
			p := executeAll(t, b, stubborn+`[ $KAFKA_ATTEMPT = 1 ] || exit 0; sleep 100 & echo $! > `+file+`; wait; sleep 100`, "--handler-timeout", "1s")
			require.Less(t, time.Since(began), 15*time.Second)
			require.Contains(t, p.Stderr.String(), "handler-timeout: the command was told to stop")
			require.False(t, alive(t, file))
		})
	}
}

func TestCommandMayTidyUpWhenItIsTold(t *testing.T) {
	t.Parallel()
	tidy := `trap 'sleep 0.3; echo tidy; exit 3' TERM; sleep 100 & wait`
	for name, cmd := range map[string]string{"the shell itself": tidy, "what it started, and it ends at once": "(" + tidy + "); true"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := orders(t, 1, order("k", "v"))
			p := executeAll(t, b, `[ $KAFKA_ATTEMPT = 1 ] || exit 0; `+cmd, "--handler-timeout", "300ms")
			require.Equal(t, "tidy\n", p.Stdout.String())
		})
	}
}

func TestWhatACommandLeavesBehindIsEnded(t *testing.T) {
	t.Parallel()
	b := orders(t, 1, order("k", "v"))
	file := filepath.Join(t.TempDir(), "pid")
	p := executeAll(t, b, `sleep 100 & echo $! > `+file+`; echo done`)
	require.Equal(t, "done\n", p.Stdout.String())
	require.Eventually(t, func() bool { return !alive(t, file) }, soon, 10*time.Millisecond)
}

func TestWhatEscapesDoesNotHoldUpItsRecord(t *testing.T) {
	t.Parallel()
	b := orders(t, 1, order("k", strings.Repeat("x", 900_000)))
	file := filepath.Join(t.TempDir(), "pid")
	// It holds the input that nobody reads, and both outputs.
	p := executeAll(t, b, `exec 3<&0; setsid sh -c 'echo $$ > `+file+`; exec sleep 100' <&3 & while [ ! -s `+file+` ]; do sleep 0.01; done; echo done`)
	require.Equal(t, "done\n", p.Stdout.String())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL), "it was none of ours any more")
}

func TestOutputOfACommandStaysInOnePiece(t *testing.T) {
	t.Parallel()
	var records []*kgo.Record
	for i := range 12 {
		records = append(records, order(strconv.Itoa(i), strconv.Itoa(i)))
	}
	b := orders(t, 1, records...)
	// Some write more than is held back.
	p := executeAll(t, b, `n=$((KAFKA_OFFSET % 3 * 30000)); i=0; seq 1 $((n + 100)) | sed "s/.*/$KAFKA_OFFSET:a line that is somewhat long to get beyond a mebibyte/"`, "--concurrency", "6")
	var pieces []string
	count := map[string]int{}
	for _, line := range p.Stdout.Lines() {
		of, _, _ := strings.Cut(line, ":")
		if len(pieces) == 0 || pieces[len(pieces)-1] != of {
			pieces = append(pieces, of)
		}
		count[of]++
	}
	require.Len(t, pieces, 12, "%v", pieces)
	for i := range 12 {
		require.Equal(t, i%3*30000+100, count[strconv.Itoa(i)])
	}
}

// untilGo is what a command runs to wait until the test lets it go on.
func untilGo(t *testing.T) (wait string, letGo func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "go")
	return "while [ ! -e " + file + " ]; do sleep 0.01; done", func() { require.NoError(t, os.WriteFile(file, nil, 0o600)) }
}

func TestCommandThatHasWrittenALittleHoldsUpNobody(t *testing.T) {
	t.Parallel()
	b := orders(t, 1, orderRecords("a", "b")...)
	wait, letGo := untilGo(t)
	p := execute(t, b, `echo "$KAFKA_KEY"; [ "$KAFKA_KEY" = b ] || `+wait, "--until-end")
	require.Eventually(t, func() bool { return p.Stdout.String() == "b\n" }, soon, 5*time.Millisecond, p.Stdout.String())
	letGo()
	require.Zero(t, p.Wait(), p.Stderr.String())
	require.Equal(t, "b\na\n", p.Stdout.String())
}

func TestLargeOutputIsNotHeldBack(t *testing.T) {
	t.Parallel()
	b := orders(t, 1, order("k", "v"))
	wait, letGo := untilGo(t)
	p := execute(t, b, `head -c 3000000 /dev/zero | tr '\0' x; `+wait+`; echo end`, "--until-end")
	require.Eventually(t, func() bool { return len(p.Stdout.String()) == 3_000_000 }, soon, 20*time.Millisecond)
	letGo()
	require.Zero(t, p.Wait(), p.Stderr.String())
	require.Equal(t, strings.Repeat("x", 3_000_000)+"end\n", p.Stdout.String())
}

func TestManyHeaders(t *testing.T) {
	t.Parallel()
	r := order("k", "v")
	for i := range 10_000 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: fmt.Sprint("h", i), Value: []byte(strconv.Itoa(i))})
	}
	big := order("big", "v")
	big.Headers = []kgo.RecordHeader{{Key: "huge", Value: bytes.Repeat([]byte("x"), 800_000)}}
	b := orders(t, 1, r, big, order("after", "v"))
	p := execute(t, b, `echo "$KAFKA_KEY $KAFKA_HEADER_H9999"`)
	require.Eventually(t, func() bool { return len(p.Stdout.Lines()) == 2 }, soon, 10*time.Millisecond, p.Stderr.String())
	require.ElementsMatch(t, []string{"k 9999", "after "}, p.Stdout.Lines())
	require.Eventually(t, func() bool { return strings.Contains(p.Stderr.String(), "KAFKA_HEADER_HUGE takes 800018 bytes") }, soon, 10*time.Millisecond)
	p.Signal(command.ErrTerminated)
	require.Zero(t, p.Wait())
	require.Equal(t, 1, sum(committed(b, "g", "orders")), "the record that failed is not passed over")
}

func TestLimitCountsCommandsThatSucceed(t *testing.T) {
	t.Parallel()
	b := orders(t, 4, numbered("orders", 100, 4)...)
	dir := t.TempDir()
	p := execute(t, b, `[ $KAFKA_ATTEMPT -gt 1 ] || exit 1; cat; echo`, "--limit", "25", "--concurrency", "8")
	require.Zero(t, p.Wait(), p.Stderr.String())
	require.Len(t, p.Stdout.Lines(), 25, dir)
	rest := executeAll(t, b, `cat; echo`)
	all := map[string]int{}
	for _, v := range append(p.Stdout.Lines(), rest.Stdout.Lines()...) {
		all[v]++
	}
	require.Len(t, all, 100)
	require.Len(t, rest.Stdout.Lines(), 75, "what was handled is committed")
}

func TestOutputThatBreaksEndsIt(t *testing.T) {
	t.Parallel()
	b := orders(t, 1, numbered("orders", 50, 1)...)
	out := &broken{takes: 10, err: syscall.EPIPE}
	p := start(t, out, []string{"PATH=" + os.Getenv("PATH")}, to(b, "-t", "orders", "-g", "g", "--exec", "cat; echo", "--order", "partition")...)
	require.Equal(t, 1, p.Wait(), p.Stderr.String())
	require.Contains(t, p.Stderr.String(), "writing to standard output: broken pipe; what was not written is not committed")
	require.LessOrEqual(t, sum(committed(b, "g", "orders")), strings.Count(out.text(), "\n"))
}

func TestSignalLetsCommandsFinish(t *testing.T) {
	t.Parallel()
	b := orders(t, 1, order("k", "v"))
	p := execute(t, b, `echo begun >&2; sleep 0.5; echo finished`)
	require.Eventually(t, func() bool { return strings.Contains(p.Stderr.String(), "begun") }, soon, 5*time.Millisecond)
	p.Signal(command.ErrTerminated)
	require.Zero(t, p.Wait())
	require.Equal(t, "finished\n", p.Stdout.String())
	require.Equal(t, 1, sum(committed(b, "g", "orders")))
}

func TestDrainTimeoutStopsCommands(t *testing.T) {
	t.Parallel()
	b := orders(t, 1, order("k", "v"))
	p := execute(t, b, `echo begun >&2; exec sleep 100`, "--drain-timeout", "200ms")
	require.Eventually(t, func() bool { return strings.Contains(p.Stderr.String(), "begun") }, soon, 5*time.Millisecond)
	began := time.Now()
	p.Signal(command.ErrTerminated)
	p.Wait()
	require.Less(t, time.Since(began), 10*time.Second)
	require.LessOrEqual(t, sum(committed(b, "g", "orders")), 0)
}

func TestLongLinesOnStandardErrorAreBroken(t *testing.T) {
	t.Parallel()
	b := orders(t, 1, order("k", "v"))
	p := executeAll(t, b, `head -c 20000 /dev/zero | tr '\0' x >&2`)
	require.Len(t, p.Stderr.Lines(), 3)
	for _, l := range p.Stderr.Lines() {
		require.True(t, strings.HasPrefix(l, "orders/0@0: x"))
	}
}
