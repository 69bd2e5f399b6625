package demo

// marks are moments of the publishing that others wait for.
type marks struct {
	total         int
	quarter, half chan struct{}
}

func newMarks(total int) *marks {
	return &marks{total: total, quarter: make(chan struct{}), half: make(chan struct{})}
}

// pass is called after each record with how many there were; only the publisher
// calls it.
func (m *marks) pass(n int) {
	if n*4 >= m.total {
		reach(m.quarter)
	}
	if n*2 >= m.total {
		reach(m.half)
	}
}

// all lets everybody go on: there will be no further record.
func (m *marks) all() {
	reach(m.quarter)
	reach(m.half)
}

func reach(mark chan struct{}) {
	select {
	case <-mark:
	default:
		close(mark)
	}
}
