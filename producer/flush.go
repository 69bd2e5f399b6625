package producer

// flushes lets Flush wait for what was taken over before it, and for nothing that
// came after. Every record belongs to the youngest flush group; a Flush seals it
// and waits until it, and those before it, are empty. The producer's mutex guards
// them.
type flushes struct {
	groups []*flushGroup // the last one is open
}

type flushGroup struct {
	records int
	done    chan struct{} // closed when it and all before it are empty; nil while open
}

// joined counts one more record.
func (f *flushes) joined() *flushGroup {
	if len(f.groups) == 0 {
		f.groups = append(f.groups, &flushGroup{})
	}
	g := f.groups[len(f.groups)-1]
	g.records++
	return g
}

// left counts one record less.
func (f *flushes) left(g *flushGroup) {
	g.records--
	if g.records == 0 {
		f.closeEmpty()
	}
}

func (f *flushes) closeEmpty() {
	for len(f.groups) > 0 && f.groups[0].records == 0 && f.groups[0].done != nil {
		close(f.groups[0].done)
		f.groups = f.groups[1:]
	}
}

// begin seals the open group. remaining tells how many records are left of it
// and of those before.
func (f *flushes) begin(p *Producer) (done <-chan struct{}, remaining func() int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(f.groups) == 0 {
		f.groups = append(f.groups, &flushGroup{})
	}
	g := f.groups[len(f.groups)-1]
	g.done = make(chan struct{})
	before := append([]*flushGroup(nil), f.groups...)
	f.groups = append(f.groups, &flushGroup{})
	f.closeEmpty()
	p.queue.hurry = true
	p.queue.wakeFeeder()
	return g.done, func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		n := 0
		for _, b := range before {
			n += b.records
		}
		return n
	}
}
