package dlq

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/failure"
)

// beside is what is known of the topics beside the sources.
type beside struct {
	mu sync.RWMutex
	is map[string]besideTopic
}

// besideTopic is one of them.
type besideTopic struct {
	partitions int32
	maxBytes   int32 // of a batch, 0 if it is not known
}

func (b *beside) set(topic string, is besideTopic) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.is == nil {
		b.is = map[string]besideTopic{}
	}
	b.is[topic] = is
}

func (b *beside) of(topic string) besideTopic {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.is[topic]
}

// hop takes r to a topic beside its own, with the headers that were written: to the
// partition of the same number, as far as there is one.
func (b *beside) hop(topic string, r *kgo.Record, w writer) *failure.Hop {
	p := r.Partition
	if n := b.of(topic).partitions; n > 0 {
		p %= n
	}
	to := w.hop.Record
	to.Topic, to.Partition, to.Key, to.Value, to.Headers = topic, p, r.Key, r.Value, w.headers
	return w.hop
}

// written counts the dead letters that were written since the consumer was started,
// so that it can be said what is lost when somebody deletes their topic.
type written struct {
	mu      sync.Mutex
	letters map[string]int64 // by topic
	lost    map[string]duplex.Problem
}

func (w *written) add(topic string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.letters == nil {
		w.letters = map[string]int64{}
	}
	w.letters[topic]++
}

// deleted notes that a dead-letter queue is not there any more.
func (w *written) deleted(topic string, now time.Time) (letters int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	letters = w.letters[topic]
	if _, said := w.lost[topic]; said && letters == 0 {
		return 0 // it could not be made again meanwhile
	}
	if w.lost == nil {
		w.lost = map[string]duplex.Problem{}
	}
	w.lost[topic] = duplex.Problem{Code: duplex.StatusRetryDataLost, Subject: topic, Detail: fmt.Sprintf(
		"%s: the topic was deleted, as was noticed at %s, with %d dead letters that this member had written since it started, and those from before and of others",
		topic, now.UTC().Format(time.RFC3339), letters)}
	delete(w.letters, topic)
	return letters
}

func (w *written) problems() (all []duplex.Problem) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, topic := range slices.Sorted(maps.Keys(w.lost)) {
		all = append(all, w.lost[topic])
	}
	return all
}
