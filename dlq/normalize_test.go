package dlq

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// varying are what normalized stands for.
var varying = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile("\"[^\"]*\"|'[^']*'|`[^`]*`"), "<text>"},
	{regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`), "<id>"},
	{regexp.MustCompile(`\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?`), "<time>"},
	{regexp.MustCompile(`0[xX][0-9a-fA-F]+|\b(?:[0-9a-fA-F]*[0-9][0-9a-fA-F]*[a-fA-F][0-9a-fA-F]*|[0-9a-fA-F]*[a-fA-F][0-9a-fA-F]*[0-9][0-9a-fA-F]*)\b`), "<hex>"},
	{regexp.MustCompile(`\d+(?:[.,:]\d+)*`), "<n>"},
}

func normalizedByRegexp(message string) string {
	for _, v := range varying {
		message = v.what.ReplaceAllString(message, v.with)
	}
	return strings.Join(strings.Fields(message), " ")
}

func TestNormalizedIsAsItsModel(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	parts := []string{
		`"`, "'", "`", "12", "0x1F", "0x", "ab12", "deadbeef", "f", "g", "_", "-", ":", ".", ",", " ", "\n", "T", "Z", "+", "ä", "\xff", "2026-11-27", "09:00:00", "10:30", "01:00", "0100",
		"123e4567-e89b-12d3-a456-426614174000", "00000000", "seat", "\u00a0",
	}
	for range 50_000 {
		var b strings.Builder
		for range r.IntN(9) {
			b.WriteString(parts[r.IntN(len(parts))])
		}
		require.Equal(t, normalizedByRegexp(b.String()), normalized(b.String()), "%q, seed %d", b.String(), seed)
	}
}

func FuzzNormalized(f *testing.F) {
	f.Add(`order 4711 of "Ms. Lovelace" at 2026-11-27T09:00:00.5+01:00 refused by 10.0.0.1:9092: id 123e4567-e89b-12d3-a456-426614174000, at 0x1f, ab12`)
	f.Fuzz(func(t *testing.T, message string) {
		require.Equal(t, normalizedByRegexp(message), normalized(message))
	})
}

func BenchmarkNormalized(b *testing.B) {
	const message = `order 4711 of "Ms. Lovelace" at 2026-11-27T09:00:00.5+01:00 refused by 10.0.0.1:9092: seat 12 is taken`
	b.Run("by hand", func(b *testing.B) {
		for b.Loop() {
			normalized(message)
		}
	})
	b.Run("regexp", func(b *testing.B) {
		for b.Loop() {
			normalizedByRegexp(message)
		}
	})
}
