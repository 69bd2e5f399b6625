// Package consumer reads topics in a group and runs a handler on each record: those
// of one key in order, those of different keys at the same time. It commits exactly
// what is finished.
//
//	var Departures = duplex.Topic[Departure]{Name: "departures"}
//
//	c, err := consumer.New(consumer.Config{
//		Cluster:  duplex.Cluster{Brokers: []string{"127.0.0.1:9092"}},
//		Group:    "boards",
//		Handlers: []consumer.Handler{consumer.Handle(Departures, board.Update)},
//	})
//	if err != nil {
//		return err
//	}
//	return c.Run(ctx) // until ctx is cancelled: then it drains, commits and leaves
//
// # How a record flows
//
//	Kafka ── poll ──► assignment of its partition ──► worker ──► handler
//	                     │ queue   ▲ lanes of keys      │
//	                     │         └── failed: waits ◄──┤
//	                     │ ledger: read, finished ◄─────┘ finished
//	                     └──► commit: the watermark, never past an unfinished record
//
// One goroutine polls and hands over slices of records. An assignment is one
// tenure of one partition in this process: it has a ledger, the account of what
// was read and what is finished. Workers, at most Concurrency of them, take from
// it. While handlers return within microseconds, one worker takes a chunk of
// records and runs them in place; else each takes one record, and its key has a
// lane, in which later records of the key wait for it. A record that fails waits in
// its lane and needs no worker for that.
//
// Handlers must be safe for concurrent use: different keys, and different
// partitions, run at once.
//
// # Guarantees
//
// Every record is handled at least once. The committed offset never passes a
// record that is not finished: handled, or dropped with [duplex.Drop]. A record
// that fails is tried again in its place, with backoff, for as long as it takes;
// what must come after it waits, other keys go on. Its attempts and the rest
// of its wait stand beside the committed offset, so they hold for the next owner of
// the partition too.
//
// With [Config].Failures, such as a dlq.Policy, it is tried a few times, and then
// becomes a dead letter; unless the policy keeps order, it waits in a retry topic, and
// holds up nothing.
//
// What is finished above an unfinished record stands there too, and is not run
// again.
//
// A rebalance or a stop repeats nothing as long as handlers return within
// RevokeGrace and DrainTimeout. A crash repeats at most what was unfinished and
// what was finished since the last acknowledged commit (CommitInterval).
//
// Two executions for one key never overlap in the group, unless one of the records
// failed before under a policy that does not keep order, with one
// exception: a process that was frozen for longer than its session, and a
// handler that ignores its cancelled context, may still be at work when the next
// owner begins. [Delivery.Generation] is the fencing token for that case.
package consumer
