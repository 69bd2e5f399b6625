package commitmeta

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, want := range []Meta{{}, {Partitions: 1}, {Partitions: 6}, {Partitions: 1 << 30}, {Clean: true}, {Partitions: 6, Clean: true}} {
		got, err := Decode(Encode(want))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.Equal(t, "d1:AQEG", Encode(Meta{Partitions: 6}), "the bytes are part of the wire format")
	require.Equal(t, "d1:AQEGBAA", Encode(Meta{Partitions: 6, Clean: true}))
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for _, foreign := range []string{"", "consumer-1-2c5f", "d2:AQEG"} {
		_, err := Decode(foreign)
		require.ErrorIs(t, err, ErrForeign, foreign)
	}
	for _, broken := range []string{"d1:*", "d1:AQ", "d1:AQk", "d1:AQEA", "d1:AQj___________8B"} {
		_, err := Decode(broken)
		require.Error(t, err, broken)
		require.NotErrorIs(t, err, ErrForeign, broken)
	}
}

func TestDecodePassesOverUnknownFields(t *testing.T) {
	t.Parallel()
	got, err := Decode("d1:CQN4eXoBAQY") // tag 9, three bytes; then partitions = 6
	require.NoError(t, err)
	require.Equal(t, Meta{Partitions: 6}, got)
}

func FuzzDecode(f *testing.F) {
	f.Add("d1:AQEG")
	f.Add("d1:CQN4eXoBAQY")
	f.Add(Encode(Meta{Partitions: 6, Runs: []Run{{N: 1}, {Finished: true, N: 90}, {N: 2}, {Finished: true, N: 3}}, Heads: []Head{{7, 2, 1_700_000_000_000}, {9, 1, 0}}}))
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Decode(text)
		if err != nil {
			require.Zero(t, m)
			return
		}
		text = Encode(m)
		require.LessOrEqual(t, len(text), MaxSize)
		again, err := Decode(text)
		require.NoError(t, err)
		require.Equal(t, m.Partitions, again.Partitions)
		requireNothingIsLost(t, m, again)
	})
}
