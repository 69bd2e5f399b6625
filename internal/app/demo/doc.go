// Package demo is the main job of Duplex as one story, on real input: departures
// of airlines stream through a topic to two groups. One keeps a board of figures per
// airport, while members of it come and go; the other rebooks passengers of late
// departures with a service that is down for a while. Beside them the gate asks a service
// for a fare for each late departure, and waits for the answer; one of the two instances
// of the service is killed meanwhile. What was damaged, and died for it, is mended in the end
// and comes back to the group that failed. It is written against the exported packages only, as
// any program would be.
//
//	           ┌─ call, if late ──► requests, 6 partitions ──► fares: x y
//	           │  gate ◄──────────── replies ◄───────────────────┘
//	           │
//	departures ┴─ publish, key = origin ──► topic, 6 partitions
//	     │                                    │  │
//	     │                                    │  └─► boards: a b c d ──► board
//	     │                                    │        └─ fails: waits in its place
//	     │                                    └────► rebookings: desk ──► booking service
//	     │                                             │ ▲
//	     │             fails: retry topics, 0.3s 1s 3s ◄─┘ │ due
//	     │             undecodable: dead letters ──► inbox ▲
//	     │                             └─ redrive, mended ─┘ to the desk alone
//	     └── position of each ──► history ◄── each end: handled, dropped, dead
//	         end of each call ────┘     └──── each call that an instance began to run
//
// Nothing in the summary is asserted: the history has what was acknowledged and how
// it ended, how each call ended and which ran, and the summary is computed from it. So an
// error that says that its call never ran is held against what the service says it ran.
// A record that a redrive sends back has another life, and counts by how the last one ends:
// each life ends once, none follows one that was handled, and what comes back must be what
// the input has. The queue itself says which dead letters are open.
//
// The instance that is killed is one within this process: in the middle of a call its
// connections are closed, no other is made, and nothing that it does after that counts or
// gets out. Three lines are damaged by the demo, which says so.
//
// The input that is built in, flights.ndjson, are 2,000 departures in the United
// States from January to March 2001, as the Bureau of Transportation Statistics
// published them (public domain), in the sample known as flights-2k of
// vega-datasets.
package demo
