package shell

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func headers(pairs ...string) []kgo.RecordHeader {
	var all []kgo.RecordHeader
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return all
}

func TestHeadersInTheEnvironment(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		headers []kgo.RecordHeader
		want    []string
	}{
		"the last one of a name wins":             {headers("a", "1", "b", "2", "a", "3"), []string{"KAFKA_HEADER_B=2", "KAFKA_HEADER_A=3"}},
		"also of names that become the same":      {headers("x-id", "1", "X.ID", "2"), []string{"KAFKA_HEADER_X_ID=2"}},
		"one form of a value":                     {headers("a", "text", "a", "\xff"), []string{"KAFKA_HEADER_A_B64=/w=="}},
		"and the other way round":                 {headers("a", "\xff", "a", "text"), []string{"KAFKA_HEADER_A=text"}},
		"a name that looks like the other form":   {headers("a", "\xff", "a_b64", "mine"), []string{"KAFKA_HEADER_A_B64=mine"}},
		"no name":                                 {headers("", "1"), []string{"KAFKA_HEADER_=1"}},
		"names that are neither ASCII nor UTF-8":  {headers("ü\xff=\x00é", "1"), []string{"KAFKA_HEADER______=1"}},
		"empty is a value":                        {headers("a", ""), []string{"KAFKA_HEADER_A="}},
		"null is none":                            {[]kgo.RecordHeader{{Key: "a"}}, nil},
		"and takes the place of an earlier value": {append(headers("a", "1"), kgo.RecordHeader{Key: "a"}), nil},
		"NUL": {headers("a", "\x00"), []string{"KAFKA_HEADER_A_B64=AA=="}},
	} {
		require.Equal(t, c.want, Headers("KAFKA_HEADER_", c.headers), name)
	}
}
