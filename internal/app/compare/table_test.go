package compare

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/rpc"
)

var brokerMetadata = kgo.BrokerMetadata{}

func batchOf(records int) kgo.ProduceBatchMetrics {
	return kgo.ProduceBatchMetrics{NumRecords: records}
}

// taught are figures as everybody expects them.
func taught() Report {
	names := NewNames("", "")
	requests := map[string]int{rpc.RequestTopic(names.Service): 300, rpc.ReplyTopic(names.Caller): 300}
	half := map[string]int{"deadline_exceeded, maybe": 120, "resource_exhausted, never": 30}
	return Report{
		Broker: "a broker", Seconds: 40, Code: Code{20, 40},
		Scenarios: []Measured{
			{
				Name:   normal,
				Calls:  Figures{Units: 300, Accepted: 300, Handled: 300, Blocked: Latency{P50: 14, P99: 20}, Done: Latency{P50: 12, P99: 15}, Records: 600, RecordsByTopic: requests, WireBytes: 600_000},
				Events: Figures{Units: 300, Accepted: 300, Handled: 300, Blocked: Latency{P50: 2, P99: 4}, Done: Latency{P50: 12, P99: 15}, Records: 300, RecordsByTopic: map[string]int{names.Topic: 300}, WireBytes: 200_000},
			},
			{
				Name:   failing,
				Calls:  Figures{Units: 300, Accepted: 264, Errors: map[string]int{"unavailable, completed": 36}, Failed: Latency{P50: 13, P99: 15, Most: 16}},
				Events: Figures{Units: 300, Accepted: 300, Handled: 294, Dead: 6, FailedRuns: 48, Recovered: 30, Recovery: Latency{P50: 320, P99: 340}},
			},
			{
				Name:   slow,
				Calls:  Figures{Units: 300, Accepted: 150, Errors: half, BlockedSeconds: 250},
				Events: Figures{Units: 300, Accepted: 300, Handled: 300, DrainSeconds: 4.7, BlockedSeconds: 1},
			},
			{
				Name: dead, Calls: Figures{Units: 10, Accepted: 2, Errors: map[string]int{"unavailable, never": 4, "deadline_exceeded, maybe": 4}, MaybeRan: 1},
				Events: Figures{Units: 10, Accepted: 10, Handled: 10, Repeated: 2},
				Outage: &Outages{
					Calls:  Outage{Seconds: 7, Units: 8, Refused: 4, RefusedFrom: 6, Unknown: 4, BlockedUnknown: Latency{P50: 1000}, BlockedRefused: Latency{P50: 0.5}},
					Events: Outage{Seconds: 7, Units: 8, Accepted: 8, Handled: 8, LastAfterBack: 0.4, BlockedAccepted: Latency{P50: 2}},
				},
			},
			{
				Name:   burst,
				Calls:  Figures{Units: 2000, Accepted: 700, Errors: map[string]int{"deadline_exceeded, maybe": 1300}, MostHandlers: 8, MostCallers: 2000, BlockedSeconds: 1800, InVain: 3, Failed: Latency{Most: 1080}},
				Events: Figures{Units: 2000, Accepted: 2000, Handled: 2000, DrainSeconds: 2.6, MostHandlers: 8, MostCallers: 1900, MostWaiting: 1980, BlockedSeconds: 40},
			},
		},
	}
}

func (r Report) at(name string) *Measured {
	return &r.Scenarios[slices.IndexFunc(r.Scenarios, func(m Measured) bool { return m.Name == name })]
}

func row(t *testing.T, r Report, name string) Row {
	t.Helper()
	r.conclude(NewNames("", ""))
	i := slices.IndexFunc(r.Table, func(row Row) bool { return row.Name == name })
	require.GreaterOrEqual(t, i, 0, name)
	return r.Table[i]
}

// What a row claims depends on what was measured.
func TestSentencesFollowTheFigures(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		row    string
		change func(r Report)
		says   string
	}{
		"timing as taught":             {"Timing", nil, "free 7.0 times as soon; the work was done at the same time"},
		"calls as soon as events":      {"Timing", func(r Report) { r.at(normal).Calls.Blocked.P50 = 2.1 }, "waited as long as that of a call"},
		"work of events later":         {"Timing", func(r Report) { r.at(normal).Events.Done.P50 = 30 }, "and the work was done later"},
		"work of events sooner":        {"Timing", func(r Report) { r.at(normal).Calls.Done.P50 = 30 }, "and the work was done sooner"},
		"coupling as taught":           {"Coupling", nil, "A call needs its server now. An event needs its consumer some time: none was lost"},
		"events were lost":             {"Coupling", func(r Report) { r.at(dead).Outage.Events.Handled = 7 }, "Both forms were hurt"},
		"calls went on":                {"Coupling", func(r Report) { r.at(dead).Outage.Calls.Accepted = 8 }, "neither form was hurt"},
		"only events were hurt":        {"Coupling", func(r Report) { o := r.at(dead).Outage; o.Calls.Accepted, o.Events.Handled = 8, 7 }, "only events were hurt"},
		"more lines for events":        {"Complexity", nil, "Events take 2.0 times as many lines"},
		"scalability as taught":        {"Scalability", nil, "who can do 800 trips within that deadline. Beyond that calls failed, 1,450 with those of the slow server"},
		"too small to tell":            {"Scalability", func(r Report) { r.at(burst).Calls.Accepted, r.at(slow).Calls.Accepted = 2000, 300 }, "too small to tell"},
		"too much for both":            {"Scalability", func(r Report) { r.at(burst).Events.Handled = 1999 }, "Neither form"},
		"failures as taught":           {"Failure handling", nil, "Of events 30 cured themselves, 6 need a person"},
		"no failures":                  {"Failure handling", func(r Report) { f := r.at(failing); f.Calls.Errors, f.Events.FailedRuns = nil, 0 }, "Nothing failed"},
		"load as taught":               {"System load", nil, "met 8 workers and no more. With calls it is the callers who carry it, waiting 50 times as long; with events it is the topic. A call costs 3.0 times the bytes."},
		"more handlers than workers":   {"System load", func(r Report) { r.at(burst).Calls.MostHandlers = 900 }, "met 900 workers of calls and 8 of events"},
		"callers of calls do not wait": {"System load", func(r Report) { r.at(burst).Events.BlockedSeconds = 3000 }, "callers waited no longer for calls"},
		"events cost more":             {"System load", func(r Report) { r.at(normal).Events.WireBytes = 6_000_000 }, "An event costs 10 times the bytes"},
		"use":                          {"Use", nil, "Who needs the answer calls"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := taught()
			if test.change != nil {
				test.change(r)
			}
			require.Contains(t, row(t, r, test.row).So, test.says)
		})
	}
	r := taught()
	r.Code = Code{50, 20}
	require.Contains(t, row(t, r, "Complexity").So, "Calls take 2.5 times as many lines")
	r.Code = Code{20, 21}
	require.Contains(t, row(t, r, "Complexity").So, "about as many lines")
}

func TestCellsHaveWhatWasMeasured(t *testing.T) {
	t.Parallel()
	for name, says := range map[string][2][]string{
		"Timing":           {{"14/20 ms (p50/p99), 10 ms of it"}, {"2.0/4.0 ms", "done after 12/15 ms"}},
		"Coupling":         {{"0 of 8 calls answered", "4 ended after 1.0 s, not knowing", "From 6.0 s on 4 were refused after 0.5 ms"}, {"8 of 8 events stored", "after 2.0 ms", "8 handled, the last 0.4 s"}},
		"Complexity":       {{"20 lines", "3 topics", "of 1,424 such calls 1 had run"}, {"40 lines", "1 topic.", "2 repeated"}},
		"Scalability":      {{"Burst of 2,000: 35 % answered by the deadline of 1.0 s, 1,300 deadline_exceeded (maybe)", "Slow server: 50 %"}, {"100 % handled, the last after 2.6 s", "1,980 waited", "the last 4.7 s after"}},
		"Failure handling": {{"36 of 300 failed", "13/15 ms, 36 unavailable (completed)"}, {"48 runs failed", "no caller heard", "30 were done by a retry, after 320/340 ms", "6 are dead letters"}},
		"System load":      {{"2.00 records and 2,000 bytes", "2,000 callers", "8 handlers", "3 ran for callers that had given up", "2,050 s"}, {"1.00 records and 666 bytes", "1,900 callers", "41.0 s"}},
		"Use":              {{"Authentication", "1,416 of 2,910 answered", "in 14 ms", "the others had an error after 1.1 s at most"}, {"Background jobs", "2,904 of 2,910 done", "6 left for a person, 0 lost"}},
	} {
		got := row(t, taught(), name)
		for _, text := range says[0] {
			require.Contains(t, got.Calls, text)
		}
		for _, text := range says[1] {
			require.Contains(t, got.Events, text)
		}
	}
}

func TestChoiceSaysNothingOfARunThatBrokeAPromise(t *testing.T) {
	t.Parallel()
	r := taught()
	require.Contains(t, r.choose()[0], "the answer took 14 ms")
	require.Contains(t, r.choose()[0], "an error, after 1.1 s at most with a deadline of 1.0 s")
	require.Contains(t, r.choose()[1], "the work was done all the same")
	r.Broken = []string{"something"}
	for _, text := range r.choose() {
		require.NotContains(t, text, ": here")
	}
}

func TestTableFitsATerminal(t *testing.T) {
	t.Parallel()
	r := taught()
	r.Broken = []string{"burst, calls: 1 of 2,000 " + neverButRan}
	r.conclude(NewNames("", ""))
	var out strings.Builder
	require.NoError(t, r.WriteTable(&out))
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		require.LessOrEqual(t, utf8.RuneCountInString(line), 100, line)
		require.Equal(t, strings.TrimRight(line, " "), line)
	}
	var words []string // every word of the table is printed
	for _, row := range r.Table {
		words = append(words, strings.Fields(row.Calls+" "+row.Events+" "+row.So)...)
	}
	for _, word := range words {
		require.Contains(t, out.String(), word)
	}
	for _, text := range []string{"AS CALLS", "FAILURE", "HANDLING", "WHICH", "BROKEN: burst, calls: 1 of 2,000 ran, and", "a broker · 40 s",
		"calls 2,910 = answered 1,416 + errors 1,494\nevents 2,910 = handled 2,904 + dead letters 6 + not stored 0"} {
		require.Contains(t, out.String(), text)
	}
}

func TestMarkdownIsATable(t *testing.T) {
	t.Parallel()
	r := taught()
	r.conclude(NewNames("", ""))
	var out strings.Builder
	require.NoError(t, r.WriteMarkdown(&out))
	rows := 0
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "|") {
			rows++
			require.Equal(t, 5, strings.Count(line, "|"), line)
		}
	}
	require.Equal(t, 2+len(r.Table), rows)
	require.Contains(t, out.String(), "| **Timing** | The caller waits for the answer: 14/20 ms")
}

func TestWrapBreaksBetweenWords(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"a bc", "def", "toolong", "g"}, wrap("a bc  def toolong g", 4))
	require.Equal(t, []string{"äöü ß"}, wrap("äöü ß", 5), "characters, not bytes")
	require.Equal(t, []string{""}, wrap("", 5))
}

func TestNumbersAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"1,234,567": count(1_234_567), "999": count(999), "0.4 ms": took(0.42), "12 ms": took(12.4), "1.0 s": took(1000), "2,032 s": seconds(2032.4),
		"99 %": percent(1999, 2000), "100 %": percent(5, 5), "0 %": percent(1, 2000), "9.5": ratio(19, 2), "12": ratio(24, 2), "0": ratio(1, 0),
		"1.0/20 ms": times(Latency{P50: 1, P99: 20}), "913 ms/1.0 s": times(Latency{P50: 913, P99: 1001}),
	} {
		require.Equal(t, want, got)
	}
}

func TestLinesOfCodeAreThoseThatAPersonWrites(t *testing.T) {
	t.Parallel()
	require.Equal(t, 2, lines("package p\n\nimport (\n\t\"fmt\"\n)\n\n// A comment.\nfunc f() {\n\n\t// Another one.\n}\n"))
	code := linesOfCode()
	require.Equal(t, []int{strings.Count(callSource, "\nfunc "), strings.Count(eventSource, "\nfunc ")}, []int{4, 6}, "the sources are those of the forms")
	require.Greater(t, code.CallLines, 4*2)
	require.Greater(t, code.EventLines, 6*2)
}
