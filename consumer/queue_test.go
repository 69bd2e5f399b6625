package consumer

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// numbered is a slice whose records have their sequence numbers as offsets, and
// ten bytes each.
func numbered(seq uint64, n int) slice {
	s := slice{seq: seq, bytes: int64(10 * n)}
	for i := range n {
		s.records = append(s.records, &kgo.Record{Offset: int64(seq) + int64(i)})
	}
	return s
}

func TestQueueAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var model []uint64 // the sequence numbers that wait
		var back []slice   // popped, to be put back
		next, bytes := uint64(0), int64(0)
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				n := rapid.IntRange(1, 40).Draw(t, "n")
				q.push(numbered(next, n))
				for range n {
					model = append(model, next)
					next++
				}
				next++ // a gap, as after a control record
				bytes += int64(10 * n)
			},
			"pop": func(t *rapid.T) {
				back = nil
				for n := min(len(model), rapid.IntRange(1, 60).Draw(t, "n")); n > 0; {
					s := q.pop(n)
					require.NotEmpty(t, s.records)
					require.LessOrEqual(t, len(s.records), n)
					for i, r := range s.records {
						require.Equal(t, model[i], s.seq+uint64(i))
						require.Equal(t, int64(model[i]), r.Offset)
					}
					model, n, bytes = model[len(s.records):], n-len(s.records), bytes-s.bytes
					back = append(back, s)
				}
			},
			"put back": func(*rapid.T) {
				var again []uint64
				for _, s := range back {
					for i := range s.records {
						again = append(again, s.seq+uint64(i))
					}
					bytes += s.bytes
				}
				var other queue
				for _, s := range back {
					other.push(s)
				}
				q.putBack(&other)
				require.Zero(t, other.len())
				model, back = append(again, model...), nil
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(model), q.len())
				var left int64
				for _, s := range q.slices[q.first:] {
					left += s.bytes
				}
				require.Equal(t, bytes, left)
				if len(model) == 0 {
					return
				}
				require.Equal(t, int64(model[0]), q.head().Offset)
				var seen []uint64
				for _, piece := range q.records(nil) {
					for _, r := range piece {
						seen = append(seen, uint64(r.Offset))
					}
				}
				require.Equal(t, model, seen)
			},
		})
	})
}

// What is done with must not be kept, or a whole fetch stays in memory.
func TestQueueForgetsWhatWasPopped(t *testing.T) {
	t.Parallel()
	var q queue
	for i := range uint64(100) {
		q.push(numbered(10*i, 3))
		for range 3 {
			q.pop(1)
		}
	}
	require.Less(t, cap(q.slices), 64, "places that are free are used again")
	for _, s := range q.slices[:cap(q.slices)] {
		require.Empty(t, s.records)
	}
}
