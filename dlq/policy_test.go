package dlq

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/failure"
)

func TestPolicySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	require.NoError(t, Policy{}.Validate())
	require.NoError(t, NoRetry.Validate())
	for says, p := range map[string]Policy{
		"Delays[1] = 0s: want more than 0":                                {Delays: []time.Duration{time.Second, 0}},
		"want them in rising order":                                       {Delays: []time.Duration{time.Minute, time.Second}},
		"Delays: 17 of them: want at most 16":                             {Delays: make([]time.Duration, 17)},
		"MaxAttempts = -1: must not be negative":                          {MaxAttempts: -1},
		"MaxAttempts = 3: without Delays there is":                        {Delays: []time.Duration{}, MaxAttempts: 3},
		"Immediate = -1":                                                  {Immediate: -1},
		"MaxAge = -1s":                                                    {MaxAge: -time.Second},
		"MaxDeadRatio = NaN: want 0 to 1":                                 {MaxDeadRatio: math.NaN()},
		"Retention = -1s":                                                 {Retention: -time.Second},
		"OnFull = 7: want Pause or UseChain":                              {OnFull: 7},
		"UseChain: without Delays there are no":                           {KeepOrder: true, OnFull: UseChain, Delays: []time.Duration{}},
		`PerTopic["a"].PerTopic: must not be set`:                         {PerTopic: map[string]Policy{"a": {PerTopic: map[string]Policy{}}}},
		`PerTopic["b"]: OnFull = UseChain: is of use with KeepOrder only`: {PerTopic: map[string]Policy{"b": {OnFull: UseChain}}},
	} {
		require.ErrorContains(t, p.Validate(), says)
	}
}

// What PerTopic names has a policy of its own, as a whole; everything else has the
// one around it.
func TestPerTopic(t *testing.T) {
	t.Parallel()
	p := Policy{MaxAttempts: 2, Retention: time.Hour, PerTopic: map[string]Policy{"bills": {KeepOrder: true, MaxAttempts: 5}}}
	require.NoError(t, p.Validate())
	require.Equal(t, time.Hour, p.of("orders").Retention)
	require.Equal(t, DefaultRetention, p.of("bills").Retention, "what it leaves out has its default")
	c := made(p)
	c.add("bills", p)
	bill := failed(order(), 3, errDown)
	bill.Record.Topic, bill.Source = "bills", "bills"
	require.Equal(t, failure.Again, c.Failed(bill).Kind(), "three of five attempts, in order")
	require.Equal(t, failure.HopDead, c.Failed(failed(order(), 3, errDown)).Hop().Kind, "three of two")

	_, err := p.Chain(context.Background(), failure.Env{Group: "boards", Topics: []string{"orders", "mails"}, Logger: zap.NewNop()})
	require.ErrorContains(t, err, `PerTopic["bills"]: the consumer has no handler for that topic, only for orders, mails`)
}

// At its limit, KeepOrder holds the partition, or has what waits do so in the retry
// topics, until the same time.
func TestOnFull(t *testing.T) {
	t.Parallel()
	require.False(t, made(Policy{KeepOrder: true}).Displaces("orders"))
	c := made(Policy{KeepOrder: true, OnFull: UseChain})
	require.True(t, c.Displaces("orders"))
	due := time.Now().Add(90 * time.Second)
	h := c.Displace(failure.Waiting{Record: order(), Source: "orders", Attempts: 2, Due: due, Err: errDown}).Hop()
	require.Equal(t, RetryTopic("boards", "orders", 2), h.Record.Topic)
	require.Equal(t, failure.HopWait, h.Kind, "it was counted when it failed")
	h.Record.Timestamp = time.Now()
	j, err := parseJourney(h.Record)
	require.NoError(t, err)
	require.Equal(t, 2, j.attempts)
	require.Equal(t, due.UnixMilli(), j.due.UnixMilli())
	nearly := c.Displace(failure.Waiting{Record: order(), Source: "orders", Attempts: 1, Due: time.Now().Add(4 * time.Second), Err: errDown})
	require.Equal(t, RetryTopic("boards", "orders", 1), nearly.Hop().Record.Topic, "five seconds are not much longer")
	soon := c.Displace(failure.Waiting{Record: order(), Source: "orders", Attempts: 1, Due: time.Now().Add(time.Second), Err: errDown})
	require.Equal(t, failure.Again, soon.Kind(), "no retry topic is so short")
}

// What goes where says what it is, for metrics.
func TestHopsSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	c := made(Policy{})
	require.Equal(t, failure.HopRetry, c.Failed(failed(order(), 1, errDown)).Hop().Kind)
	require.Equal(t, failure.HopWait, c.Failed(failed(order(), 1, duplex.Snooze(time.Minute))).Hop().Kind)
	dead := c.Failed(failed(order(), 1, duplex.Permanent(errDown))).Hop()
	require.Equal(t, failure.HopDead, dead.Kind)
	require.Equal(t, "permanent", dead.Reason)
	fingerprint, _ := duplex.Header(dead.Record, HeaderFingerprint)
	require.Equal(t, fingerprint, dead.Fingerprint)
	require.NotEmpty(t, fingerprint)
}

// The topics of one source being flooded says nothing about those of another.
func TestBreakerIsOfATopic(t *testing.T) {
	t.Parallel()
	p := Policy{Delays: []time.Duration{}}
	c := made(p)
	c.add("mails", p)
	c.env.Topics = []string{"orders", "mails"}
	c.Handled("mails", 5000)
	held := 0
	for range 200 {
		if c.Failed(failed(order(), 1, errDown)).Kind() == failure.Again {
			held++
		}
	}
	require.Equal(t, 101, held, "of 100 the first are dead")
	mail := failed(order(), 1, errDown)
	mail.Record.Topic, mail.Source = "mails", "mails"
	require.Equal(t, failure.Publish, c.Failed(mail).Kind())
	problems := c.Problems()
	require.Len(t, problems, 1)
	require.Equal(t, "orders", problems[0].Subject)
}

// When its topic is deleted, it is said how many dead letters are gone.
func TestDeletedQueueIsSaid(t *testing.T) {
	t.Parallel()
	c := made(Policy{})
	for range 3 {
		c.Published(c.Failed(failed(order(), 1, duplex.Permanent(errors.New("no")))).Hop())
	}
	c.Published(c.Failed(failed(order(), 1, errDown)).Hop())
	p := preparation{chain: c, source: c.sources["orders"]}
	p.gone(wanted{name: DeadTopic("boards", "orders"), dead: true})
	p.gone(wanted{name: DeadTopic("boards", "orders"), dead: true}) // it could not be made, and is looked for again
	require.Contains(t, c.Problems()[0].Detail, "with 3 dead letters that this member had written")
	require.Equal(t, duplex.StatusRetryDataLost, c.Problems()[0].Code)
}

// text is a header.
func text(name, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: name, Value: []byte(value)}
}

// What was said before has the fingerprint that it had, and what is remembered is
// bounded.
func TestFingerprintsAreRemembered(t *testing.T) {
	t.Parallel()
	fs := fingerprints{by: FingerprintV1{}}
	for i := range 2 * mostKnown {
		for _, f := range []Failure{
			{ErrorMessage: fmt.Sprint("word", strings.Repeat("x", i))}, {ErrorMessage: "same", ErrorCode: fmt.Sprint(i)},
			{ErrorMessage: "same", Stack: "goroutine 1:\nmain.f(0x1)"}, {ErrorMessage: "same", ErrorType: "*app.Error"},
		} {
			require.Equal(t, FingerprintV1{}.Fingerprint(f), fs.of(f))
			require.Equal(t, FingerprintV1{}.Fingerprint(f), fs.of(f))
		}
		require.LessOrEqual(t, len(fs.known), mostKnown)
	}
}
