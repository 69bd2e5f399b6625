package push_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
)

// forEver keeps records whose timestamps a test has chosen.
func forEver() map[string]string { return map[string]string{"retention.ms": "-1"} }

func TestRecordsBecomeLines(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders", Configs: forEver()})
	at := time.UnixMilli(1700000000123)
	publish(t, b,
		&kgo.Record{Topic: "orders", Timestamp: at, Key: []byte("k"), Value: []byte("a\tb"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("\xff")}}},
		&kgo.Record{Topic: "orders", Timestamp: at, Value: []byte("two\nlines")},
		&kgo.Record{Topic: "orders", Timestamp: at, Key: []byte("gone")},
	)
	require.Equal(t, []string{
		`{"topic":"orders","partition":0,"offset":0,"timestamp":1700000000123,"key":"k","value":"a\tb","headers":[["h","1"],["h","/w==","b64"]]}`,
		`{"topic":"orders","partition":0,"offset":1,"timestamp":1700000000123,"key":null,"value":"two\nlines","headers":[]}`,
		`{"topic":"orders","partition":0,"offset":2,"timestamp":1700000000123,"key":"gone","value":null,"headers":[]}`,
	}, run(t, b, "-t", "orders", "-g", "json", "--until-end"))
	require.Equal(t, []string{"a\tb", "two", "lines", ""}, run(t, b, "-t", "orders", "-g", "lines", "--until-end", "-o", "lines"))
	require.Equal(t, []string{"orders 0 0 k", "orders 0 1 ", "orders 0 2 gone"}, run(t, b, "-t", "orders", "-g", "layout", "--until-end", "-o", `%t %p %o %k\n`))
}

func TestSeveralTopics(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "a"}, broker.Topic{Name: "b"}, broker.Topic{Name: "c"})
	publish(t, b, numbered("a", 1, 1)[0], numbered("b", 1, 1)[0], numbered("c", 1, 1)[0])
	require.ElementsMatch(t, []string{"a", "b", "c"}, run(t, b, "-t", "a,b", "-t", "c", "-t", "a", "-g", "g", "--until-end", "-o", `%t\n`))
}

func TestFromSaysWhereANewGroupBegins(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders", Partitions: 2, Configs: forEver()})
	records := numbered("orders", 6, 2)
	for i, r := range records {
		r.Timestamp = time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC)
	}
	publish(t, b, records...)
	for from, want := range map[string][]string{
		"start":                     {"0", "1", "2", "3", "4", "5"},
		"end":                       {},
		"2026-01-01T00:00:03Z":      {"3", "4", "5"},
		"2026-01-01T02:00:03+02:00": {"3", "4", "5"},
		"2026-01-01T00:00:03.5Z":    {"4", "5"},
		"2027-01-01T00:00:00Z":      {},
	} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			require.ElementsMatch(t, want, values(t, run(t, b, "-t", "orders", "-g", "from-"+from, "--from", from, "--until-end")))
			require.Empty(t, run(t, b, "-t", "orders", "-g", "from-"+from, "--from", "start", "--until-end"), "the group has offsets")
		})
	}
}

func TestUntilEndStopsAtTheEnd(t *testing.T) {
	t.Parallel()
	for name, fill := range map[string]func(t *testing.T, b *broker.Broker) (want []string){
		"nothing there": func(*testing.T, *broker.Broker) []string { return nil },
		"one partition has all": func(t *testing.T, b *broker.Broker) []string {
			publish(t, b, numbered("orders", 3, 1)...)
			return []string{"0", "1", "2"}
		},
		"every partition": func(t *testing.T, b *broker.Broker) (want []string) {
			publish(t, b, numbered("orders", 3000, 6)...)
			for i := range 3000 {
				want = append(want, strconv.Itoa(i))
			}
			return want
		},
		"ends with a committed transaction": func(t *testing.T, b *broker.Broker) []string {
			transact(t, b, kgo.TryCommit, numbered("orders", 6, 6)...)
			return []string{"0", "1", "2", "3", "4", "5"}
		},
		"ends with an aborted transaction": func(t *testing.T, b *broker.Broker) []string {
			publish(t, b, numbered("orders", 2, 2)...)
			transact(t, b, kgo.TryAbort, numbered("orders", 6, 6)...)
			return []string{"0", "1"}
		},
		"all of it was deleted": func(t *testing.T, b *broker.Broker) []string {
			publish(t, b, numbered("orders", 6, 6)...)
			for p := range int32(6) {
				require.NoError(t, b.Kfake().DeleteRecords("orders", p, 1))
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := apptest.Listen(t, broker.Topic{Name: "orders", Partitions: 6})
			want := fill(t, b)
			require.ElementsMatch(t, want, values(t, run(t, b, "-t", "orders", "-g", "g", "--until-end")))
			require.Empty(t, run(t, b, "-t", "orders", "-g", "g", "--until-end"), "what was committed came again")
		})
	}
}

// transact publishes the records in a transaction that ends as end says.
func transact(t *testing.T, b *broker.Broker, end kgo.TransactionEndTry, records ...*kgo.Record) {
	t.Helper()
	client, err := kafka.NewClient(b.Cluster(), nil, kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.BeginTransaction())
	require.NoError(t, client.ProduceSync(t.Context(), records...).FirstErr())
	require.NoError(t, client.EndTransaction(t.Context(), end))
}

func TestUntilEndEndsWhileOthersPublish(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	publish(t, b, numbered("orders", 10, 1)...)
	ended := make(chan struct{})
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
				publish(t, b, numbered("orders", 1, 1)...)
			}
		}
	})
	p := start(t, nil, nil, to(b, "-t", "orders", "-g", "g", "--until-end")...)
	require.Zero(t, p.Wait(), p.Stderr.String())
	close(ended)
	publishing.Wait()
	require.GreaterOrEqual(t, len(p.Stdout.Lines()), 10)
	require.Equal(t, len(p.Stdout.Lines()), sum(committed(b, "g", "orders")))
}

func TestUntilEndWaitsForASlowOutput(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	publish(t, b, numbered("orders", 3000, 1)...) // some batches
	out := &gate{open: make(chan struct{}), reached: make(chan struct{}, 1000)}
	p := start(t, out, nil, to(b, "-t", "orders", "-g", "g", "--until-end", "--commit-interval", "50ms")...)
	<-out.reached
	select {
	case code := <-p.Code:
		require.Fail(t, "it ended before anything was written", "exit %d", code)
	case <-time.After(time.Second): // much longer than it takes to look for the end
	}
	close(out.open)
	require.Zero(t, p.Wait(), p.Stderr.String())
	require.Len(t, out.Lines(), 3000)
}

// gate holds up what is written until it is opened.
type gate struct {
	apptest.Output
	open    chan struct{}
	reached chan struct{}
}

func (g *gate) Write(b []byte) (int, error) {
	g.reached <- struct{}{}
	<-g.open
	return g.Output.Write(b)
}

func TestLimitIsExactAndSoIsWhatIsCommitted(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders", Partitions: 4})
	publish(t, b, numbered("orders", 400, 4)...)
	var all []string
	for i, limit := range []int{1, 150, 7, 200} {
		got := values(t, run(t, b, "-t", "orders", "-g", "g", "--limit", strconv.Itoa(limit)))
		require.Len(t, got, limit)
		all = append(all, got...)
		require.Equal(t, len(all), sum(committed(b, "g", "orders")), "run %d", i)
	}
	all = append(all, values(t, run(t, b, "-t", "orders", "-g", "g", "--until-end", "--limit", "1000"))...)
	var want []string
	for i := range 400 {
		want = append(want, strconv.Itoa(i))
	}
	require.ElementsMatch(t, want, all, "records between two runs were lost or repeated")
}

// broken is a standard output that takes some bytes and then fails as err says;
// short has it claim to have written less than it was given.
type broken struct {
	mu    sync.Mutex
	takes int
	err   error
	short bool
	got   strings.Builder
}

func (w *broken) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(b), w.takes)
	w.takes -= n
	w.got.Write(b[:n])
	if n == len(b) || w.short {
		return n, nil
	}
	return n, w.err
}

func (w *broken) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got.String()
}

func TestWhatWasNotWrittenIsNotCommitted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		out  *broken
		says string
	}{
		"full disk at once":     {&broken{err: errors.New("no space left on device")}, "no space left on device"},
		"full disk later":       {&broken{takes: 100_000, err: errors.New("no space left on device")}, "no space left on device"},
		"closed pipe":           {&broken{takes: 70_001, err: syscall.EPIPE}, "broken pipe"},
		"writes less than told": {&broken{takes: 100_000, short: true}, "short write"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := apptest.Listen(t, broker.Topic{Name: "orders", Partitions: 3})
			const n = 3000
			publish(t, b, numbered("orders", n, 3)...)
			p := start(t, test.out, nil, to(b, "-t", "orders", "-g", "g")...)
			require.Equal(t, 1, p.Wait(), p.Stderr.String())
			require.Contains(t, p.Stderr.String(), "consumer: writing to standard output: "+test.says)
			require.Contains(t, p.Stderr.String(), "what was not written is not committed")
			require.Len(t, lines(p.Stderr.String()), 1, "said once: %s", p.Stderr.String())
			whole := strings.Count(test.out.text(), "\n")
			require.LessOrEqual(t, sum(committed(b, "g", "orders")), whole)

			seen := map[string]bool{}
			written := lines(test.out.text())[:whole]
			for _, v := range append(values(t, written), values(t, run(t, b, "-t", "orders", "-g", "g", "--until-end"))...) {
				seen[v] = true
			}
			require.Len(t, seen, n)
		})
	}
}

// A reader of a pipe may stop reading without closing it.
func TestHungOutputEndsWithTheDrainTimeout(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	publish(t, b, numbered("orders", 10, 1)...)
	out := &gate{open: make(chan struct{}), reached: make(chan struct{}, 10)}
	p := start(t, out, nil, to(b, "-t", "orders", "-g", "g", "--drain-timeout", "100ms")...)
	<-out.reached
	p.Signal(command.ErrTerminated)
	require.Equal(t, 1, p.Wait(), p.Stderr.String())
	require.Contains(t, p.Stderr.String(), "did not return within 100ms")
	require.LessOrEqual(t, sum(committed(b, "g", "orders")), 0)
	close(out.open)
}

func TestSignalsEndItInGoodOrder(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cause error
		code  int
	}{"SIGTERM": {command.ErrTerminated, 0}, "SIGINT": {command.ErrInterrupted, 130}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := apptest.Listen(t, broker.Topic{Name: "orders", Partitions: 3})
			publish(t, b, numbered("orders", 300, 3)...)
			p := start(t, nil, nil, to(b, "-t", "orders", "-g", "g", "--commit-interval", "1h")...)
			require.Eventually(t, func() bool { return len(p.Stdout.Lines()) == 300 }, 20*time.Second, 10*time.Millisecond)
			p.Signal(test.cause)
			require.Equal(t, test.code, p.Wait(), p.Stderr.String())
			require.Equal(t, 300, sum(committed(b, "g", "orders")))
			require.Empty(t, p.Stderr.String())
		})
	}
}

func TestSignalEndsTheSearchForACluster(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cause error
		code  int
	}{"SIGTERM": {command.ErrTerminated, 0}, "SIGINT": {command.ErrInterrupted, 130}} {
		for _, more := range [][]string{nil, {"--until-end"}} {
			t.Run(name+fmt.Sprint(more), func(t *testing.T) {
				t.Parallel()
				p := start(t, nil, nil, append([]string{"-t", "orders", "-g", "g", "--brokers", apptest.Silence(t)}, more...)...)
				p.Signal(test.cause)
				require.Equal(t, test.code, p.Wait(), p.Stderr.String())
			})
		}
	}
}

func TestStartTimeoutBoundsTheSearchForACluster(t *testing.T) {
	t.Parallel()
	for _, more := range [][]string{nil, {"--until-end"}} {
		began := time.Now()
		p := start(t, nil, nil, append([]string{"-t", "orders", "-g", "g", "--start-timeout", "2200ms", "--brokers", apptest.Silence(t)}, more...)...)
		require.Equal(t, 1, p.Wait())
		require.Less(t, time.Since(began), 7*time.Second)
		require.Contains(t, p.Stderr.String(), `waiting for group "g" at 127.0.0.1`)
		require.Contains(t, p.Stderr.String(), "unreachable")
		require.Empty(t, p.Stdout.String())
	}
}

func TestMissingTopicIsNamed(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	p := start(t, nil, nil, to(b, "-t", "orders,ordres", "-g", "g")...)
	require.Equal(t, 1, p.Wait())
	require.Contains(t, p.Stderr.String(), `"ordres": unknown-topic`)
	require.Nil(t, b.Kfake().GroupInfo("g"), "it joined")
}

func TestPipeThatIsClosedWhileNothingComes(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close()
	p := start(t, w, nil, to(b, "-t", "orders", "-g", "g", "-o", "lines")...)
	publish(t, b, numbered("orders", 1, 1)...)
	var buf [8]byte
	n, err := r.Read(buf[:])
	require.NoError(t, err)
	require.Equal(t, "0\n", string(buf[:n]))
	require.NoError(t, r.Close())
	publish(t, b, numbered("orders", 1, 1)...)
	require.Equal(t, 1, p.Wait())
	require.Contains(t, p.Stderr.String(), "broken pipe")
	require.Equal(t, 1, sum(committed(b, "g", "orders")))
}
