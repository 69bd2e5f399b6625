package demo

// marks are moments of the publishing that others wait for: when a member is to
// leave, and when another one is to join.
type marks struct {
	total       int
	leave, join chan struct{}
}

func newMarks(total int) *marks {
	return &marks{total: total, leave: make(chan struct{}), join: make(chan struct{})}
}

// pass is called after each record with how many there were; only the publisher
// calls it.
func (m *marks) pass(n int) {
	if n*8 >= m.total*3 {
		reach(m.leave)
	}
	if n*2 >= m.total {
		reach(m.join)
	}
}

// all lets everybody go on: there will be no further record.
func (m *marks) all() {
	reach(m.leave)
	reach(m.join)
}

func reach(mark chan struct{}) {
	select {
	case <-mark:
	default:
		close(mark)
	}
}
