package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/producer"
)

// Partitions is how many the topic must have.
const Partitions = 6

// Config says what the story is about.
type Config struct {
	// Cluster is where it takes place, Where how to call that.
	Cluster duplex.Cluster
	Where   string
	// Topic exists, with as many partitions as Partitions says, and is empty.
	Topic string
	// Group is nobody else's.
	Group string
	// Input are the departures to publish.
	Input []Departure
	// Rate is how many to publish a second.
	Rate int
	// Out gets the story; Color makes it easier to read on a terminal.
	Out   io.Writer
	Color bool
}

const (
	// reportEvery is how often the board's figures are told.
	reportEvery = 2 * time.Second
	// patience is how long nothing may happen before what is missing is lost.
	patience = 20 * time.Second
)

// run is one telling of the story.
type run struct {
	cfg     *Config
	story   *story
	history *history
	board   *board
	crew    *crew
}

// Run tells the story and returns its summary. When ctx ends early, what was
// published until then is still handled and checked, and the error is the cause.
// Another error means that the story could not be told; the summary has what was
// recorded.
func Run(ctx context.Context, cfg Config) (Summary, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	r := &run{cfg: &cfg, history: newHistory(), board: newBoard(), story: &story{began: time.Now(), out: cfg.Out, color: cfg.Color}}
	r.crew = &crew{
		cfg: &cfg, topic: departures(cfg.Topic), board: r.board, history: r.history, failed: fail, members: map[string]*member{},
	}
	r.story.say(fmt.Sprintf("%s departures of real flights · %s", count(len(cfg.Input)), cfg.Where))
	r.story.chapter("EVENTS", "send and go on")
	err := r.events(ctx)
	return r.conclude(err)
}

// events publishes the input while members of the group come and go.
func (r *run) events(ctx context.Context) error {
	p, err := producer.New(producer.Config{Cluster: r.cfg.Cluster})
	if err != nil {
		return err
	}
	defer p.Close() //nolint:contextcheck // what it could not send is in the history; it has a bound of its own
	if err := p.Ping(ctx); err != nil {
		return err
	}
	for _, name := range []string{"a", "b", "c"} {
		if err := r.crew.join(ctx, name); err != nil {
			return err
		}
	}
	var telling sync.WaitGroup
	defer telling.Wait()
	lines, end := context.WithCancel(ctx)
	defer end()
	r.story.tell("group", "a b c share %d partitions: %s", Partitions, r.crew.share(ctx))
	telling.Go(func() { r.report(lines) })
	changes := newMarks(len(r.cfg.Input))
	shifts := make(chan error, 1)
	go func() { shifts <- r.changeShifts(ctx, changes) }()
	telling.Go(func() { r.outage(ctx, changes) })

	r.story.tell("publish", "%s a second, key = origin; a member takes %s for each", count(r.cfg.Rate), work)
	published := r.publish(ctx, p, changes)
	flushed := p.Flush(context.WithoutCancel(ctx)) // bounded by each record's own timeout
	acked, _, _ := r.history.progress()
	r.story.tell("publish", "done: %s acknowledged", count(acked))
	err = errors.Join(published, flushed, <-shifts)
	r.settle(context.WithoutCancel(ctx))
	return err
}

// publish sends the input at its rate, and never waits for an answer.
func (r *run) publish(ctx context.Context, p *producer.Producer, changes *marks) error {
	defer changes.all()
	topic := departures(r.cfg.Topic)
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i, d := range r.cfg.Input {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(r.cfg.Rate))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		producer.PublishAsync(ctx, p, topic, d, r.history.begin(d.Origin, due))
		changes.pass(i + 1)
	}
	return nil
}

// changeShifts stops one member and starts another while records flow.
func (r *run) changeShifts(ctx context.Context, at *marks) error {
	<-at.quarter
	if ended(ctx) {
		return nil
	}
	r.story.tell("group", "b is asked to stop")
	drained := r.crew.leave("b")
	r.story.tell("group", "b has left: %d finished on the way out, their offsets committed", drained)
	shares := r.crew.share(ctx)
	_, _, repeated := r.history.progress()
	r.story.tell("group", "its partitions go on: %s; %d repeated", shares, repeated)
	<-at.half
	if ended(ctx) {
		return nil
	}
	if err := r.crew.join(ctx, "d"); err != nil {
		return err
	}
	r.story.tell("group", "d joins")
	shares = r.crew.share(ctx)
	_, _, repeated = r.history.progress()
	r.story.tell("group", "d has its share: %s; %d repeated", shares, repeated)
	return nil
}

// ended reports whether the story is cut short; the publisher says why.
func ended(ctx context.Context) bool { return ctx.Err() != nil }

// report tells the figures of the board every now and then.
func (r *run) report(ctx context.Context) {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if figures := r.board.busiest(3); figures != "" {
				r.story.tell("board", "%s", figures)
			}
		}
	}
}

// settle waits until everything that was acknowledged is handled, or nothing
// happens any more.
func (r *run) settle(ctx context.Context) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	last, since := -1, time.Now()
	for {
		acked, handled, _ := r.history.progress()
		if handled != last {
			last, since = handled, time.Now()
		}
		if handled >= acked || time.Since(since) > patience {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// conclude ends the group and computes the summary.
func (r *run) conclude(err error) (Summary, error) {
	err = errors.Join(err, r.crew.disband())
	s := r.history.check()
	s.Seconds = time.Since(r.story.began).Seconds()
	s.Members = len(r.crew.former)
	s.Airports, s.WrongFigures = r.board.differing(r.history.publishedOf(r.cfg.Input))
	s.Broker = r.cfg.Where
	if s.Published+s.Failed+s.Unknown > 0 {
		s.tell(r.story)
	}
	return s, err
}
