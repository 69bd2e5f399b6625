package producer

import (
	"time"

	"github.com/duplex-go/duplex"
)

// clock is the producer's: nanoseconds since it was made.
func (p *Producer) clock(at time.Time) int64 { return int64(at.Sub(p.made)) }

// watchDeadlines ends records whose Config.Timeout has passed. A hung broker
// gives no answer, and kgo may not give an in-flight record up, since it cannot
// know (engine rule 22): the caller is told so, and the record goes on.
func (p *Producer) watchDeadlines() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := p.clock(time.Now())
		if next := p.expire(now, timeoutError{p.cfg.Timeout}); next > 0 {
			timer.Reset(time.Duration(next - now))
		}
		select {
		case <-p.stop:
			return
		case <-p.sweep:
		case <-timer.C:
		}
	}
}

// expire ends what is due and returns when the next one is; 0 without one.
func (p *Producer) expire(now int64, cause error) (next int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cohorts.expired(now, func(pd pending) { p.giveUp(pd, cause) })
}

// giveUp ends a pending that has not ended, before Kafka has answered. The mutex
// is held.
func (p *Producer) giveUp(pd pending, cause error) {
	was := pd.end()
	if was == ended {
		return
	}
	c := pd.cohort
	c.early++
	topic := pd.record().Topic
	written := was == sent && p.writes.Load() != pd.writes() // the feeder still writes to one that is held
	err := gaveUp(topic, was, written, cause)
	with := pd.company()
	if with == nil || with.call == nil {
		p.callbacks.add(callback{done: c.done[pd.i], topic: topic, err: err, cohort: c, size: pd.size()})
		return
	}
	with.call.early = true
	with.call.tell(duplex.Position{}, err)
	p.counts.add(err)
	p.signOff(c, 1, int64(pd.size()))
}

// signOff takes records of a cohort out of the books: their callers were told. The
// mutex is held.
func (p *Producer) signOff(c *cohort, n int, bytes int64) {
	p.gate.release(&p.cfg, n, bytes)
	p.cohorts.told(c, n)
	if p.gate.records == 0 {
		p.cohorts.clean()
	}
}
