package dlq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// ScanConfig says what a scan reads.
type ScanConfig struct {
	// Partitions are those to read. Defaults to all.
	Partitions []int32
	// From has the offset to begin at for each partition. Defaults to the start of the
	// log. What was deleted behind it is counted as expired.
	From map[int32]int64
	// To has the offset to stop before for each partition, at most the end that it has when
	// the scan begins. Defaults to that end.
	To map[int32]int64
	// Last has each partition begin so many offsets before its end at most, and −1 at its
	// end. Defaults to where From says.
	Last int64
	// Filter says which letters the function gets. Defaults to all.
	Filter Filter
	// KeepValues has Letter.Record with its value, and Letter.Stack. Defaults to without.
	KeepValues bool
	// Progress, if set, is told now and then how far the scan is, and at its end. It
	// runs between letters.
	Progress func(Progress)
}

// Progress is how far a scan is.
type Progress struct {
	// Read of Of offsets are behind it; not every offset has a letter.
	Read, Of int64
	// Letters were read, Matched of them fit the filter.
	Letters, Matched int64
	// Bytes are those of the letters that were read.
	Bytes int64
	// Took is the time since the scan began.
	Took time.Duration
}

// Scanned is what a scan read.
type Scanned struct {
	// Topic is the queue, TopicID its ID, zero where brokers have none.
	Topic   string
	TopicID [16]byte
	// Partitions are those that were asked for, by number.
	Partitions []ScannedPartition
	// Took is how long it took.
	Took time.Duration
}

// ScannedPartition is what a scan read of one partition.
type ScannedPartition struct {
	Partition int32
	// From and To are the first offset that was asked for, and the one after the last.
	// Next is where it stands: To, unless the scan ended early.
	From, To, Next int64
	// Read letters were there, Matched of them fit the filter, Duplicates of them are
	// second copies.
	Read, Matched, Duplicates int64
	// Expired offsets were deleted before they could be read, by retention or by hand.
	Expired int64
	// Bytes are those of the letters that were read.
	Bytes int64
}

// Total is the sum of the partitions; its Partition is −1, its offsets say nothing but
// how many they are.
func (s Scanned) Total() ScannedPartition {
	t := ScannedPartition{Partition: -1}
	for _, p := range s.Partitions {
		t.To += p.To - p.From
		t.Next += p.Next - p.From
		t.Read, t.Matched, t.Duplicates = t.Read+p.Read, t.Matched+p.Matched, t.Duplicates+p.Duplicates
		t.Expired, t.Bytes = t.Expired+p.Expired, t.Bytes+p.Bytes
	}
	return t
}

// Scan reads a queue and gives each letter that fits the filter to the function, those
// of a partition in their order. It ends where the partitions ended when it began, so
// what is written meanwhile is not read, and neither is what a transaction has not
// committed. It keeps no values: what it holds is what it fetched last, at most 2 MiB as the
// broker has it, and what it takes to find second copies, some MiB for each partition.
//
// The letter, its key and its headers are the scan's: whoever keeps it clones it. An
// error of the function ends the scan and is returned as it is. Once ctx ends, Scan
// returns its cause within a second. Scanned says what was read in any case.
//
// A topic that does not exist is an error with duplex.ErrUnknownTopic; one that is
// deleted meanwhile too.
func (i *Inspector) Scan(ctx context.Context, topic string, cfg ScanConfig, each func(*Letter) error) (Scanned, error) {
	return i.newScan(topic, cfg, each).do(ctx)
}

// scan is one of a queue. One goroutine uses it.
type scan struct {
	inspector *Inspector
	cfg       ScanConfig
	each      func(*Letter) error
	began     time.Time
	decoder   *decoder
	states    *states
	bare      bool     // of any topic: it has no states
	wanted    [16]byte // the topic's ID, if it matters
	seed      maphash.Seed
	client    *kgo.Client

	scanned Scanned
	at      map[int32]*scanning
	open    int // partitions that are not at their end

	letter Letter // the current one
	said   time.Time
	since  int // letters since the clock and ctx were looked at
}

func (i *Inspector) newScan(topic string, cfg ScanConfig, each func(*Letter) error) *scan {
	s := &scan{
		inspector: i, cfg: cfg, each: each, began: time.Now(), decoder: newDecoder(), seed: maphash.MakeSeed(),
		scanned: Scanned{Topic: topic}, at: map[int32]*scanning{},
	}
	s.decoder.stacks = cfg.KeepValues
	return s
}

func (s *scan) do(ctx context.Context) (Scanned, error) {
	err := s.run(ctx)
	s.scanned.Took = time.Since(s.began)
	s.scanned.Partitions = s.scanned.Partitions[:0]
	for _, p := range s.at {
		s.scanned.Partitions = append(s.scanned.Partitions, p.ScannedPartition)
	}
	slices.SortFunc(s.scanned.Partitions, func(a, b ScannedPartition) int { return cmp.Compare(a.Partition, b.Partition) })
	return s.scanned, err
}

// scanning is a partition.
type scanning struct {
	ScannedPartition
	copies window
}

const (
	// scanFetch bounds what is fetched at once, and so twice over what is held;
	// a batch that is larger is read all the same.
	scanFetch, scanFetchPartition = 2 << 20, 1 << 20
	// scanUnpacked bounds what a compressed batch may grow to.
	scanUnpacked = 256 << 20
	// lookEvery is after how many letters ctx and the clock are looked at.
	lookEvery = 256
	// progressEvery is how often Progress is told.
	progressEvery = 200 * time.Millisecond
	// idleAfter is how long nothing comes before a scan asks why.
	idleAfter = time.Second
)

func (s *scan) run(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.progress(true)
	if s.open == 0 {
		return nil
	}
	var err error
	if s.states == nil && !s.bare {
		if s.states, err = s.inspector.loadStates(ctx, s.scanned.Topic); err != nil {
			return err
		}
	}
	if s.client, err = s.newClient(); err != nil {
		return err
	}
	defer s.client.Close()
	return s.read(ctx)
}

func (s *scan) op() string { return fmt.Sprintf("dlq: reading %q", s.scanned.Topic) }

// begin finds out what there is to read.
func (s *scan) begin(ctx context.Context) error {
	id, starts, ends, err := s.inspector.bounds(ctx, s.scanned.Topic)
	if err != nil {
		return err
	}
	s.scanned.TopicID = id
	if none := [16]byte{}; s.wanted != none && id != none && s.wanted != id {
		return errOtherTopic
	}
	want := s.cfg.Partitions
	if want == nil {
		for p := range starts {
			want = append(want, p)
		}
	}
	for _, p := range want {
		start, there := starts[p]
		if !there {
			return fmt.Errorf("%s: there is no partition %d, it has %d", s.op(), p, len(starts))
		}
		at := &scanning{ScannedPartition: ScannedPartition{Partition: p, From: start, To: ends[p]}}
		if from, ok := s.cfg.From[p]; ok {
			at.From = from
		}
		if to, ok := s.cfg.To[p]; ok {
			at.To = min(at.To, to)
		}
		switch last := s.cfg.Last; {
		case last < 0:
			at.From = at.To
		case last > 0:
			at.From = max(at.From, at.To-last)
		}
		at.To = max(at.To, at.From)
		at.Next = at.From
		if at.Next < at.To && at.Next < start {
			at.Next = min(start, at.To)
			at.Expired = at.Next - at.From
		}
		s.at[p] = at
		if at.Next < at.To {
			s.open++
		}
	}
	return nil
}

// bounds are a topic's ID and, by partition, the oldest offset and the one that readers
// of committed records get to.
func (i *Inspector) bounds(ctx context.Context, topic string) (id [16]byte, starts, ends map[int32]int64, err error) {
	op := fmt.Sprintf("dlq: reading %q", topic)
	if err := duplex.ValidateTopicName(topic); err != nil {
		return id, nil, nil, &duplex.Error{Op: op, Codes: []duplex.Code{duplex.ErrInvalidTopic}, Err: err}
	}
	if err := i.reach(ctx); err != nil {
		return id, nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, i.cfg.Timeout)
	defer cancel()
	described, err := kafka.Topics(ctx, i.client, op, topic)
	if err != nil {
		return id, nil, nil, unknownQueue(op, err)
	}
	if starts, err = kafka.StartOffsets(ctx, i.client, topic); err != nil {
		return id, nil, nil, err
	}
	if ends, err = kafka.CommittedEndOffsets(ctx, i.client, topic); err != nil {
		return id, nil, nil, err
	}
	return described[0].ID, starts, ends, nil
}

// unknownQueue says what to do where a queue is not there.
func unknownQueue(op string, err error) error {
	if !errors.Is(err, duplex.ErrUnknownTopic) {
		return err
	}
	return &duplex.Error{
		Op: op, Codes: []duplex.Code{duplex.ErrUnknownTopic}, Err: errors.New("there is no such topic, or it is hidden from this client"),
		Hint: "the dead-letter queue of a group for a topic is dlq.<group>.<topic>, dots of the group doubled; list those that there are",
	}
}

func (s *scan) newClient() (*kgo.Client, error) {
	from := map[int32]kgo.Offset{}
	for p, at := range s.at {
		if at.Next < at.To {
			from[p] = kgo.NewOffset().At(at.Next)
		}
	}
	cl, err := kafka.NewClient(s.inspector.cfg.Cluster, s.inspector.cfg.Logger,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.scanned.Topic: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), // what is gone is counted
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),       // a log may end in one
		kgo.KeepRetryableFetchErrors(), // or a topic that is gone is looked for a quarter of a minute
		kgo.FetchMinBytes(1), kgo.FetchMaxWait(250*time.Millisecond),
		kgo.FetchMaxBytes(scanFetch), kgo.FetchMaxPartitionBytes(scanFetchPartition), kgo.MaxConcurrentFetches(1),
		kgo.MaxDecompressBatchBytes(scanUnpacked),
	)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.op(), err)
	}
	return cl, nil
}

// read gives letters to the function until all partitions are at their end.
func (s *scan) read(ctx context.Context) error {
	idle := time.Now()
	for s.open > 0 {
		before := s.passed()
		fetches := s.poll(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.failures(ctx, fetches); err != nil {
			return err
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			if err := s.take(ctx, iter.Next()); err != nil {
				return err
			}
		}
		switch {
		case s.passed() > before:
			idle = time.Now()
		case time.Since(idle) > s.inspector.cfg.Timeout:
			return s.stalled(ctx)
		}
		s.progress(false)
	}
	return nil
}

// passed is how many offsets are behind the scan.
func (s *scan) passed() (n int64) {
	for _, p := range s.at {
		n += p.Next - p.From
	}
	return n
}

func (s *scan) poll(ctx context.Context) kgo.Fetches {
	ctx, cancel := context.WithTimeout(ctx, idleAfter)
	defer cancel()
	return s.client.PollFetches(ctx)
}

// take goes on to the next record.
func (s *scan) take(ctx context.Context, r *kgo.Record) error {
	s.since++
	if s.since >= lookEvery {
		s.since = 0
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.progress(false)
	}
	at := s.at[r.Partition]
	if at == nil || r.Offset < at.Next || r.Offset >= at.To {
		if at != nil && r.Offset >= at.To {
			s.pass(at, at.To) // those between are no letters
		}
		return nil
	}
	defer s.pass(at, r.Offset+1)
	if r.Attrs.IsControl() {
		return nil
	}
	l := &s.letter
	s.decoder.decode(l, r)
	if !s.cfg.KeepValues {
		r.Value = nil
	}
	at.Read++
	at.Bytes += int64(l.Size)
	if !s.bare {
		l.State = s.states.of(l)
	}
	if l.Dialect == DialectDuplex && at.copies.seen(maphash.String(s.seed, l.ID)+uint64(l.Generation)) {
		l.State = StateDuplicate
		at.Duplicates++
	}
	if !s.cfg.Filter.Match(l) {
		return nil
	}
	at.Matched++
	err := s.each(l)
	if err == errEnough {
		s.pass(at, at.To)
		return nil
	}
	return err
}

// errOtherTopic says that a topic of this name is there, but not the one that was meant.
var errOtherTopic = errors.New("the topic was deleted and made again")

// errEnough is what a function of ours returns that wants no more of a partition.
var errEnough = errors.New("enough of this partition")

// pass has a partition stand at an offset.
func (s *scan) pass(p *scanning, next int64) {
	if p.Next < p.To && next >= p.To {
		s.open--
		s.client.PauseFetchPartitions(map[string][]int32{s.scanned.Topic: {p.Partition}})
	}
	p.Next = min(next, p.To)
}

func (s *scan) progress(last bool) {
	if s.cfg.Progress == nil {
		return
	}
	now := time.Now()
	if !last && now.Sub(s.said) < progressEvery {
		return
	}
	s.said = now
	var p Progress
	for _, at := range s.at {
		p.Read, p.Of = p.Read+at.Next-at.From, p.Of+at.To-at.From
		p.Letters, p.Matched, p.Bytes = p.Letters+at.Read, p.Matched+at.Matched, p.Bytes+at.Bytes
	}
	p.Took = now.Sub(s.began)
	s.cfg.Progress(p)
}

// windowSize is how many letters of a partition are remembered at least, to find
// second copies.
const windowSize = 131072

// window remembers the letters that came last, as hashes.
type window struct{ recent, older map[uint64]struct{} }

// has reports whether a letter came before.
func (w *window) has(hash uint64) bool {
	_, recently := w.recent[hash]
	_, before := w.older[hash]
	return recently || before
}

// seen notes a letter and reports whether it came before.
func (w *window) seen(hash uint64) bool {
	if _, ok := w.recent[hash]; ok {
		return true
	}
	_, before := w.older[hash]
	if len(w.recent) >= windowSize {
		w.older, w.recent = w.recent, nil
	}
	if w.recent == nil {
		w.recent = make(map[uint64]struct{})
	}
	w.recent[hash] = struct{}{}
	return before
}
