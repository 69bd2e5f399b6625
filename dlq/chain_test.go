package dlq

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/failure"
)

var (
	topicID = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	born    = time.UnixMilli(1_700_000_000_000)
	now     = born.Add(time.Second)
	errDown = errors.New("booking 4711 of \"Ms. Lovelace\" refused")
)

// made is the chain of group boards for the topic orders, of four partitions.
func made(p Policy) *chain {
	c := newChain(failure.Env{Group: "boards", Topics: []string{"orders"}, Logger: zap.NewNop(), TopicID: func(string) [16]byte { return topicID }})
	prepared := preparation{chain: c, source: c.add("orders", p)}
	prepared.learnTiers()
	for _, w := range prepared.wanted() {
		c.beside.set(w.name, besideTopic{partitions: 4})
	}
	return c
}

func order(headers ...kgo.RecordHeader) *kgo.Record {
	return &kgo.Record{Topic: "orders", Partition: 3, Offset: 42, Key: []byte("k"), Value: []byte("v"), Headers: headers, Timestamp: born}
}

func failed(r *kgo.Record, attempt int, err error) failure.Failure {
	return failure.Failure{Record: r, Source: "orders", Attempt: attempt, Err: err, Verdict: duplex.VerdictOf(err), At: now, Ordered: true}
}

// follow has a record fail again and again, through the retry topics that it is sent
// to, and says where it was.
func follow(t *testing.T, c *chain, r *kgo.Record, err error) (where []string, last *kgo.Record) {
	t.Helper()
	for range 20 {
		attempt := 1
		if _, chained := c.tiers[r.Topic]; chained {
			a := c.Arrived(r)
			require.False(t, a.Moves)
			attempt = a.Attempts + 1
			where[len(where)-1] += "+" + a.Due.Sub(r.Timestamp).String()
		}
		step := c.Failed(failed(r, attempt, err))
		if step.Kind() != failure.Publish {
			return append(where, fmt.Sprint("again+", step.At().Sub(now))), r
		}
		r = step.Hop().Record
		r.Timestamp = now
		where = append(where, r.Topic)
		if strings.HasPrefix(r.Topic, "dlq.") {
			return where, r
		}
	}
	require.Fail(t, "it goes on for ever")
	return nil, nil
}

func TestChain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy Policy
		err    error
		where  []string
		reason string
	}{
		"as it is by default":   {Policy{}, errDown, []string{"retry.boards.orders.1+5s", "retry.boards.orders.2+1m0s", "retry.boards.orders.3+10m0s", "dlq.boards.orders"}, "exhausted"},
		"more attempts":         {Policy{Delays: []time.Duration{time.Second}, MaxAttempts: 3}, errDown, []string{"retry.boards.orders.1+1s", "retry.boards.orders.1+1s", "dlq.boards.orders"}, "exhausted"},
		"fewer attempts":        {Policy{MaxAttempts: 2}, errDown, []string{"retry.boards.orders.1+5s", "dlq.boards.orders"}, "exhausted"},
		"no retry":              {NoRetry, errDown, []string{"dlq.boards.orders"}, "exhausted"},
		"permanent":             {Policy{}, duplex.Permanent(errDown), []string{"dlq.boards.orders"}, "permanent"},
		"undecodable":           {Policy{}, &duplex.Error{Codes: []duplex.Code{duplex.ErrUndecodable}}, []string{"dlq.boards.orders"}, "undecodable"},
		"panic":                 {Policy{}, &duplex.Error{Codes: []duplex.Code{duplex.ErrPanic}}, []string{"dlq.boards.orders"}, "panic"},
		"expired":               {Policy{}, duplex.Permanent(&duplex.Error{Codes: []duplex.Code{duplex.ErrExpired}}), []string{"dlq.boards.orders"}, "expired"},
		"panics are classified": {Policy{MaxAttempts: 2, Classify: func(error) Class { return ClassRetry }}, &duplex.Error{Codes: []duplex.Code{duplex.ErrPanic}}, []string{"retry.boards.orders.1+5s", "dlq.boards.orders"}, "exhausted"},
		"classified permanent":  {Policy{Classify: func(error) Class { return ClassPermanent }}, errDown, []string{"dlq.boards.orders"}, "permanent"},
		"too old":               {Policy{MaxAge: time.Second}, errDown, []string{"dlq.boards.orders"}, "too-old"},
		"young enough":          {Policy{MaxAge: 2 * time.Second, MaxAttempts: 2}, errDown, []string{"retry.boards.orders.1+5s", "dlq.boards.orders"}, "exhausted"},
		"in place first":        {Policy{Immediate: 2}, errDown, []string{"again+"}, ""},
		"in order":              {Policy{KeepOrder: true}, errDown, []string{"again+5s"}, ""},
		"in order, for the last": {
			Policy{KeepOrder: true, MaxAttempts: 1}, errDown, []string{"dlq.boards.orders"}, "exhausted"},
		"told when, soon":  {Policy{}, duplex.RetryAfter(2*time.Second, errDown), []string{"again+2s"}, ""},
		"told when, later": {Policy{MaxAttempts: 2}, duplex.RetryAfter(time.Minute, errDown), []string{"retry.boards.orders.2+1m0s", "dlq.boards.orders"}, "exhausted"},
		"snoozed":          {Policy{}, duplex.Snooze(time.Second), []string{"again+1s"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			where, last := follow(t, made(test.policy), order(), test.err)
			require.Len(t, where, len(test.where), where)
			for i, want := range test.where {
				require.True(t, strings.HasPrefix(where[i], want), "%v", where)
			}
			reason, _ := duplex.Header(last, HeaderReason)
			require.Equal(t, test.reason, reason)
		})
	}
}

func TestImmediateAttemptsThenTheChain(t *testing.T) {
	t.Parallel()
	c := made(Policy{Immediate: 2})
	for attempt, kind := range map[int]failure.StepKind{1: failure.Again, 2: failure.Again, 3: failure.Publish} {
		require.Equal(t, kind, c.Failed(failed(order(), attempt, errDown)).Kind(), attempt)
	}
	require.Equal(t, RetryTopic("boards", "orders", 1), c.Failed(failed(order(), 3, errDown)).Hop().Record.Topic, "the first delay is not skipped")
}

func TestWithoutOrderToKeepItIsTheChain(t *testing.T) {
	t.Parallel()
	f := failed(order(), 1, errDown)
	f.Ordered = false
	require.Equal(t, failure.Publish, made(Policy{KeepOrder: true}).Failed(f).Kind())
}

// A wait between the delays, or longer than all of them, goes in pieces: the longest
// retry topic that fits, again and again, and the rest in its place.
func TestWaitInPieces(t *testing.T) {
	t.Parallel()
	c := made(Policy{})
	clock := now
	r := c.Failed(failed(order(), 1, duplex.RetryAfter(21*time.Minute+3*time.Second, errDown))).Hop().Record
	var pieces []string
	for {
		r.Timestamp = clock
		a := c.Arrived(r)
		pieces = append(pieces, a.Due.Sub(clock).String())
		clock = a.Due
		require.Equal(t, 1, a.Attempts)
		if !a.Moves {
			break
		}
		step := c.Move(r)
		if step.Kind() == failure.Again {
			pieces = append(pieces, step.At().Sub(clock).String())
			break
		}
		r = step.Hop().Record
	}
	require.Equal(t, []string{"10m0s", "10m0s", "1m0s", "3s"}, pieces)
	message, _ := duplex.Header(r, HeaderErrorMessage)
	require.Equal(t, errDown.Error(), message, "what went wrong stays with it")
}

func TestSnoozeThroughTheChainCostsNoAttempt(t *testing.T) {
	t.Parallel()
	c := made(Policy{})
	r := c.Failed(failed(order(), 1, duplex.Snooze(time.Minute))).Hop().Record
	r.Timestamp = now
	require.Equal(t, failure.Arrival{Due: now.Add(time.Minute)}, c.Arrived(r))
}

// What is the user's stays as it is, in its order, also with names that come twice
// or look like ours; ours on a source topic are not believed.
func TestUsersBytesStay(t *testing.T) {
	t.Parallel()
	r := order(text("b", "1"), text("dlq-attempt", "-5"), text("a", "2"), kgo.RecordHeader{Key: "n"}, text("b", "\xff\x00"), text("dlq-id", "forged"), text("dlq-note", "mine"))
	where, dead := follow(t, made(Policy{}), r, errDown)
	require.Len(t, where, 4)
	require.Equal(t, []byte("k"), dead.Key)
	require.Equal(t, []byte("v"), dead.Value)
	require.Equal(t, int32(3), dead.Partition)
	require.Equal(t, []kgo.RecordHeader{text("b", "1"), text("a", "2"), {Key: "n"}, text("b", "\xff\x00"), text("dlq-note", "mine")}, theirs(nil, dead.Headers))
	require.Len(t, duplex.HeaderValues(dead, HeaderID), 1)
	id, _ := duplex.Header(dead, HeaderID)
	require.Equal(t, "orders/3/42@boards#AQIDBA", id)
}

func TestGoldenDeadLetter(t *testing.T) {
	t.Parallel()
	_, dead := follow(t, made(Policy{MaxAttempts: 2}), order(text("trace", "x")), fmt.Errorf("boarding: %w", duplex.Permanent(errDown)))
	var b strings.Builder
	for _, h := range dead.Headers {
		fmt.Fprintf(&b, "%s=%s\n", h.Key, h.Value)
	}
	require.Equal(t, `trace=x
dlq-id=orders/3/42@boards#AQIDBA
dlq-origin-topic=orders
dlq-origin-topic-id=AQIDBAUGBwgJCgsMDQ4PEA
dlq-origin-partition=3
dlq-origin-offset=42
dlq-origin-timestamp=1700000000000
dlq-attempt=1
dlq-first-failed-at=1700000001000
dlq-generation=0
dlq-group=boards
dlq-handler=orders
dlq-reason=permanent
dlq-error-type=*errors.errorString
dlq-error-message=boarding: permanent: booking 4711 of "Ms. Lovelace" refused
dlq-last-failed-at=1700000001000
dlq-fingerprint=`+FingerprintV1{}.Fingerprint(Failure{Group: "boards", Handler: "orders", ErrorType: "*errors.errorString", ErrorMessage: `boarding: permanent: booking <n> of <text> refused`})+"\n", b.String())
}

func TestBoundsOfADeadLetter(t *testing.T) {
	t.Parallel()
	huge := errors.New(strings.Repeat("é", 100_000) + "\ngoroutine 1 [running]:\n" + strings.Repeat("main.f(0x1)\n", 100_000))
	for _, err := range []error{huge, duplex.Permanent(huge), errors.New("\xff\xfe")} {
		_, dead := follow(t, made(Policy{MaxAttempts: 2}), order(), err)
		n := 0
		for _, h := range dead.Headers {
			require.True(t, ours(h.Key))
			require.Equal(t, strings.ToValidUTF8(string(h.Value), "?"), string(h.Value), h.Key)
			n += len(h.Key) + len(h.Value)
		}
		require.Less(t, n, maxOurs)
	}
}

// Whatever stands in a topic of ours that we would not write makes a dead letter: it
// never runs at once, and never waits for ever.
func TestBadControl(t *testing.T) {
	t.Parallel()
	c := made(Policy{})
	good := c.Failed(failed(order(), 1, errDown)).Hop().Record
	good.Timestamp = now
	require.False(t, c.Arrived(good).Moves)
	for name, change := range map[string]func(r *kgo.Record){
		"no headers":      func(r *kgo.Record) { r.Headers = nil },
		"no ID":           func(r *kgo.Record) { duplex.DeleteHeader(r, HeaderID) },
		"an ID twice":     func(r *kgo.Record) { duplex.AddHeader(r, HeaderID, "x") },
		"negative":        func(r *kgo.Record) { duplex.SetHeader(r, HeaderAttempt, "-1") },
		"NaN":             func(r *kgo.Record) { duplex.SetHeader(r, HeaderAttempt, "NaN") },
		"huge":            func(r *kgo.Record) { duplex.SetHeader(r, HeaderAttempt, strings.Repeat("9", 100_000)) },
		"beyond int":      func(r *kgo.Record) { duplex.SetHeader(r, HeaderAttempt, "99999999999") },
		"plus":            func(r *kgo.Record) { duplex.SetHeader(r, HeaderAttempt, "+1") },
		"binary":          func(r *kgo.Record) { duplex.SetHeader(r, HeaderOriginOffset, "\x00\x00\x00\x2a") },
		"binary ID":       func(r *kgo.Record) { duplex.SetHeader(r, HeaderID, "\xff\xfe") },
		"a long ID":       func(r *kgo.Record) { duplex.SetHeader(r, HeaderID, strings.Repeat("x", 10_000)) },
		"for ever":        func(r *kgo.Record) { duplex.SetHeader(r, HeaderDue, "253402300799999") },
		"beyond time":     func(r *kgo.Record) { duplex.SetHeader(r, HeaderDue, "9223372036854775807") },
		"before time":     func(r *kgo.Record) { duplex.SetHeader(r, HeaderDue, "-62135596800000") },
		"no partition":    func(r *kgo.Record) { duplex.SetHeader(r, HeaderOriginPartition, "4294967296") },
		"half a topic ID": func(r *kgo.Record) { duplex.SetHeader(r, HeaderOriginTopicID, "AQID") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := *good
			r.Headers = append([]kgo.RecordHeader(nil), good.Headers...)
			change(&r)
			require.True(t, c.Arrived(&r).Moves)
			dead := c.Move(&r).Hop().Record
			require.Equal(t, DeadTopic("boards", "orders"), dead.Topic)
			reason, _ := duplex.Header(dead, HeaderReason)
			require.Equal(t, string(ReasonBadControl), reason)
			message, _ := duplex.Header(dead, HeaderErrorMessage)
			require.Contains(t, message, "header dlq-")
			require.Equal(t, r.Value, dead.Value)
		})
	}
}

func FuzzHeadersOfARetryTopic(f *testing.F) {
	f.Add("dlq-attempt", "1", "dlq-due", "1700000000000")
	f.Add("dlq-id", "\xff", "dlq-id", "x")
	c := made(Policy{})
	good := c.Failed(failed(order(), 1, errDown)).Hop().Record
	f.Fuzz(func(t *testing.T, a, av, b, bv string) {
		r := *good
		r.Timestamp = now
		r.Headers = append([]kgo.RecordHeader(nil), good.Headers...)
		duplex.SetHeader(&r, a, av)
		duplex.SetHeader(&r, b, bv)
		arrival := c.Arrived(&r)
		require.LessOrEqual(t, arrival.Due.Sub(now), 10*time.Minute)
		if !arrival.Moves {
			require.GreaterOrEqual(t, arrival.Due.Sub(now), 5*time.Second, "at once")
			return
		}
		if step := c.Move(&r); step.Kind() == failure.Again {
			require.Less(t, step.At().Sub(now), farthest+time.Hour)
		}
	})
}

func TestOnDeadIsToldOnce(t *testing.T) {
	t.Parallel()
	var told []Failure
	c := made(Policy{OnDead: func(f Failure) { told = append(told, f) }})
	_, dead := follow(t, c, order(), errDown)
	require.Len(t, told, 1)
	fingerprint, _ := duplex.Header(dead, HeaderFingerprint)
	require.Equal(t, fingerprint, told[0].Fingerprint)
	require.Equal(t, 4, told[0].Attempts)
	bad := &kgo.Record{Topic: RetryTopic("boards", "orders", 1), Timestamp: now}
	c.Arrived(bad)
	c.Arrived(bad)
	require.Len(t, told, 1)
	c.Move(bad)
	require.Len(t, told, 2)
}

func TestNames(t *testing.T) {
	t.Parallel()
	require.Equal(t, "retry.billing..eu.orders.1", RetryTopic("billing.eu", "orders", 1))
	require.Equal(t, "retry.billing.eu.orders.1", RetryTopic("billing", "eu.orders", 1))
	require.NoError(t, checkNames("billing.eu", "orders", 3))
	for says, of := range map[string][2]string{
		"shorten one of the two":                 {strings.Repeat("g", 200), strings.Repeat("t", 50)},
		`group "my group" cannot be part`:        {"my group", "orders"},
		`group ".boards": a name that begins or`: {".boards", "orders"},
		`topic "orders.": a name that begins or`: {"boards", "orders."},
	} {
		require.ErrorContains(t, checkNames(of[0], of[1], 3), says)
	}
}

func TestFingerprintsOfOneCause(t *testing.T) {
	t.Parallel()
	of := func(message string) string {
		return FingerprintV1{}.Fingerprint(Failure{ErrorType: "*net.OpError", ErrorMessage: message})
	}
	for a, b := range map[string]string{
		`booking 1 not found`:                              `booking 22 not found`,
		`key "LH 400" is taken`:                            `key 'AA 1' is taken`,
		`dial tcp 10.0.0.1:5432: timeout after 1.5s`:       `dial tcp 10.11.12.13:5433: timeout after 2.25s`,
		`at 2026-11-25T10:00:00Z: gone`:                    `at 2024-01-02 03:04:05.678+01:00: gone`,
		`id 0190b3f4-7a5c-7def-8abc-0123456789ab: refused`: `id ffffffff-7a5c-7def-8abc-0123456789ab: refused`,
		`hash deadbeef01 differs`:                          `hash 0x12ab differs`,
	} {
		require.Equal(t, of(a), of(b), "%s | %s", normalized(a), normalized(b))
	}
	require.NotEqual(t, of("not found"), of("not allowed"))
	require.NotEqual(t, of("decade of facade"), of("decade"), "words of the letters a to f are words")
	require.Regexp(t, `^v1:[0-9a-f]{16}$`, of(strings.Repeat(`"`, 1000)))
}

// What is too large becomes smaller until it ends somewhere.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	c := made(Policy{})
	panicked := &duplex.Error{Codes: []duplex.Code{duplex.ErrPanic}, Err: errors.New(strings.Repeat("x", 5000) + "\ngoroutine 1 [running]:\nmain.f()\n")}
	refused := func(h *failure.Hop) (*failure.Hop, *kgo.Record) {
		smaller := c.Refused(h)
		require.NotNil(t, smaller)
		require.Equal(t, failure.HopDead, smaller.Kind)
		reason, _ := duplex.Header(smaller.Record, HeaderReason)
		require.Equal(t, reason, smaller.Reason)
		return smaller, smaller.Record
	}
	big := func() *kgo.Record { return order(text("big", strings.Repeat("x", 5000))) }
	_, dead := refused(c.Failed(failed(big(), 1, fmt.Errorf("%w", errDown))).Hop())
	require.Equal(t, DeadTopic("boards", "orders"), dead.Topic)
	reason, _ := duplex.Header(dead, HeaderReason)
	require.Equal(t, "too-large", reason)
	require.Equal(t, []byte("v"), dead.Value)

	whole := c.Failed(failed(big(), 4, panicked)).Hop()
	_, stack := duplex.Header(whole.Record, HeaderErrorStack)
	require.True(t, stack)
	next, short := refused(whole)
	_, stack = duplex.Header(short, HeaderErrorStack)
	require.False(t, stack)
	require.Equal(t, []byte("v"), short.Value)
	require.Len(t, theirs(nil, short.Headers), 1)
	last, pointer := refused(next)
	require.Nil(t, pointer.Value)
	require.Empty(t, theirs(nil, pointer.Headers))
	id, _ := duplex.Header(pointer, HeaderID)
	require.Equal(t, "orders/3/42@boards#AQIDBA", id)
	message, _ := duplex.Header(pointer, HeaderErrorMessage)
	require.Contains(t, message, "(panic)")
	require.Nil(t, c.Refused(last))
	require.Len(t, theirs(nil, whole.Record.Headers), 1, "the larger one is as it was")
}
