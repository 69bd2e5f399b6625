package offsets_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duplex-go/duplex/internal/offsets"
)

func members(s offsets.Set) (all []int64) {
	for first, end := range s.Runs() {
		for o := first; o < end; o++ {
			all = append(all, o)
		}
	}
	return all
}

func sorted(m map[int64]bool) []int64 { return slices.Sorted(maps.Keys(m)) }

// TestSetIsASet compares a set with a map, through whatever is done to both.
func TestSetIsASet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s offsets.Set
		model := map[int64]bool{}
		offset := rapid.Int64Range(0, 60)
		some := func() (offsets.Set, map[int64]bool) {
			var other offsets.Set
			of := map[int64]bool{}
			for range rapid.IntRange(0, 4).Draw(t, "runs") {
				first := offset.Draw(t, "first")
				end := first + rapid.Int64Range(0, 9).Draw(t, "n")
				other.AddRun(first, end)
				for o := first; o < end; o++ {
					of[o] = true
				}
			}
			return other, of
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				o := offset.Draw(t, "offset")
				s.Add(o)
				model[o] = true
			},
			"join": func(*rapid.T) {
				other, of := some()
				s.Join(other)
				maps.Copy(model, of)
			},
			"without": func(*rapid.T) {
				other, of := some()
				s = s.Without(other)
				maps.DeleteFunc(model, func(o int64, _ bool) bool { return of[o] })
			},
			"within": func(t *rapid.T) {
				first, end := offset.Draw(t, "first"), offset.Draw(t, "end")
				s = s.Within(first, end)
				maps.DeleteFunc(model, func(o int64, _ bool) bool { return o < first || o >= end })
			},
			"": func(t *rapid.T) {
				require.Equal(t, sorted(model), members(s))
				require.Equal(t, int64(len(model)), s.Len())
				require.Equal(t, len(model) == 0, s.Empty())
				last := int64(-2)
				for first, end := range s.Runs() {
					require.Greater(t, first, last, "runs that touch are one")
					require.Greater(t, end, first)
					last = end
				}
				for o := range int64(72) {
					require.Equal(t, model[o], s.Has(o), "offset %d", o)
				}
				if all := sorted(model); len(all) > 0 {
					require.Equal(t, []int64{all[0], all[len(all)-1] + 1}, []int64{s.First(), s.End()})
				}
			},
		})
	})
}

func TestSetsSurviveTheirBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s, read offsets.Set
		for range rapid.IntRange(0, 40).Draw(t, "runs") {
			first := rapid.Int64Range(0, 1<<62).Draw(t, "first")
			s.AddRun(first, first+rapid.Int64Range(1, 1<<40).Draw(t, "n"))
		}
		limit := rapid.IntRange(32, 200).Draw(t, "limit")
		for _, piece := range s.Encode(limit) {
			require.LessOrEqual(t, len(piece), limit)
			part, err := offsets.Decode(piece)
			require.NoError(t, err)
			read.Join(part)
		}
		require.Equal(t, slices.Collect(firsts(s)), slices.Collect(firsts(read)))
		require.Equal(t, s.Len(), read.Len())
	})
}

func firsts(s offsets.Set) func(func(int64) bool) {
	return func(yield func(int64) bool) {
		for first := range s.Runs() {
			if !yield(first) {
				return
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{5, 3, 1, 1})
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1})
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := offsets.Decode(b)
		if err != nil {
			require.True(t, s.Empty(), "an error and a set")
			return
		}
		for first, end := range s.Runs() {
			require.GreaterOrEqual(t, first, int64(0))
			require.Greater(t, end, first)
		}
		again, err := offsets.Decode(bytes.Join(s.Encode(1<<20), nil))
		require.NoError(t, err)
		require.Equal(t, s.Len(), again.Len())
	})
}
