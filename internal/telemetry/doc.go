// Package telemetry is what the consumer and the producer tell OpenTelemetry:
// spans and metrics as its conventions for messaging have them, and metrics of our
// own. It uses the API alone; whoever wants telemetry brings the SDK.
//
// # How it is wired
//
// A component makes one in New, from the providers of its Config. Without
// providers there is none: the pointer is nil, its methods do nothing, and a hot
// path asks for nil once and calls nothing.
//
//	t, err := telemetry.NewConsumer(cfg.TracerProvider, cfg.MeterProvider, cfg.Group, c.Status)
//
// The consumer wraps each handler once, outside of Config.Middleware, so that it
// runs within the span, and inside of the recovery from panics:
//
//	single = t.Wrap(topic, single)
//	batch = t.WrapBatch(topic, batch)
//
// It calls t.Commit after each OffsetCommit, and t.Close when Run returns.
//
// The producer calls t.Start when it admits a record, before it is encoded for the
// wire, and End in the promise of the record:
//
//	send := t.Start(ctx, r)
//	client.Produce(ctx, r, func(r *kgo.Record, err error) { send.End(r, err) })
//
// # Spans
//
// "process <topic>", of kind consumer, is one run of a handler on a record; it
// goes on with the trace of the publisher, whose context the headers traceparent
// and tracestate have, and is linked to it. A batch is one span, linked to the
// publishers of its records. "send <topic>", of kind producer, lasts from the
// admission of a record to its acknowledgement, and puts its own context into the
// record's headers, unless there is one already.
//
// # Metrics
//
//	messaging.process.duration           histogram, s: runs of handlers
//	messaging.client.consumed.messages   records given to handlers, each run counted
//	messaging.client.sent.messages       records published
//	messaging.client.operation.duration  histogram, s: publishing, committing
//	duplex.consumer.*                    the counts of Status, and for each partition
//	                                     lag, loaded, running, oldest_running, lanes, waiting and span
//
// A partition's span counts the offsets from its oldest unfinished record to what
// was read. Of more than 1,000 partitions the rest is summed up, as partition
// "other" without a topic.
package telemetry
