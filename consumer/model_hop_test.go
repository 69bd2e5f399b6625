package consumer

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/duplex-go/duplex/internal/failure"
)

// modelChain is a policy for failures in the hands of the model: it decides anything.
type modelChain struct {
	failure.Chain // whatever else there is must not be called
	t             *rapid.T
	ordered       bool
	decided       map[int64]failure.Step // by offset, since the model looked last
}

func (c *modelChain) Failed(f failure.Failure) failure.Step {
	r := &kgo.Record{Topic: "retry", Value: f.Record.Value}
	step := failure.Step{}
	steps := []string{"in place", "retry", "retry", "dead"}
	if c.ordered {
		steps = []string{"in place", "in order"}
	}
	switch rapid.SampledFrom(steps).Draw(c.t, "policy") {
	case "retry":
		step = failure.PublishFirst(&failure.Hop{Record: r, Due: time.Now().Add(time.Hour)})
	case "dead":
		step = failure.PublishFirst(&failure.Hop{Record: r, Kind: failure.HopDead})
	case "in order":
		step = failure.PublishFirst(&failure.Hop{Record: r, Kind: failure.HopDead, Ordered: true})
	}
	c.decided[f.Record.Offset] = step
	return step
}

func (*modelChain) Handled(string, int)               {}
func (*modelChain) Recovered(*kgo.Record)             {}
func (*modelChain) Published(*failure.Hop)            {}
func (*modelChain) Refused(*failure.Hop) *failure.Hop { return nil }

// publish is one that is under way.
type publish struct {
	r       *kgo.Record
	promise func(*kgo.Record, error)
}

// withPolicy has the records of the model's assignment fail by a policy.
func (m *model) withPolicy() {
	m.chain = &modelChain{t: m.t, ordered: rapid.Bool().Draw(m.t, "keeps order"), decided: map[int64]failure.Step{}}
	m.engine.routes["orders"].unordered = !m.chain.ordered
	m.engine.chain = m.chain
	m.engine.landings = newLandings()
	m.engine.followed = newFollowed()
	m.engine.produce = func(r *kgo.Record, promise func(*kgo.Record, error)) {
		m.air = append(m.air, publish{r, promise})
	}
}

// consult is what a worker does after a handler, before it goes on. It returns true if
// that was a record of a chunk, which goes on behind it.
func (m *model) consult(p *player) (flown bool) {
	if m.chain == nil {
		return false
	}
	if t := &p.turn; t.inPlace && !m.batch && t.err != nil && m.engine.goOn(t, p.records[0], 1) {
		return true
	}
	m.engine.consult(&p.turn)
	return false
}

// apart reports whether a record orders with nothing, because it failed and the policy
// does not keep order.
func (m *model) apart(r *kgo.Record) bool {
	_, failed := m.attempts[r.Offset]
	return m.chain != nil && (m.flown[r.Offset] || failed && !m.chain.ordered)
}

// land has something that is published be acknowledged, or refused.
func (m *model) land(t *rapid.T) {
	if len(m.air) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.air)-1).Draw(t, "which")
	err := rapid.SampledFrom([]error{nil, nil, nil, errTest}).Draw(t, "answer")
	m.lands(i, err)
}

func (m *model) lands(i int, err error) {
	one := m.air[i]
	m.air = slices.Delete(m.air, i, i+1)
	before := m.unfinishedHops()
	one.promise(one.r, err)
	m.engine.landAll()
	m.engine.background.Wait()
	if err != nil {
		return
	}
	// What was under way and is not any more has ended.
	after := m.unfinishedHops()
	for offset := range before {
		if !after[offset] {
			m.finished[offset], m.ever[offset] = true, true
			delete(m.attempts, offset)
			delete(m.flown, offset)
		}
	}
}

// unfinishedHops are the offsets that something is published for.
func (m *model) unfinishedHops() map[int64]bool {
	all := map[int64]bool{}
	for f := m.a.flights.first; f != nil; f = f.next {
		all[f.item.record.Offset] = true
	}
	for l := m.a.lanes.first; l != nil; l = l.next {
		if l.publish != nil {
			all[l.head.record.Offset] = true
		}
	}
	return all
}

// hopped notes what the policy decided about a record that failed. It reports false if
// that was nothing.
func (m *model) hopped(r *kgo.Record) bool {
	if m.chain == nil {
		return false
	}
	step, decided := m.chain.decided[r.Offset]
	delete(m.chain.decided, r.Offset)
	if !decided || step.Kind() != failure.Publish {
		return false
	}
	n := m.attempts[r.Offset]
	if step.Hop().Kind != failure.HopDead {
		n++ // one that is to be dead fails in the same attempt again
	}
	m.attempts[r.Offset] = n // it has failed, in either
	if !step.Hop().Ordered || m.batch {
		m.flown[r.Offset] = true
	}
	return true
}
