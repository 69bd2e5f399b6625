package demo

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFlightsAreBuiltIn(t *testing.T) {
	t.Parallel()
	input, err := Flights()
	require.NoError(t, err)
	require.Len(t, input, 2000)
	require.Equal(t, Departure{Date: "2001/01/01 06:55", Origin: "LAX", Destination: "BNA", Distance: 1797, Delay: -19}, input[0])
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
