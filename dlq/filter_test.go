package dlq

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func sample() *Letter {
	return &Letter{
		Failure: Failure{
			ID: "orders/3/42@boards#AQIDBA", Origin: Origin{Topic: "orders", Partition: 3, Offset: 42, Timestamp: born}, Group: "boards", Handler: "orders", Reason: ReasonPanic,
			ErrorType: "*net.OpError", ErrorCode: "unreachable", ErrorMessage: `no "seat" \ for 4711`, Attempts: 4, FirstFailed: born, LastFailed: now, Fingerprint: "v1:9f2c0123456789ab", Generation: 2,
		},
		Topic: "dlq.boards.orders", Time: now.Add(time.Second), Dialect: DialectDuplex, State: StateOpen,
		Record: &kgo.Record{Key: []byte("customer 7"), Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte("a")}, {Key: "kind", Value: []byte("b")}, {Key: "a=b c", Value: nil}}},
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"":                                          true,
		"  ":                                        true,
		"fingerprint=v1:9f2c0123456789ab":           true,
		"fingerprint=9f2c":                          true,
		"fingerprint=v1:9f2c":                       true,
		"fingerprint=2c01":                          false,
		"fingerprint~2c01":                          true,
		"reason=panic":                              true,
		"!reason=panic":                             false,
		"reason=exhausted":                          false,
		"type~OpError$ code=unreachable":            true,
		`message="no \"seat\" \ for 4711"`:          true,
		`message~"seat. .* \d+$"`:                   true,
		"message~seat !group=boards":                false,
		"group=boards handler=orders":               true,
		"origin=orders partition=3 offset=42":       true,
		"offset<42":                                 false,
		"offset<=42 offset>=42 offset>41 offset<43": true,
		`key="customer 7"`:                          true,
		"key=customer":                              false,
		"k:^customer":                               true,
		"!k:^customer":                              false,
		"header.kind=a":                             true,
		"header.kind=b":                             true,
		"header.kind=c":                             false,
		"!header.kind=c":                            true,
		"h:kind=^[ab]$":                             true,
		`header."a=b c"=""`:                         true,
		"header.none~.*":                            false,
		"failed=2023-11-14T22:13:21Z":               true,
		"failed>2023-11-14":                         true,
		"first<2023-11-14T22:13:20.001Z":            true,
		"time>=2023-11-14T23:13:22+01:00":           true,
		"time>2023-11-14T23:13:22+01:00":            false,
		"age>7d":                                    true,
		"age<90m":                                   false,
		"generation>1 attempts<5":                   true,
		"state=open dialect=duplex":                 true,
		"state=dead-again":                          false,
		"id=orders/3/42@boards#AQIDBA":              true,
		"id~^orders/3/":                             true,
	} {
		f, err := ParseFilter(text)
		require.NoError(t, err, "%s", text)
		require.Equal(t, want, f.Match(sample()), "%s", text)
		again, err := ParseFilter(f.String())
		require.NoError(t, err, "%s", f)
		require.Equal(t, f.String(), again.String())
		require.Equal(t, want, again.Match(sample()), "%s", f)
		require.Equal(t, strings.TrimSpace(text) == "", f.All())
	}
}

func TestFilterKnowsWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	empty := &Letter{Failure: Failure{Origin: Origin{Partition: -1, Offset: -1}}, Record: &kgo.Record{}}
	for text, want := range map[string]bool{
		"partition>=0": false, "!partition>=0": true, "partition<5": false, "offset<5": false, "failed<2100-01-01": false, "age>0s": false, "first<2100-01-01": false,
		`key=""`: true, `group=""`: true,
	} {
		f, err := ParseFilter(text)
		require.NoError(t, err, text)
		require.Equal(t, want, f.Match(empty), text)
	}
	bare := &Letter{}
	for _, text := range []string{"key=a", "header.a=b"} {
		f, err := ParseFilter(text)
		require.NoError(t, err, text)
		require.False(t, f.Match(bare), text)
	}
}

func TestFilterSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"reason=panic grop=x":             "at character 14: there is no field \"grop\": did you mean group?\n  reason=panic grop=x\n               ^",
		"ä=1":                             "at character 1: want the name of a field: fingerprint, reason,",
		"banana=1":                        "there is no field \"banana\": there are fingerprint, reason,",
		"reason":                          "at character 7: behind reason want one of =  ~\n  reason\n        ^",
		"reason<x":                        "behind reason want one of =  ~",
		"reason!=x":                       "put ! in front of the term",
		"key=~x":                          "= is for a value, ~ for a regular expression",
		"key==x":                          "quote a value that begins with =",
		"offset~4":                        "behind offset want one of =  <  <=  >  >=",
		"age=1h":                          "behind age want one of <  <=  >  >=",
		"offset=four":                     "at character 8: offset is a number, \"four\" is none",
		"offset=9223372036854775808":      "is none",
		"failed>1h":                       "for how long ago, use age>1h",
		"age>tomorrow":                    "age is a duration such as 90m, 12h or 7d",
		"age>-1h":                         "age is a duration",
		"age>99999d":                      "age is a duration",
		`key="a`:                          "at character 5: this quote has no end",
		`key="a"b`:                        "at character 8: there must be a space before the next term",
		"message~(":                       "missing closing )",
		"message~a**":                     "invalid nested repetition operator",
		"header=a":                        "want a dot and the name of a header",
		"header.=a":                       "want the name of a header",
		"h:kind":                          "h:NAME=regexp",
		"state=opne":                      "there is no state \"opne\": did you mean open?",
		"state=lost":                      "there is no state \"lost\": there are open, selected",
		"dialect=springs":                 "did you mean spring?",
		"fingerprint=9f2":                 "want at least 4 characters",
		"fingerprint=v1:9":                "want at least 4 characters",
		"!":                               "at character 2: want the name of a field",
		"!!key=a":                         "at character 2: want the name of a field",
		strings.Repeat("key=a ", 33):      "more than 32 terms",
		strings.Repeat("a", 5000):         "it has 5000 bytes, at most 4096 are read",
		"key~" + strings.Repeat("a", 600): "a regular expression may have 512 bytes, this one has 600",
		"key=\x1b[2J grop=x":              "  key=?[2J grop=x\n       ^",
	} {
		_, err := ParseFilter(text)
		require.ErrorContains(t, err, want, "%s", text)
		var fe *FilterError
		require.ErrorAs(t, err, &fe)
		require.NotContains(t, err.Error(), "\x1b")
		lines := strings.Split(err.Error(), "\n")
		require.Len(t, lines, 3)
		require.Less(t, len(lines[1]), 4*130)
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	require.Equal(t, 3, distance("kitten", "sitting"))
	require.Equal(t, 0, distance("a", "a"))
	require.Equal(t, 2, distance("", "ab"))
	require.Equal(t, "group", nearest("gruop", fieldNames()))
	require.Equal(t, "", nearest("x", []string{"id"}), "all of it would change")
}

// model is a filter of plain words: what Match must say, found another way.
type model struct {
	text string
	want func(*Letter) bool
}

func models(r *rand.Rand) model {
	word := func() string { return []string{"a", "ab", "b", "", "a b", `"`, `\`, "~", "=x", "ä", "!"}[r.IntN(11)] }
	var m model
	value := word()
	texts := map[string]func(*Letter) string{
		"reason": func(l *Letter) string { return string(l.Reason) }, "group": func(l *Letter) string { return l.Group }, "message": func(l *Letter) string { return l.ErrorMessage },
		"key": func(l *Letter) string { return string(l.Record.Key) }, "header.h": func(l *Letter) string { return string(l.Record.Headers[0].Value) },
	}
	name := []string{"reason", "group", "message", "key", "header.h", "attempts", "partition", "failed"}[r.IntN(8)]
	n := r.IntN(4)
	op := []string{"=", "<", "<=", ">", ">="}[r.IntN(5)]
	holds := func(a int) bool {
		return map[string]bool{"=": a == n, "<": a < n, "<=": a <= n, ">": a > n, ">=": a >= n}[op]
	}
	switch get := texts[name]; {
	case get != nil && r.IntN(2) == 0:
		m = model{name + "=" + quoted(value), func(l *Letter) bool { return get(l) == value }}
	case get != nil:
		m = model{name + "~" + quoted(regexp.QuoteMeta(value)), func(l *Letter) bool { return strings.Contains(get(l), value) }}
	case name == "attempts":
		m = model{name + op + strconv.Itoa(n), func(l *Letter) bool { return holds(l.Attempts) }}
	case name == "partition":
		m = model{name + op + strconv.Itoa(n), func(l *Letter) bool { return holds(int(l.Origin.Partition)) }}
	default:
		m = model{name + op + time.Unix(int64(n), 0).UTC().Format(time.RFC3339), func(l *Letter) bool { return holds(int(l.LastFailed.Unix())) }}
	}
	if r.IntN(3) == 0 {
		want := m.want
		m = model{"!" + m.text, func(l *Letter) bool { return !want(l) }}
	}
	return m
}

func TestFilterIsAsItsModel(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	matched := 0
	for range 20_000 {
		word := func() string { return []string{"a", "ab", "b", "", "a b", `"`, `\`, "~", "=x", "ä", "!"}[r.IntN(11)] }
		l := &Letter{
			Failure: Failure{Reason: Reason(word()), Group: word(), ErrorMessage: word(), Attempts: r.IntN(4), LastFailed: time.Unix(r.Int64N(4), 0), Origin: Origin{Partition: r.Int32N(4)}},
			Record:  &kgo.Record{Key: []byte(word()), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(word())}}},
		}
		var texts []string
		want := true
		for range r.IntN(4) {
			m := models(r)
			texts = append(texts, m.text)
			want = want && m.want(l)
		}
		text := strings.Join(texts, " ")
		f, err := ParseFilter(text)
		require.NoError(t, err, "%s (seed %d)", text, seed)
		require.Equal(t, want, f.Match(l), "%s of %+v (seed %d)", text, l.Failure, seed)
		again, err := ParseFilter(f.String())
		require.NoError(t, err)
		require.Equal(t, want, again.Match(l), "%s of %s", f, text)
		if want {
			matched++
		}
	}
	require.Greater(t, matched, 1000)
}

func FuzzParseFilter(f *testing.F) {
	for _, text := range []string{"reason=panic grop=x", `key="a\"b\\" !header.x~^a`, "h:a=b k:c", "age>1h failed<2026-01-01", `header."a b"=""`, "!offset<=5"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := ParseFilter(text)
		if err != nil {
			var fe *FilterError
			require.ErrorAs(t, err, &fe)
			require.LessOrEqual(t, fe.At, len(text))
			require.Len(t, strings.Split(err.Error(), "\n"), 3)
			return
		}
		filter.Match(sample())
		again, err := ParseFilter(filter.String())
		require.NoError(t, err, "%q of %q", filter.String(), text)
		require.Equal(t, filter.String(), again.String(), fmt.Sprintf("%q", text))
	})
}
