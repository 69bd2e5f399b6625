package rpc

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"sync"
)

// A correlation ID is "instance.boot.number": 8 characters for the client instance, 6
// for this run of it, and 22 for 128 random bits. The first two tell replies for others
// and for an earlier run from ours before anything is looked up; the last one cannot be
// guessed, so that nobody answers a call who has not seen it.
type identity struct {
	prefix []byte // "instance.boot."
}

const (
	instanceSize, bootSize, numberSize = 8, 6, 22
	prefixSize                         = instanceSize + 1 + bootSize + 1
	correlationSize                    = prefixSize + numberSize
)

// number is the random part of a correlation ID.
type number [16]byte

// newIdentity is that of a client of the given instance, from now on.
func newIdentity(instance string) identity {
	h := fnv.New64a()
	_, _ = h.Write([]byte(instance)) // never fails
	var of [6]byte
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], h.Sum64())
	copy(of[:], sum[:])
	var boot [5]byte
	random(boot[:])
	run := base64.RawURLEncoding.EncodeToString(boot[:])[:bootSize]
	return identity{prefix: []byte(base64.RawURLEncoding.EncodeToString(of[:]) + "." + run + ".")}
}

// random fills b with bytes that nobody can guess.
func random(b []byte) { _, _ = rand.Read(b) } // it never fails: crypto/rand

// numbers makes numbers, many at once: each time the system is asked for random bytes
// costs more than they do.
type numbers struct {
	mu   sync.Mutex
	made [64]number
	left int
}

func (ns *numbers) next() number {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.left == 0 {
		for i := range ns.made {
			random(ns.made[i][:])
		}
		ns.left = len(ns.made)
	}
	ns.left--
	return ns.made[ns.left]
}

// append appends the correlation ID of a number to b.
func (id identity) append(b []byte, n number) []byte {
	return base64.RawURLEncoding.AppendEncode(append(b, id.prefix...), n[:])
}

// whose says what a correlation ID is.
type whose uint8

const (
	mine     whose = iota // of a call of this run
	former                // of an earlier run of this instance
	another               // of another instance, that reads the same partition
	nobodies              // of no client of ours
)

// parse takes a correlation ID apart.
func (id identity) parse(b []byte) (n number, of whose) {
	if len(b) != correlationSize || b[instanceSize] != '.' || b[prefixSize-1] != '.' {
		return n, nobodies
	}
	// Not canonical is not ours: two texts would be one number.
	decoded, err := base64.RawURLEncoding.Strict().AppendDecode(n[:0], b[prefixSize:])
	if err != nil || len(decoded) != len(n) {
		return n, nobodies
	}
	switch {
	case bytes.Equal(b[:prefixSize], id.prefix):
		return n, mine
	case bytes.Equal(b[:instanceSize], id.prefix[:instanceSize]):
		return n, former
	default:
		return n, another
	}
}
