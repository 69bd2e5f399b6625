// Package rpc asks and waits for the answer, over the same Kafka that carries events:
// a call ends with what the server said, or with one coded error by its deadline.
//
//	var Quote = rpc.Method[Trip, Fare]{Service: "fares", Name: "Quote", Safe: true}
//
//	// the server
//	s, err := rpc.NewServer(rpc.ServerConfig{Cluster: cluster, Handlers: []rpc.Handler{rpc.Handle(Quote, quote)}})
//	…
//	err = s.Run(ctx)
//
//	// whoever asks
//	c, err := rpc.NewClient(rpc.ClientConfig{Cluster: cluster, Service: "desk"})
//	…
//	fare, err := rpc.Call(ctx, c, Quote, trip)
//
// # How it works
//
//	client                     Kafka                             server
//	Call ── pending ── outbox ──► rpc.requests.<service> ──► group rpc.<service>
//	  ▲                                                           │ handler
//	  └──── inbox ◄── rpc.replies.<client service>, a partition ◄─┘ replier
//
// A client reads one partition of its service's reply topic, by itself and without a
// group; where two share one, each skips the other's replies. It is ready once it
// knows at which offset it reads, so that no reply is lost however early it comes. A
// request names the partition to answer to, and a correlation ID that nobody can
// guess.
//
// # What is promised
//
// Every call has a deadline: its context's, or the method's. It ends once, by then. Its
// error is an [*Error] with one of Connect's codes, and says in Executed whether the
// server ran it: never, maybe, or completed; Outcomes has all of them and why.
//
// A call runs usually once, and never twice unless its method is Safe: one that another
// instance may have begun, before it died or lost its partition, is not run again but
// answered with unavailable, maybe. A server that stops in order hands over exactly.
// Calls with equal keys run one after the other, in their order; others at once.
//
// A one-way call ([OneWay]) is a message: it is acknowledged when Kafka has it, and is
// handled as a consumer handles records, with a failure policy if there is one.
package rpc
