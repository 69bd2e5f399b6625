package demo

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
)

func TestFlightsAreBuiltIn(t *testing.T) {
	t.Parallel()
	input, err := Flights()
	require.NoError(t, err)
	require.Len(t, input, 2000)
	require.Equal(t, Departure{Flight: Flight{Date: "2001/01/01 06:55", Origin: "LAX", Destination: "BNA", Distance: 1797}, Delay: -19}, input[0])
}

func TestReadNamesTheLineThatIsWrong(t *testing.T) {
	t.Parallel()
	const good = `{"origin":"ATL","delay":3}` + "\n"
	for name, test := range map[string]struct{ input, says string }{
		"empty":         {"", "f.ndjson: it is empty"},
		"not JSON":      {good + "oops\n", "f.ndjson, line 2: invalid character"},
		"wrong type":    {good + good + `{"origin":"ATL","delay":"late"}`, "f.ndjson, line 3: json: cannot unmarshal string into Go struct field Departure.delay"},
		"no origin":     {`{"delay":3}`, `f.ndjson, line 1: no "origin"`},
		"empty line":    {good + "\n" + good, "f.ndjson, line 2: unexpected end of JSON input"},
		"a line of 1MB": {good + strings.Repeat("x", longestLine+1), "f.ndjson, line 2: longer than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Read("f.ndjson", strings.NewReader(test.input))
			require.ErrorContains(t, err, test.says)
		})
	}
}

func TestThreeLinesAreDamaged(t *testing.T) {
	t.Parallel()
	input, err := Flights()
	require.NoError(t, err)
	places := damage(input, 1200)
	require.Equal(t, map[int]bool{1276: true, 1299: true, 1337: true}, places)
	topic := departures("departures")
	for place := range places {
		r, err := damagedRecord(topic, input[place])
		require.NoError(t, err)
		require.Contains(t, string(r.Value), `"delay":"19 min"`)
		_, err = topic.Value(r)
		require.ErrorIs(t, err, duplex.ErrUndecodable)
		flight, err := duplex.Topic[Flight]{Name: topic.Name}.Value(r)
		require.NoError(t, err, "the boards do not decode the delay")
		require.Equal(t, input[place].Flight, flight)
	}
}

func TestLifeOfARecord(t *testing.T) {
	t.Parallel()
	cfg := &Config{Names: NewNames("", "")}
	record := func(topic string, headers ...string) *kgo.Record {
		r := &kgo.Record{Topic: topic, Partition: 1, Offset: 7}
		for i := 0; i < len(headers); i += 2 {
			duplex.SetHeader(r, headers[i], headers[i+1])
		}
		return r
	}
	moved := []string{dlq.HeaderOriginTopic, "departures", dlq.HeaderOriginPartition, "4", dlq.HeaderOriginOffset, "9", dlq.HeaderGeneration, "2"}
	for name, test := range map[string]struct {
		record *kgo.Record
		want   life
	}{
		"as published": {record("departures"), life{at: duplex.Position{Topic: "departures", Partition: 1, Offset: 7}}},
		"headers mean nothing on the topic itself": {record("departures", moved...), life{at: duplex.Position{Topic: "departures", Partition: 1, Offset: 7}}},
		"of a retry topic":                         {record("retry.rebookings.departures.1", moved...), life{duplex.Position{Topic: "departures", Partition: 4, Offset: 9}, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := cfg.life(test.record)
			require.NoError(t, err)
			require.Equal(t, test.want, l)
		})
	}
	for missing, headers := range map[string][]string{"dlq-origin-partition": moved[:2], "dlq-origin-offset": moved[:4], "dlq-generation": moved[:6]} {
		_, err := cfg.life(record("dlq.rebookings.departures", headers...))
		require.ErrorContains(t, err, "demo: reading "+missing+" of record 7 of dlq.rebookings.departures/1")
	}
}

// The demo undoes what it did.
func TestAMendedLineIsAsItWas(t *testing.T) {
	t.Parallel()
	input, err := Flights()
	require.NoError(t, err)
	topic := departures("departures")
	m := mender{mended: []byte(whole), letters: map[life]bool{}}
	for place := range damage(input, 1200) {
		r, err := damagedRecord(topic, input[place])
		require.NoError(t, err)
		l := &dlq.Letter{Failure: dlq.Failure{Origin: dlq.Origin{Topic: topic.Name, Offset: int64(place)}}, Record: r}
		for range 2 { // a transaction that was not committed is done again
			require.NoError(t, m.edit(t.Context(), []*dlq.Letter{l}))
		}
		mended, err := topic.Value(r)
		require.NoError(t, err)
		require.Equal(t, input[place], mended)
	}
	require.Len(t, m.letters, damagedLines)
	fine := &dlq.Letter{Record: &kgo.Record{Value: []byte(`{"delay":4}`)}}
	require.NoError(t, m.edit(t.Context(), []*dlq.Letter{fine}))
	require.Equal(t, `{"delay":4}`, string(fine.Record.Value))
	require.Len(t, m.letters, damagedLines, "what was not changed was not mended")
}

func TestDelaysAreThoseOfThePolicy(t *testing.T) {
	t.Parallel()
	policy := rebookingPolicy()
	require.Equal(t, "0.3s → 1s → 3s", delays)
	require.Equal(t, []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second}, policy.Delays)
	all := time.Duration(policy.MaxAttempts-1-len(policy.Delays)) * policy.Delays[2]
	for _, d := range policy.Delays {
		all += d
	}
	require.Greater(t, all, 10*outage, "an outage must end long before the attempts do")
	require.NoError(t, policy.Validate())
	require.NoError(t, boardPolicy().Validate())
}
