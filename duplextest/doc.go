// Package duplextest has what tests of programs that use Duplex need: a broker
// per test, topics of their own, checks on what is in them, and Kafka in virtual
// time.
//
//	func TestBoardShowsDepartures(t *testing.T) {
//		cluster := duplextest.Cluster(t)
//		departures := duplextest.Topic(t, cluster, Departures, 6)
//		board := NewBoard(cluster, departures.Name)
//		…
//		duplextest.RequireRecords(t, cluster, departures, Departure{Flight: "LH 454"})
//	}
//
// # Embedded or real
//
// [Broker] always starts an embedded broker for the test, so topics may have
// their usual names. [Cluster] does so too, unless the environment variable
// DUPLEX_TEST_BROKERS names a real Kafka as a comma-separated list of host:port:
// tests that take their names from [Topic], [NewTopic] and [Unique] pass on both
// and leave nothing behind but empty groups.
//
// # Virtual time
//
// Inside a testing/synctest bubble the clock moves on as soon as every goroutine
// waits: a test of an hour's delay takes a moment, and durations are exact.
// [VirtualTime] runs a test so, with a broker in the bubble. The Kafka client
// must be built for it: some of its locks are held while it waits for an answer,
// and a goroutine that waits for a sync.Mutex keeps the clock from moving. With
// the build tag "synctests" franz-go replaces them. Hence tests in virtual time
//
//   - live in files that begin with //go:build synctests,
//   - have names that begin with TestVirtual,
//   - and are reached by the plain "go test" through one test without the tag:
//
// which is all it takes:
//
//	func TestInVirtualTime(t *testing.T) { duplextest.RunTagged(t) }
//
// # Failures
//
// Every function fails the test at once, with a message that says what was
// wanted and what was there; none returns an error. They are safe to call from
// the goroutine of the test only.
package duplextest
