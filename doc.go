// Package duplex holds the words that every other package of Duplex shares:
// a typed [Topic] and its [Codec], the [Cluster] to talk to, access to record
// headers, the verdicts a handler may return, the [Code] of an error and the
// [Status] of a component.
//
// Duplex is a messaging platform on Kafka. Programs publish records with
// package producer and handle them with package consumer; records are
// franz-go's own [kgo.Record] all the way, with no envelope around them, so
// everything else in the franz-go ecosystem keeps working.
//
// A topic is declared once and used on both sides:
//
//	var Departures = duplex.Topic[Departure]{
//		Name: "departures",
//		Key:  func(d Departure) string { return d.Origin },
//	}
//
// Everything in this package is a plain value: copying is fine, and concurrent
// use is safe as long as nobody writes.
package duplex
