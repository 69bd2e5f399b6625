package main

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/consumer"
)

// What all arms have in common.
const (
	keys         = 10_000
	linger       = 5 * time.Millisecond // async arms; sync arms do not linger
	buffered     = 50_000               // records that a producer may hold
	commitEvery  = time.Second
	fetchMax     = 16 << 20
	publishLimit = 60 * time.Second
)

// settings are printed with every result.
func settings() []string {
	return []string{
		"acks=all, idempotent, no compression, murmur2 of " + strconv.Itoa(keys) + " keys",
		"async: linger " + linger.String() + ", at most " + strconv.Itoa(buffered) + " records buffered",
		"sync: kgo.ProduceSync with linger 0; Duplex's Publish as it is",
		"consume: group, read_committed, fetches of at most " + strconv.Itoa(fetchMax>>20) + " MiB, commits every " + commitEvery.String() +
			"; kgo handles on its poll goroutine, Duplex ByPartition with HandleRecord",
		"keys: at random (splitmix64 of the record's number, the same in every run), as many as the name says, handlers do next to nothing; kgo handles on its poll goroutine, Duplex ByKey",
		"work: handlers sleep; queue per key and hash to workers are written by hand on raw kgo, as many handlers at once, and keep no" +
			" account of what is finished: offsets are committed as they are polled",
	}
}

type kind string

const (
	async   kind = "async"
	blocked kind = "sync"
	consume kind = "consume"
	keyed   kind = "keyed" // consume by key

	takeover kind = "takeover"

	failed  kind = "failed" // consume, and some handlers fail
	hops    kind = "hops"   // all of them do
	waiting kind = "waiting"

	calls    kind = "calls"
	inFlight kind = "in flight" // calls that nobody answers

	footprintWork      kind = "keys at work"
	footprintWait      kind = "keys that wait"
	footprintPartition kind = "partitions"
)

// workload is one line of the comparison.
type workload struct {
	Name    string `json:"name"`
	Kind    kind   `json:"kind"`
	Bytes   int    `json:"bytes"` // of a value
	Callers int    `json:"callers,omitempty"`
	Records int    `json:"records"`
	// Of keyed ones: how many keys, how long a handler waits, how many may wait at
	// once.
	Keys   int           `json:"keys,omitempty"`
	Work   time.Duration `json:"work,omitempty"`
	Flight int           `json:"flight,omitempty"`
	// Of those with failures: how long a failed record waits, or that it is dead at
	// once.
	Delay    time.Duration     `json:"delay,omitempty"`
	Dead     bool              `json:"dead,omitempty"`
	Ordering consumer.Ordering `json:"ordering,omitempty"`
	// Peer is who else tries failed records again, or calls, where that is neither Duplex
	// nor kgo.
	Peer arm `json:"peer,omitempty"`
	// Rounds that count are at most so many, where it is not 0.
	Rounds int `json:"rounds,omitempty"`
}

// roundsInAll keeps a run of everything short: workloads with keys are many. Asked
// for by name they have all rounds.
func (w workload) roundsInAll() int {
	switch {
	case w.Kind != keyed:
		return 0
	case w.Work == 0:
		return 2
	default:
		return 1
	}
}

// reads reports whether the workload is about reading.
func (w workload) reads() bool { return w.Kind == consume || w.Kind == keyed }

// arms are who takes part; the first one is what the others are compared with.
func (w workload) arms() []arm {
	switch {
	case w.Kind == takeover:
		return []arm{armKgo, armDuplex}
	case w.failsSome():
		return w.failureArms()
	case w.aboutCalls():
		return w.callArms()
	case w.aboutLetters():
		return w.letterArms()
	case w.Kind != keyed:
		return []arm{armKgo, armDuplex, armControl}
	case w.Work == 0:
		return []arm{armKgo, armDuplex, armByPartition, armControl}
	default:
		return []arm{armQueues, armDuplex, armHash}
	}
}

func workloads() []workload {
	return []workload{
		{Name: "produce async 100 B", Kind: async, Bytes: 100, Records: 5_000_000},
		{Name: "produce async 1 KiB", Kind: async, Bytes: 1024, Records: 2_000_000},
		{Name: "produce sync × 1", Kind: blocked, Bytes: 100, Callers: 1, Records: 10_000},
		{Name: "produce sync × 64", Kind: blocked, Bytes: 100, Callers: 64, Records: 300_000},
		{Name: "consume 100 B", Kind: consume, Bytes: 100, Records: 10_000_000},
		{Name: "keys 10,000", Kind: keyed, Bytes: 100, Records: 6_000_000, Keys: 10_000},
		{Name: "keys 1,000,000", Kind: keyed, Bytes: 100, Records: 6_000_000, Keys: 1_000_000},
		{Name: "keys one", Kind: keyed, Bytes: 100, Records: 6_000_000, Keys: 1},
		{Name: "work 1 ms × 1,000", Kind: keyed, Bytes: 100, Records: 2_000_000, Keys: 100_000, Work: time.Millisecond, Flight: 1000},
		{Name: "work 10 ms × 1,000", Kind: keyed, Bytes: 100, Records: 300_000, Keys: 100_000, Work: 10 * time.Millisecond, Flight: 1000},
		{Name: "work 100 ms × 1,000", Kind: keyed, Bytes: 100, Records: 30_000, Keys: 100_000, Work: 100 * time.Millisecond, Flight: 1000},
		{Name: "work 1 ms × 10,000", Kind: keyed, Bytes: 100, Records: 2_000_000, Keys: 1_000_000, Work: time.Millisecond, Flight: 10_000},
		{Name: "work 10 ms × 10,000", Kind: keyed, Bytes: 100, Records: 2_000_000, Keys: 1_000_000, Work: 10 * time.Millisecond, Flight: 10_000},
		{Name: "work 100 ms × 10,000", Kind: keyed, Bytes: 100, Records: 300_000, Keys: 1_000_000, Work: 100 * time.Millisecond, Flight: 10_000},
	}
}

func (w workload) scaled(by float64) workload {
	w.Records = max(int(float64(w.Records)*by), max(w.Callers, 1)*10)
	return w
}

// source makes the records of a workload: the same ones in every process, without
// an allocation for any of them but the record itself. Values are windows of one
// random block.
type source struct {
	topic  string
	spread bool // keys come at random, rather than in turn
	size   int
	keys   [][]byte
	block  []byte
}

const (
	blockSize = 1 << 20
	// stride is odd, so that windows repeat only after all places of the block.
	stride = 7919
)

func newSource(topic string, w workload) *source {
	n, size := keys, w.Bytes
	if w.Keys > 0 {
		n = w.Keys
	}
	s := &source{topic: topic, spread: w.Keys > 0, size: size, block: make([]byte, blockSize+size)}
	random := rand.New(rand.NewPCG(1, 2))
	for i := 0; i+8 <= len(s.block); i += 8 {
		binary.LittleEndian.PutUint64(s.block[i:], random.Uint64())
	}
	for i := range n {
		s.keys = append(s.keys, strconv.AppendInt([]byte("key-"), int64(i), 10))
	}
	return s
}

func (s *source) record(i int) *kgo.Record {
	key := uint64(i)
	if s.spread { // splitmix64: the same in every run
		key = (key + 1) * 0x9e3779b97f4a7c15
		key = (key ^ key>>30) * 0xbf58476d1ce4e5b9
		key ^= key >> 27
	}
	return &kgo.Record{Topic: s.topic, Key: s.keys[key%uint64(len(s.keys))], Value: s.value(i)}
}

// value is that of the i-th record, a window that nobody may change.
func (s *source) value(i int) []byte {
	at := i * stride & (blockSize - 1)
	return s.block[at : at+s.size : at+s.size]
}

// tally identifies a set of records without regard to their order: how many, and
// the sum of what each of them is.
type tally struct {
	Count int64  `json:"count"`
	Sum   uint64 `json:"sum"`
}

// add is cheap enough to stand in the path that is measured: it looks at the
// value's first bytes only.
func (t *tally) add(r *kgo.Record) {
	t.Count++
	if len(r.Value) >= 8 {
		t.Sum += binary.LittleEndian.Uint64(r.Value)
	}
}

// addAll looks at every byte.
func (t *tally) addAll(r *kgo.Record) {
	t.Count++
	t.Sum += uint64(crc32.ChecksumIEEE(r.Value))<<32 | uint64(crc32.ChecksumIEEE(r.Key))
}

// want is the tally of the first n records of s.
func (s *source) want(n int, add func(*tally, *kgo.Record)) tally {
	var t tally
	for i := range n {
		add(&t, s.record(i))
	}
	return t
}
