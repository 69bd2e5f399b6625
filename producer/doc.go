// Package producer publishes records to Kafka: each one waited for, or in the
// background with a callback, or many at once.
//
//	var Departures = duplex.Topic[Departure]{Name: "departures", Key: func(d Departure) string { return d.Origin }}
//
//	p, err := producer.New(producer.Config{Cluster: duplex.Cluster{Brokers: []string{"127.0.0.1:9092"}}})
//	if err != nil {
//		return err
//	}
//	defer p.Close()
//	pos, err := producer.Publish(ctx, p, Departures, d) // returns once Kafka has stored it
//
// # Guarantees
//
// A publish that returns a [duplex.Position] is stored there on every in-sync
// replica. Records are written idempotently: at most once each, and, for one key
// and one goroutine, in the order of the calls. A record's partition follows from
// its key as it does in every other Kafka client (murmur2), or is chosen for
// records without a key; Record.Partition is only set, never read.
//
// A publish ends by its deadline, that of its context or Config.Timeout, whatever
// the cluster does. If the record had been handed to the Kafka client by then,
// the error matches [duplex.ErrOutcomeUnknown]: the record may be in the log,
// once, or may still get there. If it had not, the error is [duplex.ErrTimeout],
// and the record is nowhere. A caller that gives up never harms the records of
// others, and neither does a broker that is away: what waits for it waits for
// another leader, or for it to come back.
//
// # Errors
//
// Errors are [*duplex.Error] with these codes, told apart by errors.Is:
// ErrTooLarge, ErrUnknownTopic, ErrInvalidTopic, ErrUnauthorized,
// ErrUnauthenticated, ErrInvalidRecord, ErrEncode, ErrEmptyKey, ErrBufferFull,
// ErrTimeout, ErrClosed, ErrUnreachable, and, alone or beside one of them,
// ErrOutcomeUnknown. Without ErrOutcomeUnknown the record is not in the log and
// will not be; see outcome.go for what proves that.
package producer
