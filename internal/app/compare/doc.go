// Package compare does one workload both ways, as calls and as events, and says what
// differs: passengers of departures are rebooked, by the same function, under normal
// load, with failures, on a slow server, on a dead one, and in a burst. It is written
// against the exported packages only, as any program would be.
//
//	        ┌─ call ───► rpc.requests.… ─► server ───┐
//	trips ──┤   ▲                            │       ├─► desk.rebook
//	        │   └─────── rpc.replies.… ◄─────┘       │
//	        └─ publish ► departures ─► consumer ─────┘
//	                                     └─ fails: retry topics ─► dead letters ─► inbox
//
// Nothing in the table is known before: a history has when each trip was due, when its
// caller was free again and with what, and each run of the desk's function. The
// figures are computed from it, the promises are checked on it, and the sentences of the
// table are chosen by the figures.
package compare
