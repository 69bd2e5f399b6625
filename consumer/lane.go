package consumer

import "time"

// A lane is a queue of records that must run one after the other. It belongs to
// an assignment, whose mutex guards it.
//
//	          arrives                      a worker takes it
//	idle ───────────────► ready ─────────────────────────────► running
//	 ▲ ▲                    ▲ due                               │ │ │
//	 │ └──── empty ─────────┼───────────────────────────────────┘ │ │
//	 │                      ├────────────── more ─────────────────┘ │
//	 │                      └── waiting ◄── failed, or batch wait ──┘
//	 └ closed: from every state, when the assignment ends
type lane struct {
	assignment *assignment
	state      laneState
	queue      queue
	// attempt is the number of the next run of the head, from 1; retry is how
	// many records at the head failed together, 0 when attempt is 1.
	attempt, retry int
	// due is when the head may run again after a failure; zero at once.
	due time.Time
	// lastErr is why the head failed the last time.
	lastErr error
	// since is when the head came to stand at the head.
	since time.Time
}

// headIsNew is called when the record at the head has not failed before.
func (l *lane) headIsNew() { l.attempt, l.retry, l.due, l.lastErr = 1, 0, time.Time{}, nil }

// headFailed has the first n records run again together at the given time.
func (l *lane) headFailed(n int, at time.Time, err error) { l.retry, l.due, l.lastErr = n, at, err }

type laneState uint8

const (
	laneIdle    laneState = iota // nothing to run
	laneWaiting                  // in the timers: the head is not due yet
	laneReady                    // in the pool's queue
	laneRunning                  // with a worker
)
