package push

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/app/shell"
)

func headers(pairs ...string) []kgo.RecordHeader {
	var all []kgo.RecordHeader
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return all
}

func TestEnvironmentTellsOfTheRecord(t *testing.T) {
	t.Parallel()
	got, err := environment([]string{"PATH=/bin"}, &kgo.Record{
		Topic: "orders", Partition: 3, Offset: 42, Timestamp: time.UnixMilli(1700000000123), Key: []byte("k=1 \n$(x)"), Value: []byte("v"),
		Headers: headers("trace-id", "a", "ce_type", "b"),
	}, 2)
	require.NoError(t, err)
	require.Equal(t, []string{
		"PATH=/bin", "KAFKA_TOPIC=orders", "KAFKA_PARTITION=3", "KAFKA_OFFSET=42", "KAFKA_TIMESTAMP=1700000000123", "KAFKA_ATTEMPT=2",
		"KAFKA_KEY=k=1 \n$(x)", "KAFKA_HEADER_TRACE_ID=a", "KAFKA_HEADER_CE_TYPE=b",
	}, got)
	got, err = environment(nil, &kgo.Record{Topic: "t", Timestamp: time.UnixMilli(-1)}, 1)
	require.NoError(t, err)
	require.Equal(t, []string{
		"KAFKA_TOPIC=t", "KAFKA_PARTITION=0", "KAFKA_OFFSET=0", "KAFKA_TIMESTAMP=-1", "KAFKA_ATTEMPT=1", "KAFKA_VALUE_NULL=1",
	}, got)
}

func TestKeyInTheEnvironment(t *testing.T) {
	t.Parallel()
	for want, key := range map[string][]byte{
		"KAFKA_KEY=":             {},
		"KAFKA_KEY=ü":            []byte("ü"),
		"KAFKA_KEY_B64=/w==":     []byte("\xff"),
		"KAFKA_KEY_B64=YQBi":     []byte("a\x00b"),
		"KAFKA_KEY=() { :; }; x": []byte("() { :; }; x"),
	} {
		got, err := environment(nil, &kgo.Record{Key: key, Value: []byte{}}, 1)
		require.NoError(t, err)
		require.Equal(t, []string{want}, got[5:])
	}
}

func TestEnvironmentIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", shell.MaxVariable)
	many := func(n, size int) (all []kgo.RecordHeader) {
		for i := range n {
			all = append(all, kgo.RecordHeader{Key: fmt.Sprintf("h%d", i), Value: []byte(long[:size])})
		}
		return all
	}
	for says, r := range map[string]*kgo.Record{
		"KAFKA_KEY takes 65546 bytes, at most 65536 are given":                     {Key: []byte(long)},
		"KAFKA_HEADER_H0 takes 65552 bytes, at most 65536":                         {Headers: many(1, shell.MaxVariable)},
		"the key and the 9 headers take":                                           {Headers: many(9, shell.MaxVariable-100)},
		"the key and the 100000 headers take":                                      {Headers: many(100_000, 0)},
		"KAFKA_HEADER_" + strings.Repeat("X", 67) + " takes":                       {Headers: headers(long, "")},
		"KAFKA_KEY_B64 takes":                                                      {Key: []byte(strings.Repeat("\xff", shell.MaxVariable*3/4))},
		"putting a record into the environment of a command: too-large: KAFKA_KEY": {Key: []byte(long)},
	} {
		_, err := environment(nil, r, 1)
		require.ErrorContains(t, err, says)
		require.Less(t, len(err.Error()), 400)
		require.ErrorIs(t, err, duplex.ErrTooLarge)
		require.Equal(t, duplex.VerdictPermanent, duplex.VerdictOf(err).Kind)
	}
	_, err := environment(nil, &kgo.Record{Headers: many(10_000, 10)}, 1)
	require.NoError(t, err)
}

func TestInheritedEnvironmentTellsOfNoRecord(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"PATH=/bin", "KAFKA_HOME=/opt", "EMPTY="}, inherited([]string{
		"PATH=/bin", "KAFKA_KEY=stale", "KAFKA_HEADER_X=stale", "KAFKA_HOME=/opt", "KAFKA_VALUE_NULL=1", "EMPTY=",
	}))
}

func TestEnvironmentsDoNotShareMemory(t *testing.T) {
	t.Parallel()
	base := make([]string, 1, 100)
	one, err := environment(base, &kgo.Record{Topic: "one"}, 1)
	require.NoError(t, err)
	_, err = environment(base, &kgo.Record{Topic: "two"}, 1)
	require.NoError(t, err)
	require.Contains(t, one, "KAFKA_TOPIC=one")
}

func FuzzEnvironment(f *testing.F) {
	f.Add([]byte("k"), "name", []byte("v"), "name", []byte("w"))
	f.Add([]byte("\xff\x00"), "na-me\x00=", []byte("\x00"), "NA_ME__B64", []byte{})
	f.Fuzz(func(t *testing.T, key []byte, name1 string, value1 []byte, name2 string, value2 []byte) {
		r := &kgo.Record{Topic: "t", Key: key, Headers: []kgo.RecordHeader{{Key: name1, Value: value1}, {Key: name2, Value: value2}}}
		got, err := environment(nil, r, 1)
		if err != nil {
			require.ErrorIs(t, err, duplex.ErrTooLarge)
			return
		}
		seen := map[string]string{}
		for _, v := range got {
			name, value, ok := strings.Cut(v, "=")
			require.True(t, ok)
			require.NotContains(t, v, "\x00")
			require.True(t, utf8.ValidString(v))
			require.Equal(t, name, strings.Map(func(c rune) rune {
				if c == '_' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
					return c
				}
				return -1
			}, name), "a shell can have it")
			require.True(t, strings.HasPrefix(name, "KAFKA_"))
			require.NotContains(t, seen, name)
			seen[name] = value
		}
		if coded, ok := seen["KAFKA_KEY_B64"]; ok {
			plain, err := base64.StdEncoding.DecodeString(coded)
			require.NoError(t, err)
			require.Equal(t, key, plain)
		} else if key != nil {
			require.Equal(t, string(key), seen["KAFKA_KEY"])
		}
	})
}
