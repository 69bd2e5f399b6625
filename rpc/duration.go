package rpc

import (
	"math"
	"math/bits"
	"sync"
	"time"
)

// durations knows how long the calls of a method take: what 95 of 100 of the last ones
// took at most. It forgets: every thousand counts half as much as the next.
type durations struct {
	mu      sync.Mutex
	buckets [perOctave * 40]float64
	n       float64
	p95     time.Duration
	// tried is when a call ran, or was let through, last.
	tried time.Time
}

const (
	// perOctave is how many buckets there are from a duration to its double.
	perOctave = 4
	// shedLeast is how many calls must have been seen before one is turned away.
	shedLeast = 100
	window    = 1000
	// probeEvery is when a call is let through although it will most likely not end in
	// time: or nobody would see it if calls became faster.
	probeEvery = time.Second
)

func bucketOf(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 1))
	octave := bits.Len64(us) - 1
	within := int((us - 1<<octave) * perOctave >> octave)
	return min(octave*perOctave+within, perOctave*40-1)
}

// upTo is the longest duration of a bucket.
func upTo(bucket int) time.Duration {
	octave, within := bucket/perOctave, bucket%perOctave
	return time.Duration(math.Ldexp(1+float64(within+1)/perOctave, octave)) * time.Microsecond
}

func (d *durations) add(took time.Duration, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tried = now
	d.buckets[bucketOf(took)]++
	d.n++
	if d.n >= window {
		d.n = 0
		for i := range d.buckets {
			d.buckets[i] /= 2
			d.n += d.buckets[i]
		}
	}
	left := d.n * 0.05
	for i := len(d.buckets) - 1; i >= 0; i-- {
		if left -= d.buckets[i]; left <= 0 {
			d.p95 = upTo(i)
			return
		}
	}
}

// tooLong reports whether a call that has so much time left would most likely not end in
// it.
func (d *durations) tooLong(left time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n < shedLeast || left >= d.p95 {
		return false
	}
	if now := time.Now(); now.Sub(d.tried) >= probeEvery {
		d.tried = now
		return false
	}
	return true
}
