// Package duplextest has what tests of programs that use Duplex need: a broker
// per test, topics of their own, and checks on what is in them.
//
//	func TestBoard(t *testing.T) {
//		cluster := duplextest.Cluster(t)
//		departures := duplextest.Topic(t, cluster, Departures, 6)
//		…
//		duplextest.RequireRecords(t, cluster, departures, want...)
//	}
package duplextest
