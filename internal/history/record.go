package history

// record is what is known of one offset.
type record struct {
	finished  int64 // when it was first, 0 = not yet
	failedAt  int64 // when it last failed
	due       int64 // of the next attempt, 0 = not known
	key       uint32
	finishes  uint32
	failures  int32  // of the newest attempts
	durable   int32  // of those, what no crash may forget
	finisher  uint16 // who finished it first
	failer    uint16 // whose run failed last
	known     bool   // it is in the log
	published bool
	keyless   bool
	started   bool
}

// table has the records of one partition, by offset.
type table struct {
	chunks   map[int64]*[chunkSize]record
	min, max int64 // offsets that are known, if any is
	any      bool

	pending int   // published and not finished
	since   int64 // nothing was finished from then on
	gap     Gap

	committed   int64 // −1 = nothing yet
	committedAt int64
	checked     int64 // the highest offset that was committed, or was to be
	checkedAt   int64
}

const chunkSize = 1 << 10

func newTable() *table { return &table{chunks: map[int64]*[chunkSize]record{}, committed: -1} }

// at is the record at the offset, made where it was not known.
func (t *table) at(offset int64) *record {
	c := t.chunks[offset/chunkSize]
	if c == nil {
		c = new([chunkSize]record)
		t.chunks[offset/chunkSize] = c
	}
	if !t.any {
		t.min, t.max, t.any = offset, offset, true
	}
	t.min, t.max = min(t.min, offset), max(t.max, offset)
	return &c[offset%chunkSize]
}

// each calls fn with the known records of [from, to) in order until it returns
// false.
func (t *table) each(from, to int64, fn func(offset int64, r *record) bool) {
	if !t.any {
		return
	}
	from, to = max(from, t.min), min(to, t.max+1)
	for offset := from; offset < to; {
		c := t.chunks[offset/chunkSize]
		if c == nil {
			offset = (offset/chunkSize + 1) * chunkSize
			continue
		}
		if r := &c[offset%chunkSize]; r.known && !fn(offset, r) {
			return
		}
		offset++
	}
}
