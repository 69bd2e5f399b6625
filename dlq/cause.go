package dlq

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Cause is the dead letters of a queue that have one fingerprint.
type Cause struct {
	// Fingerprint is what they have in common.
	Fingerprint string
	// Count are all that fit the filter, Open those of them that are open. A second copy
	// is counted, and not open.
	Count, Open int64
	// First and Last are when the first of them failed first, and the last one last. Where
	// the dialect does not say, it is when the letter was written.
	First, Last time.Time
	// Oldest is when the oldest open one was written, zero without one. TimeToLoss is how
	// long its queue keeps it at least from now on; zero if that has passed, and negative
	// if nothing is deleted for its age.
	Oldest     time.Time
	TimeToLoss time.Duration
	// Reason, ErrorType and Message are those of the sample.
	Reason             Reason
	ErrorType, Message string
	// Origins are the topics that they were read from first, Groups and Handlers who
	// failed, Generations how often they had come back. Each is sorted; of more than 32
	// values, those that came first.
	Origins, Groups, Handlers []string
	Generations               []int
	// Sample is one of the later ones, without its value, and without its record where key
	// and headers have more than 16 KiB.
	Sample Letter
}

// CausesConfig says which causes are wanted.
type CausesConfig struct {
	// Filter says which letters count. Defaults to all.
	Filter Filter
	// Most is how many causes are told apart, those that come first. Defaults to 10,000.
	Most int
	// Progress is as that of ScanConfig.
	Progress func(Progress)
}

// Causes are the letters of a queue, by what killed them.
type Causes struct {
	// All are the causes, those with the most open letters first.
	All []Cause
	// OtherCount and OtherOpen are of letters whose causes came after the Most first.
	OtherCount, OtherOpen int64
	// Scanned says what was read.
	Scanned Scanned
}

const (
	defaultMostCauses = 10_000
	maxSample         = 16 << 10
	mostNames         = 32 // of one cause
)

// Causes reads a queue and groups its letters by their fingerprints. It holds a sample of
// each cause, and what Scan holds. When it ends early, with an error, it returns what it
// has so far.
func (i *Inspector) Causes(ctx context.Context, topic string, cfg CausesConfig) (Causes, error) {
	if cfg.Most < 0 {
		return Causes{}, fmt.Errorf("dlq: grouping %q: CausesConfig.Most = %d: must not be negative", topic, cfg.Most)
	}
	g := grouping{most: cfg.Most, by: map[string]*Cause{}}
	if g.most == 0 {
		g.most = defaultMostCauses
	}
	var err error
	g.out.Scanned, err = i.Scan(ctx, topic, ScanConfig{Filter: cfg.Filter, Progress: cfg.Progress}, g.add)
	if err != nil {
		return g.finish(0), err
	}
	settings, err := i.settings(ctx, topic)
	if err != nil {
		return g.finish(0), err
	}
	return g.finish(settings[topic].retention), nil
}

type grouping struct {
	most int
	by   map[string]*Cause
	out  Causes
}

func (g *grouping) add(l *Letter) error {
	open := l.State == StateOpen
	c := g.by[l.Fingerprint]
	switch {
	case c != nil:
	case len(g.by) < g.most:
		c = &Cause{Fingerprint: l.Fingerprint}
		g.by[l.Fingerprint] = c
	default:
		g.out.OtherCount++
		if open {
			g.out.OtherOpen++
		}
		return nil
	}
	c.Count++
	if open {
		c.Open++
		if c.Oldest.IsZero() || l.Time.Before(c.Oldest) {
			c.Oldest = l.Time
		}
	}
	first, last := l.FirstFailed, l.when()
	if first.IsZero() {
		first = last
	}
	if c.Count == 1 || first.Before(c.First) {
		c.First = first
	}
	if c.Count == 1 || !last.Before(c.Last) {
		c.Last = last
		c.show(l)
	}
	c.Origins = addName(c.Origins, l.Origin.Topic)
	c.Groups = addName(c.Groups, l.Group)
	c.Handlers = addName(c.Handlers, l.Handler)
	if !slices.Contains(c.Generations, l.Generation) && len(c.Generations) < mostNames {
		c.Generations = append(c.Generations, l.Generation)
	}
	return nil
}

// show makes a letter the sample, unless the one that there is will do: a copy for each
// letter would cost more than all the rest.
func (c *Cause) show(l *Letter) {
	if c.Count&(c.Count-1) != 0 { // of the first, the second, the fourth …
		return
	}
	kept := *l
	kept.Record = nil
	if l.Record != nil && size(l.Record) <= maxSample {
		kept = *l.Clone()
		var again Letter // for the stack
		newDecoder().decode(&again, kept.Record)
		kept.Stack = again.Stack
	}
	c.Sample, c.Reason, c.ErrorType, c.Message = kept, l.Reason, l.ErrorType, l.ErrorMessage
}

func addName(to []string, name string) []string {
	if name == "" || len(to) >= mostNames || slices.Contains(to, name) {
		return to
	}
	return append(to, name)
}

func (g *grouping) finish(retention time.Duration) Causes {
	now := time.Now()
	for _, c := range g.by {
		c.TimeToLoss = timeToLoss(c.Oldest, now, retention)
		slices.Sort(c.Origins)
		slices.Sort(c.Groups)
		slices.Sort(c.Handlers)
		slices.Sort(c.Generations)
		g.out.All = append(g.out.All, *c)
	}
	slices.SortFunc(g.out.All, func(a, b Cause) int {
		return cmp.Or(cmp.Compare(b.Open, a.Open), cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), strings.Compare(a.Fingerprint, b.Fingerprint))
	})
	return g.out
}

// timeToLoss is how long a letter that was written at the given time is kept at least,
// −1 if for ever or there is none.
func timeToLoss(written, now time.Time, retention time.Duration) time.Duration {
	if retention <= 0 || written.IsZero() {
		return -1
	}
	return max(0, written.Add(retention).Sub(now))
}
