// Package demo is the main job of Duplex as one story, on real input: departures
// of airlines stream through a topic to a group that keeps a board of figures per
// airport, while members of the group come and go. It is written against the
// exported packages only, as any program would be.
//
//	departures ── publish, key = origin ──► topic, 6 partitions ──► members a b c d ──► board
//	     └────────── position of each ──────────► history ◄────────── each run ──────────┘
//
// Nothing in the summary is asserted: the history has what was acknowledged and
// what was run, and the summary is computed from it.
//
// The input that is built in, flights.ndjson, are 2,000 departures in the United
// States from January to March 2001, as the Bureau of Transportation Statistics
// published them (public domain), in the sample known as flights-2k of
// vega-datasets.
package demo
