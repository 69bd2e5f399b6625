// Package dlq is what becomes of records whose handler fails: they wait in retry
// topics, one for each delay, and what is not cured there goes to a dead-letter
// queue, with everything that a person needs to understand it and to bring it back.
//
//	consumer.Config{
//		…
//		Failures: dlq.Policy{}, // again after 5 s, 1 m and 10 m, then dlq.<group>.<topic>
//	}
//
// A failed record leaves its partition, which goes on; records of its key behind it
// may so be handled before it. Where that must not be, KeepOrder has it wait in its
// place instead, and those of its key behind it. Both end in the dead-letter queue.
//
// # What is promised
//
// A record counts as finished where it failed only when the retry topic or the
// dead-letter queue has acknowledged it. If those cannot be written, it waits, with
// the status code dlq-unavailable, and holds up nothing but its key. So every record
// ends in one of three ways: handled, dropped by its handler's decision, or a dead
// letter. A crash between the acknowledgement and the commit makes a second copy;
// both have the same dlq-id and dlq-attempt.
//
// # Bringing them back
//
// An Inspector reads queues, of Duplex and of others: which there are, what their
// letters have in common, single ones, all as JSON. A Redriver brings letters back:
//
//	plan, err := redriver.Plan(ctx, "dlq.billing.orders", dlq.PlanConfig{Filter: f})
//	job, err := redriver.Apply(ctx, plan, dlq.ApplyConfig{Rate: 50, Canary: 10, AbortRate: 0.2})
//
// A plan says what would happen, and to whom, and changes nothing. Applied, it publishes
// each letter once, in transactions with a checkpoint, so that it may be interrupted
// anywhere and resumed; to the redrive topic of the group that failed, which no other
// group reads. The group's consumer says what became of each. What was done lies in
// Kafka, in the topic dlq-state.<group>, and who did it in dlq-audit. The program
// duplex has commands for all of that, see docs/incident.md.
//
// Key, value and headers of a record stay as they are, byte by byte, wherever it
// goes. What Duplex adds are text headers whose names begin with "dlq-".
package dlq
