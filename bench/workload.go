package main

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
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
	}
}

type kind string

const (
	async   kind = "async"
	blocked kind = "sync"
	consume kind = "consume"
)

// workload is one line of the comparison.
type workload struct {
	Name    string `json:"name"`
	Kind    kind   `json:"kind"`
	Bytes   int    `json:"bytes"` // of a value
	Callers int    `json:"callers,omitempty"`
	Records int    `json:"records"`
}

func workloads() []workload {
	return []workload{
		{Name: "produce async 100 B", Kind: async, Bytes: 100, Records: 5_000_000},
		{Name: "produce async 1 KiB", Kind: async, Bytes: 1024, Records: 2_000_000},
		{Name: "produce sync × 1", Kind: blocked, Bytes: 100, Callers: 1, Records: 10_000},
		{Name: "produce sync × 64", Kind: blocked, Bytes: 100, Callers: 64, Records: 300_000},
		{Name: "consume 100 B", Kind: consume, Bytes: 100, Records: 10_000_000},
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
	topic string
	size  int
	keys  [][]byte
	block []byte
}

const (
	blockSize = 1 << 20
	// stride is odd, so that windows repeat only after all places of the block.
	stride = 7919
)

func newSource(topic string, size int) *source {
	s := &source{topic: topic, size: size, block: make([]byte, blockSize+size)}
	random := rand.New(rand.NewPCG(1, 2))
	for i := 0; i+8 <= len(s.block); i += 8 {
		binary.LittleEndian.PutUint64(s.block[i:], random.Uint64())
	}
	for i := range keys {
		s.keys = append(s.keys, strconv.AppendInt([]byte("key-"), int64(i), 10))
	}
	return s
}

func (s *source) record(i int) *kgo.Record {
	at := i * stride & (blockSize - 1)
	return &kgo.Record{Topic: s.topic, Key: s.keys[i%keys], Value: s.block[at : at+s.size : at+s.size]}
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
