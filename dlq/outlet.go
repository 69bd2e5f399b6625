package dlq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// outlet publishes what a job does: records together with the entry that says so. There is
// one for each queue: opening another one shuts out the one before (its transactions fail,
// and the one that is open is aborted), so nothing that was read after opening can change.
//
//	open ──► a transaction: records, entries ──► committed
//	                └──► an error: aborted, or not known: the outlet is thrown away
type outlet struct {
	client        *kgo.Client
	transactional bool
}

const (
	// transactionTimeout is when brokers abort a transaction whose process died: readers
	// wait for as long.
	transactionTimeout = 10 * time.Second
	// openTimeout bounds how long an outlet may take to open: it waits for the transaction of
	// the one before.
	openTimeout = 30 * time.Second
)

// openOutlet opens the outlet of a queue. Without the right to have transactions it is one
// that may publish records again after a crash, and that others do not know of.
func (r *Redriver) openOutlet(ctx context.Context, queue string) (*outlet, error) {
	options := []kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(4 * mostAtOnce), kgo.RecordDeliveryTimeout(transactionTimeout), kgo.UnknownTopicRetries(20),
	}
	with := append(slices.Clip(options), kgo.TransactionalID("dlq-redrive."+queue), kgo.TransactionTimeout(transactionTimeout))
	client, err := kafka.NewClient(r.cfg.Cluster, r.log, with...)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	_, _, err = client.ProducerID(bounded)
	if err == nil {
		return &outlet{client: client, transactional: true}, nil
	}
	client.Close()
	if !errors.Is(err, kerr.TransactionalIDAuthorizationFailed) {
		return nil, kafka.Explain(fmt.Sprintf("dlq: opening transactions for %s", queue), err)
	}
	if client, err = kafka.NewClient(r.cfg.Cluster, r.log, options...); err != nil {
		return nil, err
	}
	return &outlet{client: client}, nil
}

func (o *outlet) close() { o.client.Close() }

// errTooLarge is the error of records that their topic does not take.
type errTooLarge struct{ records []*kgo.Record }

// Error implements error.
func (e *errTooLarge) Error() string {
	return fmt.Sprintf("%d records are larger than their topics take", len(e.records))
}

// commit publishes records and the entries that say so: all, or, if there is an error,
// none, as far as is known here. After an error other than errTooLarge the outlet is of no
// use any more. at is called between the steps.
func (o *outlet) commit(ctx context.Context, records, entries []*kgo.Record, at func(step) error) error {
	if !o.transactional {
		return o.plainly(ctx, records, entries, at)
	}
	if err := o.client.BeginTransaction(); err != nil {
		return kafka.Explain("dlq: beginning a transaction", err)
	}
	if err := at(stepBegun); err != nil {
		return err
	}
	err := o.publish(ctx, append(records[:len(records):len(records)], entries...))
	if stop := at(stepPublished); stop != nil {
		return stop
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	if err != nil {
		if end := o.client.EndTransaction(bounded, kgo.TryAbort); end != nil {
			return kafka.Explain("dlq: aborting a transaction", errors.Join(end, err))
		}
		return err
	}
	if err := o.client.EndTransaction(bounded, kgo.TryCommit); err != nil {
		return kafka.Explain("dlq: committing a transaction", err)
	}
	return at(stepCommitted)
}

// plainly publishes the records first, then the entries: after a crash in between the
// records go out again.
func (o *outlet) plainly(ctx context.Context, records, entries []*kgo.Record, at func(step) error) error {
	if err := at(stepBegun); err != nil {
		return err
	}
	if err := o.publish(ctx, records); err != nil {
		return err
	}
	if err := at(stepPublished); err != nil {
		return err
	}
	if err := o.publish(ctx, entries); err != nil {
		return err
	}
	return at(stepCommitted)
}

// publish waits until all records are acknowledged.
func (o *outlet) publish(ctx context.Context, records []*kgo.Record) error {
	var mu sync.Mutex
	var first error
	var large []*kgo.Record
	answered := func(r *kgo.Record, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
		case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
			large = append(large, r)
		case first == nil:
			first = kafka.Explain("dlq: publishing to "+r.Topic, err)
		}
	}
	unbroken := context.WithoutCancel(ctx) // with one that ends, the client's state would be lost
	for _, r := range records {
		o.client.Produce(unbroken, r, answered)
	}
	bounded, cancel := context.WithTimeout(unbroken, openTimeout)
	defer cancel()
	if err := o.client.Flush(bounded); err != nil {
		return kafka.Explain("dlq: publishing", err)
	}
	switch {
	case first != nil:
		return first
	case len(large) > 0:
		return &errTooLarge{large}
	}
	return nil
}

// fenced reports whether an error says that another outlet of the queue was opened.
func fenced(err error) bool {
	return errors.Is(err, duplex.ErrFenced) || errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.ProducerFenced)
}

// step is where a job is, for tests that end it there.
type step string

const (
	stepOpened    step = "opened"    // the outlet, and shut out who was before
	stepClaimed   step = "claimed"   // the job is ours
	stepRead      step = "read"      // letters for a transaction
	stepBegun     step = "begun"     // it
	stepPublished step = "published" // records and entries, not committed
	stepCommitted step = "committed"
	stepOver      step = "over" // nothing is left to publish
)
