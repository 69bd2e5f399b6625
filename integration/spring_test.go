package integration

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/rpc"
)

// spring is the program in the folder of that name, built once in a run: a caller and a
// server as they are written with Spring for Apache Kafka.
var spring = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	build := exec.CommandContext(ctx, "mvn", "-B", "-q", "compile", "dependency:copy-dependencies")
	build.Dir = "spring"
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the Spring program: %w\n%s", err, out)
	}
	return nil
})

// springPatience is for a JVM on a machine that has much else to do.
const springPatience = 2 * time.Minute

// needSpring skips the test where there is no Java or no Maven, and one line says so.
func needSpring(t *testing.T) {
	t.Helper()
	for _, needed := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(needed); err != nil {
			fmt.Fprintf(os.Stderr, "integration: SKIPPING %s: calls to and from Spring need java and mvn: %v\n", t.Name(), err)
			t.Skip(err)
		}
	}
}

// startSpring starts the Spring program.
func startSpring(t *testing.T, args ...string) *process {
	t.Helper()
	require.NoError(t, spring())
	java, err := exec.LookPath("java")
	require.NoError(t, err)
	target, err := filepath.Abs("spring/target")
	require.NoError(t, err)
	classes := filepath.Join(target, "classes") + string(filepath.ListSeparator) + filepath.Join(target, "dependency", "*")
	return startPath(t, java, append([]string{"-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", classes, "duplex.spring.Peer"}, args...), nil)
}

// springCall is a line of what the Spring program is to ask.
type springCall struct {
	id, to, replies string
	partition       int // -1 where Spring is to choose
	wait            time.Duration
	headers         string // name=value;name=value
	value           []byte
}

func (c springCall) String() string {
	return fmt.Sprintf("%s\t%s\t%s\t%d\t%d\t%s\t%s\n", c.id, c.to, c.replies, c.partition, c.wait.Milliseconds(), c.headers, base64.StdEncoding.EncodeToString(c.value))
}

// springReply is a line of what came of it: a value, what Duplex's headers say of an
// error, or the exception.
type springReply struct {
	ID, Server, Status, Executed, Message, Failure string
	Value                                          []byte
	Partition                                      int
}

// springAsks has the Spring program ask, and returns what came of each call.
func springAsks(t *testing.T, c duplex.Cluster, calls []springCall) map[string]springReply {
	t.Helper()
	p := startSpring(t, "ask", strings.Join(c.Brokers, ","))
	for _, call := range calls {
		_, err := fmt.Fprint(p.Stdin, call)
		require.NoError(t, err)
	}
	require.NoError(t, p.Stdin.Close())
	require.Equal(t, 0, p.wait(t))
	replies := map[string]springReply{}
	for _, line := range p.stdout.waitLines(t, len(calls), springPatience) {
		var reply springReply
		require.NoError(t, json.Unmarshal([]byte(line), &reply), line)
		require.NotContains(t, replies, reply.ID, "a call ended twice")
		replies[reply.ID] = reply
	}
	require.Len(t, replies, len(calls))
	return replies
}

// noText is a value of a test, which differs from all others.
func noText(i int) []byte {
	value := append(fmt.Appendf(nil, "%d", i), 0, 0xff, 0xfe, '\n', '"', 0x80, 0xc3, byte(i), byte(i>>8))
	return append(value, make([]byte, i%7*1000)...)
}

func reversed(value []byte) []byte {
	back := slices.Clone(value)
	slices.Reverse(back)
	return back
}

// serveReversed serves a method that gives a request from its end to its beginning, as the
// Spring program does.
func serveReversed(t *testing.T, c duplex.Cluster, service string, prefixes []string, beside ...rpc.Handler) *rpc.Server {
	t.Helper()
	m := rpc.Method[[]byte, []byte]{Service: service, Name: "Reverse", Codec: duplex.Bytes}
	s, err := rpc.NewServer(rpc.ServerConfig{Cluster: c, ReplyPrefixes: prefixes, Handlers: append(beside,
		rpc.Handle(m, func(_ context.Context, value []byte) ([]byte, error) {
			switch string(value) {
			case "refuse":
				return nil, rpc.Errorf(rpc.NotFound, "no such flight — ☂").WithDetail("flight", []byte{0, 255})
			case "fail":
				return nil, errors.New("oops")
			}
			return reversed(value), nil
		}),
	)})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	return s
}

// A ReplyingKafkaTemplate, which knows nothing of Duplex, calls a Duplex server.
func TestSpringCallsDuplex(t *testing.T) {
	t.Parallel()
	const plain, placed = 200, 100
	needSpring(t)
	c := cluster(t)
	service, other := duplextest.Unique("reverse"), duplextest.Unique("reverse")
	inside := duplextest.NewTopic(t, c, "rpc.replies.spring", 4, nil)
	outside := duplextest.NewTopic(t, c, "replies-of-spring", 2, nil)
	s := serveReversed(t, c, service, nil)
	lenient := serveReversed(t, c, other, []string{"replies-of-spring"}, rpc.HandleRecord(other, "Another", func(context.Context, *kgo.Record) (*kgo.Record, error) {
		return nil, errors.New("nobody calls this")
	}))
	to := func(id string, value []byte) springCall {
		return springCall{id: id, to: rpc.RequestTopic(service), replies: inside, partition: -1, wait: time.Minute, value: value}
	}
	var calls []springCall
	for i := range plain {
		calls = append(calls, to(fmt.Sprint("plain ", i), noText(i)))
	}
	for i := range placed {
		call := to(fmt.Sprint("placed ", i), noText(i))
		call.partition, call.headers = 2, rpc.HeaderMethod+"="+service+"/Reverse;"+rpc.HeaderTimeout+"=60000"
		calls = append(calls, call)
	}
	calls = append(calls, to("empty", nil), to("refuse", []byte("refuse")), to("fail", []byte("fail")))
	unknown, refused, allowed, which := to("unknown", nil), to("refused", []byte("never")), to("allowed", []byte("abc")), to("which", []byte("abc"))
	unknown.headers = rpc.HeaderMethod + "=" + service + "/Nope"
	refused.replies, refused.wait = outside, 5*time.Second
	allowed.replies, allowed.to, allowed.headers = outside, rpc.RequestTopic(other), rpc.HeaderMethod+"="+other+"/Reverse"
	which.replies, which.to = outside, rpc.RequestTopic(other)
	calls = append(calls, unknown, refused, allowed, which)

	replies := springAsks(t, c, calls)
	for _, call := range calls[:plain+placed+1] {
		reply := replies[call.id]
		require.True(t, slices.Equal(reversed(call.value), reply.Value), "%s: %+v", call.id, reply)
		require.Contains(t, reply.Server, service+"/")
		require.Equal(t, max(call.partition, 0), reply.Partition, "without a partition that is the first")
		require.Empty(t, reply.Status+reply.Failure)
	}
	refusal := replies["refuse"]
	message, err := url.PathUnescape(refusal.Message)
	require.NoError(t, err)
	require.Equal(t, []string{"not_found", "completed", "no such flight — ☂"}, []string{refusal.Status, refusal.Executed, message})
	require.JSONEq(t, `{"code":"not_found","message":"no such flight — ☂","details":[{"type":"flight","value":"AP8"}]}`, string(refusal.Value))
	require.Equal(t, []string{"internal", "completed"}, []string{replies["fail"].Status, replies["fail"].Executed})
	require.Equal(t, []string{"unimplemented", "never"}, []string{replies["unknown"].Status, replies["unknown"].Executed})
	require.Equal(t, []string{"unimplemented", "never"}, []string{replies["which"].Status, replies["which"].Executed}, "of two methods")
	require.Equal(t, "cba", string(replies["allowed"].Value), "with the topic among ReplyPrefixes")
	require.Equal(t, springReply{ID: "refused", Failure: "KafkaReplyTimeoutException"}, replies["refused"])
	require.EqualValues(t, 1, s.Status().Counts["refused_addresses"])
	require.Zero(t, lenient.Status().Counts["refused_addresses"])
	require.EqualValues(t, 2, logSize(t, c, outside), "what is refused is not written")
}

// A Duplex client calls a @KafkaListener with @SendTo, which knows nothing of Duplex.
func TestDuplexCallsSpring(t *testing.T) {
	t.Parallel()
	const callers, each = 20, 15
	needSpring(t)
	c := cluster(t)
	topic := duplextest.NewTopic(t, c, rpc.RequestTopic("reverse"), 3, nil)
	service := strings.TrimPrefix(topic, rpc.RequestTopic(""))
	m := rpc.Method[[]byte, []byte]{Service: service, Name: "Reverse", Codec: duplex.Bytes, Timeout: time.Minute}
	client, err := rpc.NewClient(rpc.ClientConfig{Cluster: c, Service: duplextest.Unique("desk")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	p := startSpring(t, "answer", strings.Join(c.Brokers, ","), topic, rpc.Group(service))
	require.Equal(t, "ready", p.stdout.waitLines(t, 1, springPatience)[0])

	var calling sync.WaitGroup
	for caller := range callers {
		calling.Go(func() {
			for i := caller * each; i < (caller+1)*each; i++ {
				if got, err := rpc.Call(t.Context(), client, m, noText(i)); err != nil || !slices.Equal(got, reversed(noText(i))) {
					t.Errorf("call %d: %d bytes, %v", i, len(got), err)
				}
			}
		})
	}
	calling.Wait()
	got, err := rpc.Call(t.Context(), client, m, []byte{})
	require.NoError(t, err)
	require.Empty(t, got)

	_, err = rpc.Call(t.Context(), client, m, []byte("refuse"))
	e, ok := errors.AsType[*rpc.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, []any{rpc.NotFound, "no such flight", rpc.Completed, true}, []any{e.Code, e.Message, e.Executed, e.Remote}, "as its error handler has it in headers")

	m.Timeout = 3 * time.Second
	began := time.Now()
	_, err = rpc.Call(t.Context(), client, m, []byte("fail"))
	require.ErrorIs(t, err, rpc.DeadlineExceeded, "Spring answers nothing where a listener throws")
	require.Equal(t, rpc.Maybe, rpc.ExecutedOf(err))
	require.GreaterOrEqual(t, time.Since(began), m.Timeout)
	counts := client.Status().Counts
	require.Equal(t, []int64{callers*each + 1, 0, 0, 0, 0}, []int64{counts["answered"], counts["late"], counts["duplicate"], counts["unknown"], counts["pending"]})

	require.NoError(t, p.Stdin.Close())
	require.Equal(t, 0, p.wait(t))
	require.Eventually(t, func() bool {
		_, err = rpc.Call(t.Context(), client, m, []byte("gone"))
		return errors.Is(err, rpc.Unavailable)
	}, springPatience, 100*time.Millisecond, "nobody serves")
	require.Equal(t, rpc.Never, rpc.ExecutedOf(err))
}
