package dlq

import (
	"context"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex/internal/kafka"
)

const (
	// keepJobs is how long a job is kept that is over, though none of its letters is left; the
	// audit has it for longer.
	keepJobs = 24 * time.Hour
	// keepOutcomes is how long an outcome is kept whose job is not known.
	keepOutcomes = 90 * 24 * time.Hour
)

// prune takes out of the state topic what says nothing of any letter that is left, so that
// it does not grow for ever: jobs all of whose letters have expired, and their outcomes.
func (w *runner) prune(ctx context.Context) error {
	starts, err := kafka.StartOffsets(ctx, w.client, w.log.states.queue)
	if err != nil {
		return err
	}
	past := map[string]bool{}
	for id, j := range w.log.states.all {
		if id != w.id && w.log.states.past(j, starts, time.Now()) {
			past[id] = true
		}
	}
	if len(past) == 0 {
		return nil
	}
	p := pruning{runner: w, past: past}
	scan := w.inspector.newScan(w.log.topic, ScanConfig{KeepValues: true}, func(l *Letter) error { return p.look(ctx, l.Record) })
	scan.bare = true
	if _, err := scan.do(ctx); err != nil {
		return err
	}
	if err := p.flush(ctx); err != nil {
		return err
	}
	w.Redriver.log.Info("entries of jobs whose letters have all expired were removed", zap.String("topic", w.log.topic), zap.Int("jobs", len(past)), zap.Int("entries", p.n))
	return nil
}

// past reports whether a job says nothing of any letter that is left.
func (s *states) past(j *Job, starts map[int32]int64, now time.Time) bool {
	if j.Plan.Queue != s.queue || !j.State.Over() || now.Sub(j.Ended) < keepJobs {
		return false
	}
	if j.Plan.QueueID != s.queueID {
		return true // its letters were in another topic of the name
	}
	for partition, set := range j.selected {
		if set.End() > starts[partition] || j.copies[partition].End() > starts[partition] {
			return false
		}
	}
	return true
}

// pruning writes tombstones.
type pruning struct {
	*runner
	past   map[string]bool // jobs
	stones []*kgo.Record
	n      int
}

// look writes a tombstone for an entry of a job that is past.
func (p *pruning) look(ctx context.Context, r *kgo.Record) error {
	if r.Value == nil || !p.goes(string(r.Key), r.Value) {
		return nil
	}
	p.n++
	p.stones = append(p.stones, &kgo.Record{Topic: r.Topic, Key: append([]byte(nil), r.Key...)})
	if len(p.stones) < mostAtOnce {
		return nil
	}
	return p.flush(ctx)
}

// goes reports whether an entry is one of those.
func (p *pruning) goes(key string, value []byte) bool {
	kind, rest, _ := strings.Cut(key, "/")
	switch kind + "/" {
	case jobPrefix, progressPrefix, controlPrefix, selectionPrefix:
		id, _, _ := strings.Cut(rest, "/")
		return p.past[id]
	case outcomePrefix:
		var o outcomeEntry
		if decodeEntry(value, &o, &o.Version) != nil {
			return false
		}
		return p.past[o.Job] || (p.log.states.all[o.Job] == nil && time.Since(time.UnixMilli(o.At)) > keepOutcomes)
	}
	return false
}

func (p *pruning) flush(ctx context.Context) error {
	if len(p.stones) == 0 {
		return nil
	}
	stones := p.stones
	p.stones = nil
	return p.out.commit(ctx, nil, stones, func(step) error { return nil })
}
