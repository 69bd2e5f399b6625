package dlq

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/offsets"
)

// TestReadingAheadIsBoundedAndEnds: at a transaction, though nobody takes anything.
func TestReadingAheadIsBoundedAndEnds(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct{ letters, size int }{"small letters": {3 * mostAtOnce, 1}, "large letters": {64, 300_000}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := broker.Start(broker.Config{})
			require.NoError(t, err)
			defer func() { require.NoError(t, b.Close()) }()
			require.NoError(t, b.CreateTopic(broker.Topic{Name: "dlq.boards.orders", Partitions: 1}))
			from := map[string]map[int32]kgo.Offset{"dlq.boards.orders": {0: kgo.NewOffset().At(0)}}
			cl, err := kafka.NewClient(b.Cluster(), nil, kgo.ConsumePartitions(from), kgo.MaxBufferedRecords(of.letters))
			require.NoError(t, err)
			for range of.letters {
				l := ourLetter()
				l.Value = make([]byte, of.size)
				cl.Produce(t.Context(), l, func(_ *kgo.Record, err error) { require.NoError(t, err) })
			}
			require.NoError(t, cl.Flush(t.Context()))

			a := &ahead{client: cl, rest: map[int32]offsets.Set{0: offsets.Of(0, int64(of.letters))}, decoder: newDecoder()}
			a.begin(t.Context())
			require.Eventually(t, func() bool { return len(a.pieces) == mostPieces }, 10*time.Second, time.Millisecond)
			next := int64(0)
			for range 3 { // it goes on where it stood
				p := <-a.pieces
				require.LessOrEqual(t, len(p.passed), mostAtOnce/4)
				require.LessOrEqual(t, len(p.passed)*of.size, mostBytes/4+of.size)
				for _, at := range p.passed {
					require.Equal(t, next, at.offset)
					require.Equal(t, next, at.letter.Offset)
					next++
				}
			}
			require.Eventually(t, func() bool { return len(a.pieces) == mostPieces }, 10*time.Second, time.Millisecond)
			a.end() // and waits for nobody
		})
	}
}

// TestWhatNobodyTakesIsGivenUp: or a job that is stopped would not end.
func TestWhatNobodyTakesIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		a := &ahead{pieces: make(chan piece)}
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			a.give(ctx, piece{})
		}()
		synctest.Wait()
		select {
		case <-gone:
			require.Fail(t, "nobody took it")
		default:
		}
		stop()
		<-gone
	})
}

// TestWhoeverStopsReadingIsToldNoError: a job that is cancelled ends with why it was.
func TestWhoeverStopsReadingIsToldNoError(t *testing.T) {
	t.Parallel()
	b, err := broker.Start(broker.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	cl, err := kafka.NewClient(b.Cluster(), nil)
	require.NoError(t, err)
	defer cl.Close()
	a := &ahead{client: cl}
	for range 50 {
		ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
		a.begin(ctx)
		<-a.ended
		require.Empty(t, a.pieces)
		stop()
	}
}

// readerOf gives out what a test says was read, of a selection.
func readerOf(selected offsets.Set) *selectedReader {
	a := &ahead{rest: map[int32]offsets.Set{0: selected}, pieces: make(chan piece, 9)}
	return &selectedReader{queue: "q", ahead: a, known: true, next: map[int32]int64{0: selected.First()}}
}

// lettersAt are some in a row, those of the selection with a letter.
func (s *selectedReader) lettersAt(from, to int64) (p piece) {
	for at := from; at < to; at++ {
		of := passed{offset: at}
		if s.ahead.rest[0].Has(at) {
			of.letter = &Letter{Offset: at, Size: 100}
		}
		p.passed = append(p.passed, of)
	}
	return p
}

func taken(letters []*Letter) (at []int64) {
	for _, l := range letters {
		at = append(at, l.Offset)
	}
	return at
}

// TestLettersAreGivenOutOnce: though they are read again, as after a part of the queue was
// deleted; and what is not selected is passed over.
func TestLettersAreGivenOutOnce(t *testing.T) {
	t.Parallel()
	selected := offsets.Of(2, 6)
	selected.AddRun(8, 10)
	s := readerOf(selected)
	s.ahead.pieces <- s.lettersAt(0, 4)
	s.ahead.pieces <- s.lettersAt(2, 12)
	letters, err := s.take(t.Context(), 3)
	require.NoError(t, err)
	require.Equal(t, []int64{2, 3, 4}, taken(letters))
	require.Equal(t, int64(5), s.next[0], "the checkpoint is behind what was given out")
	letters, err = s.take(t.Context(), 100)
	require.NoError(t, err)
	require.Equal(t, []int64{5, 8, 9}, taken(letters))
	require.True(t, s.done())
}

// TestATransactionIsFilledButNotWaitedForLong: with what comes within a moment, once there is
// something.
func TestATransactionIsFilledButNotWaitedForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := readerOf(offsets.Of(0, 1_000_000))
		go func() {
			for _, p := range []struct {
				after    time.Duration
				from, to int64
			}{{3 * time.Second, 0, 2}, {fill - time.Millisecond, 2, 3}, {2 * time.Millisecond, 3, 4}} {
				time.Sleep(p.after)
				s.ahead.pieces <- s.lettersAt(p.from, p.to)
			}
		}()
		begin := time.Now()
		for _, want := range []struct {
			offsets []int64
			at      time.Duration
		}{{[]int64{0, 1, 2}, 3*time.Second + fill}, {[]int64{3}, 3*time.Second + 2*fill + time.Millisecond}} {
			letters, err := s.take(t.Context(), 10)
			require.NoError(t, err)
			require.Equal(t, want.offsets, taken(letters))
			require.Equal(t, want.at, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		letters, err := s.take(ctx, 10)
		require.NoError(t, err)
		require.Empty(t, letters, "nothing came")

		s.ahead.pieces <- s.lettersAt(4, 300_000)
		letters, err = s.take(t.Context(), 1_000_000)
		require.NoError(t, err)
		require.Len(t, letters, (mostBytes+99)/100, "a transaction has at most so many bytes")
	})
}

// TestErrorsOfReadingSayWhere: none is lost behind what was read before it.
func TestErrorsOfReadingSayWhere(t *testing.T) {
	t.Parallel()
	s := readerOf(offsets.Of(7, 20))
	s.ahead.pieces <- s.lettersAt(7, 9)
	s.ahead.pieces <- piece{failed: []kgo.FetchError{{Topic: "q", Partition: 0, Err: fmt.Errorf("the disk is gone")}}}
	letters, err := s.take(t.Context(), 2)
	require.NoError(t, err)
	require.Equal(t, []int64{7, 8}, taken(letters))
	_, err = s.take(t.Context(), 2)
	require.EqualError(t, err, "dlq: reading q/0 from offset 9: the disk is gone")
}
