package producer

import "time"

// watchDeadlines ends records whose Config.Timeout has passed. A hung broker
// gives no answer, and kgo may not give an in-flight record up, since it cannot
// know (engine rule 22): the caller is told so, and the record goes on.
func (p *Producer) watchDeadlines() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if next := p.expire(time.Now()); next > 0 {
			timer.Reset(next)
		}
		select {
		case <-p.stop:
			return
		case <-p.sweep:
		case <-timer.C:
		}
	}
}

// expire ends what is due and returns how long it is to the next; 0 without one.
func (p *Producer) expire(now time.Time) time.Duration {
	due, next := p.due(now)
	for _, pd := range due {
		p.giveUp(pd, timeoutError{p.cfg.Timeout})
		p.letGo(pd)
	}
	return next
}

// due returns what is due, held so that it is not used again meanwhile.
func (p *Producer) due(now time.Time) (due []*pending, next time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pd := p.deadlines.first; pd != nil; pd = pd.next {
		if left := pd.deadline.Sub(now); left > 0 {
			return due, left
		}
		pd.holders.Add(1)
		due = append(due, pd)
	}
	p.deadlines.unwatched = true
	return due, 0
}

// endAll ends everything that has not ended.
func (p *Producer) endAll(cause error) {
	due, _ := p.due(time.Now().Add(2 * p.cfg.Timeout))
	for _, pd := range due {
		p.giveUp(pd, cause)
		p.letGo(pd)
	}
}
