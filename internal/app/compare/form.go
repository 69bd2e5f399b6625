package compare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/producer"
	"github.com/duplex-go/duplex/rpc"
)

// form is one of the two ways to have the work done.
type form interface {
	// open has both sides ready.
	open(ctx context.Context) error
	// do hands over one trip, and returns when its caller is free again. Only calls
	// have an answer.
	do(ctx context.Context, t Trip) (Booking, error)
	// site is where the work is done.
	site() *site
	// close ends both sides.
	close() error
}

// site is a server with those that were before it, and what is recorded there.
type site struct {
	desk   *desk
	meter  *meter
	topic  string // that the server reads
	launch func(ctx context.Context) (*instance, error)

	mu     sync.Mutex
	now    *instance // nil while none runs
	former []*instance
}

// patience is how long nothing may happen before it never will.
const patience = 20 * time.Second

// start has a server, once it has all partitions.
func (s *site) start(ctx context.Context) error {
	i, err := s.launch(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.now = i
	s.mu.Unlock()
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !await(bounded, func() bool { return i.owns(s.topic) }) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("compare: waiting for a server: it does not have the %d partitions of topic %q after %s: see whether the group has other members", Partitions, s.topic, patience)
	}
	return nil
}

// kill has the server die.
func (s *site) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.kill()
	s.former = append(s.former, s.now)
	s.now = nil
}

// rest waits until nothing is left to do.
func (s *site) rest(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	await(bounded, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.now != nil && s.now.idle()
	})
}

func (s *site) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if s.now != nil {
		errs = append(errs, s.now.stop())
	}
	for _, i := range s.former {
		errs = append(errs, i.stop())
	}
	return errors.Join(errs...)
}

// metered gives the cluster with a meter on it.
func metered(cluster duplex.Cluster) (duplex.Cluster, *meter) {
	m := newMeter()
	cluster.KafkaOptions = append(append([]kgo.Opt(nil), cluster.KafkaOptions...), kgo.WithHooks(m))
	return cluster, m
}

// calls is the workload as calls.
type calls struct {
	names   Names
	cluster duplex.Cluster
	at      site
	client  *rpc.Client
}

func newCalls(cluster duplex.Cluster, names Names, failed context.CancelCauseFunc) *calls {
	cluster, m := metered(cluster)
	c := &calls{names: names, cluster: cluster, at: site{desk: newDesk(), meter: m, topic: rpc.RequestTopic(names.Service)}}
	c.at.launch = func(ctx context.Context) (*instance, error) {
		return launch(ctx, cluster, func(cluster duplex.Cluster) (*rpc.Server, error) { return newServer(cluster, names, c.at.desk) }, failed)
	}
	return c
}

func (c *calls) site() *site { return &c.at }

func (c *calls) open(ctx context.Context) error {
	var err error
	if c.client, err = newClient(c.cluster, c.names); err != nil {
		return err
	}
	if err := c.at.start(ctx); err != nil {
		return err
	}
	return c.client.Ready(ctx)
}

func (c *calls) do(ctx context.Context, t Trip) (Booking, error) {
	return call(ctx, c.client, c.names, t)
}

func (c *calls) close() error {
	var err error
	if c.client != nil {
		err = c.client.Close()
	}
	return errors.Join(err, c.at.close())
}

// events is the workload as events.
type events struct {
	names    Names
	cluster  duplex.Cluster
	failed   context.CancelCauseFunc
	at       site
	producer *producer.Producer
	inbox    *instance
}

func newEvents(cluster duplex.Cluster, names Names, failed context.CancelCauseFunc) *events {
	cluster, m := metered(cluster)
	e := &events{names: names, cluster: cluster, failed: failed, at: site{desk: newDesk(), meter: m, topic: names.Topic}}
	e.at.launch = func(ctx context.Context) (*instance, error) {
		return launch(ctx, cluster, func(cluster duplex.Cluster) (*consumer.Consumer, error) {
			return newConsumer(cluster, names, e.at.desk)
		}, failed)
	}
	return e
}

func (e *events) site() *site { return &e.at }

func (e *events) open(ctx context.Context) error {
	var err error
	if e.producer, err = newProducer(e.cluster); err != nil {
		return err
	}
	if err := e.producer.Ping(ctx); err != nil {
		return err
	}
	if err := e.at.start(ctx); err != nil { // which makes the topics that it needs
		return err
	}
	e.inbox, err = launch(ctx, e.cluster, func(cluster duplex.Cluster) (*consumer.Consumer, error) {
		return newInbox(cluster, e.names, e.read)
	}, e.failed)
	return err
}

// read reads a dead letter, as who is on call would.
func (e *events) read(_ context.Context, r *kgo.Record) error {
	var t Trip
	if err := json.Unmarshal(r.Value, &t); err != nil {
		return fmt.Errorf("compare: reading a dead letter: %w", err)
	}
	if p := e.at.desk.phase(t.Phase); p != nil {
		p.history.died(t.Number)
	}
	return nil
}

func (e *events) do(ctx context.Context, t Trip) (Booking, error) {
	_, err := publish(ctx, e.producer, e.names, t)
	return Booking{}, err
}

func (e *events) close() error {
	var errs []error
	if e.producer != nil {
		errs = append(errs, e.producer.Close())
	}
	errs = append(errs, e.at.close())
	if e.inbox != nil {
		errs = append(errs, e.inbox.stop())
	}
	return errors.Join(errs...)
}
