package consumer

import (
	"slices"
	"sync"
)

// Partitions names what Pause, Resume and SeekTime are about: some partitions of a
// topic, or all of them where none is named.
type Partitions struct {
	Topic   string
	Numbers []int32
}

func (p Partitions) covers(topic string, partition int32) bool {
	return (p.Topic == "" || p.Topic == topic) && (len(p.Numbers) == 0 || slices.Contains(p.Numbers, partition))
}

// Pause has no handler start for the given partitions, or for all without any,
// until Resume; it returns at once, and those at work go on. It counts for
// partitions that this member owns and for those that it will own, and it may be
// called before Run. What is loaded stays loaded, fetching stops by itself at
// MaxLoaded, and the member stays in the group. Other members are not paused.
func (c *Consumer) Pause(of ...Partitions) { c.setPaused(true, of) }

// Resume takes Pause back for the given partitions, or for all without any.
func (c *Consumer) Resume(of ...Partitions) { c.setPaused(false, of) }

func (c *Consumer) setPaused(paused bool, of []Partitions) {
	c.pauses.set(paused, of)
	c.mu.Lock()
	e := c.engine
	c.mu.Unlock()
	if e == nil {
		return
	}
	for _, a := range e.all() {
		e.applyPause(a)
	}
}

// applyPause has an assignment do as the operator said last.
func (e *engine) applyPause(a *assignment) {
	if e.pauses.paused(a.topic, a.partition) {
		a.halt(haltPaused)
	} else {
		a.unhalt(haltPaused)
	}
}

// pauses is what an operator said, the last word on a partition counting.
type pauses struct {
	mu    sync.Mutex
	rules []pauseRule
}

type pauseRule struct {
	of     Partitions
	paused bool
}

func (p *pauses) set(paused bool, of []Partitions) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(of) == 0 {
		p.rules = nil
		of = []Partitions{{}}
	}
	for _, each := range of {
		p.rules = slices.DeleteFunc(p.rules, func(r pauseRule) bool { // what this overrules
			return r.of.Topic == each.Topic && (len(each.Numbers) == 0 || subset(r.of.Numbers, each.Numbers))
		})
		p.rules = append(p.rules, pauseRule{Partitions{each.Topic, slices.Clone(each.Numbers)}, paused})
	}
}

// subset reports whether all of some are among all; none stands for every one.
func subset(some, all []int32) bool {
	for _, n := range some {
		if !slices.Contains(all, n) {
			return false
		}
	}
	return len(some) > 0
}

func (p *pauses) paused(topic string, partition int32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range slices.Backward(p.rules) {
		if r.of.covers(topic, partition) {
			return r.paused
		}
	}
	return false
}
