package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/producer"
)

// Partitions is how many the topic must have.
const Partitions = 6

// Config says what the story is about.
type Config struct {
	// Cluster is where it takes place, Where how to call that.
	Cluster duplex.Cluster
	Where   string
	// Names are those of the topic, which exists, with as many partitions as
	// Partitions says, and is empty, and of the groups.
	Names Names
	// Input are the departures to publish.
	Input []Departure
	// Rate is how many to publish a second.
	Rate int
	// Out gets the story; Color makes it easier to read on a terminal.
	Out   io.Writer
	Color bool

	mended string // what damaged is made of by the redrive; tests have it go wrong
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
	desk    *desk
	inbox   *inbox
	fares   *fares
	gate    *gate
	damaged map[int]bool // places in the input
	failed  context.CancelCauseFunc

	inspector *dlq.Inspector
	ours      dlq.Filter // has the dead letters of this telling
}

// Run tells the story and returns its summary. When ctx ends early, what was
// published until then is still handled, mended where it was damaged, and checked, and the
// error is the cause.
// Another error means that the story could not be told; the summary has what was
// recorded.
func Run(ctx context.Context, cfg Config) (Summary, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	began := time.Now()
	cfg.mended = cmp.Or(cfg.mended, whole)
	r := &run{cfg: &cfg, history: newHistory(), board: newBoard(), story: &story{began: began, out: cfg.Out, color: cfg.Color}, failed: fail}
	r.crew = &crew{cfg: &cfg, board: r.board, history: r.history, failed: fail, members: map[string]*member{}}
	r.desk, r.inbox = newDesk(&cfg, r.history), newInbox(&cfg, r.history, began)
	r.fares = newFares(&cfg, r.history.calls, fail)
	r.gate = &gate{cfg: &cfg, calls: r.history.calls}
	r.damaged = damage(cfg.Input, r.third())
	r.story.say(fmt.Sprintf("%s departures of real flights · %s", count(len(cfg.Input)), cfg.Where))
	err := r.tell(ctx)
	return r.conclude(err)
}

// second is the place in the input of the first departure of the second chapter, third
// that of the third one. Where nobody is late, there is nothing to tell in the second.
func (r *run) second() int {
	if !slices.ContainsFunc(r.cfg.Input, late) {
		return r.third()
	}
	return (len(r.cfg.Input)*2 + 4) / 5
}

func (r *run) third() int { return (len(r.cfg.Input)*3 + 4) / 5 }

// tell tells the chapters, and waits until everything that was published has ended.
func (r *run) tell(ctx context.Context) error {
	p, err := producer.New(producer.Config{Cluster: r.cfg.Cluster})
	if err != nil {
		return err
	}
	defer p.Close() //nolint:contextcheck // what it could not send is in the history; it has a bound of its own
	if err := p.Ping(ctx); err != nil {
		return err
	}
	var telling sync.WaitGroup
	defer telling.Wait()
	lines, end := context.WithCancel(ctx)
	defer end()
	telling.Go(func() { r.report(lines) })
	err = r.events(ctx, p)
	if err == nil && slices.ContainsFunc(r.cfg.Input, late) {
		err = r.calls(ctx, p, &telling)
	}
	if err == nil && r.third() < len(r.cfg.Input) {
		err = r.failures(ctx, p)
	}
	err = errors.Join(err, p.Flush(context.WithoutCancel(ctx))) // bounded by each record's own timeout
	end()
	r.settle(context.WithoutCancel(ctx))
	telling.Wait()
	if !errors.Is(context.Cause(ctx), errMember) {
		err = errors.Join(err, r.redrive(context.WithoutCancel(ctx)))
	}
	if err == nil {
		err = context.Cause(ctx) // what came too late to cut anything short
	}
	return err
}

// open has everybody join.
func (r *run) open(ctx context.Context) error {
	if err := errors.Join(r.openQueue(), r.desk.open(ctx, r.failed), r.fares.open(ctx)); err != nil {
		return err
	}
	for _, name := range []string{"a", "b", "c"} {
		if err := r.crew.join(ctx, name); err != nil {
			return err
		}
	}
	r.story.tell("group", "a b c share %d partitions: %s", Partitions, r.crew.share(ctx))
	if !await(ctx, r.desk.ready) || !await(ctx, r.fares.ready) {
		return context.Cause(ctx)
	}
	return r.inbox.open(ctx, r.failed)
}

// events publishes the first part of the input while members of a group come and go.
func (r *run) events(ctx context.Context, p *producer.Producer) error {
	r.story.chapter("EVENTS", "send and go on")
	if err := r.open(ctx); err != nil {
		return err
	}
	r.story.tell("publish", "%s a second, key = origin; a member takes %s for each, %s for those of %s", count(r.cfg.Rate), work, slowWork, slowOrigin)
	r.story.tell("desk", "rebooks from %d minutes of delay; below %d miles %s: dropped", rebookFrom, busMiles, byBus)
	changes := newMarks(r.second())
	shifts := make(chan error, 1)
	go func() { shifts <- r.changeShifts(ctx, changes) }()
	published := r.publish(ctx, p, 0, r.second(), changes.pass)
	changes.all()
	return errors.Join(published, <-shifts)
}

// calls publishes the next part, has the gate ask for quotes, and one of the two instances
// that give them killed.
func (r *run) calls(ctx context.Context, p *producer.Producer, telling *sync.WaitGroup) error {
	r.story.chapter("CALLS", "ask and wait for the answer, or for an honest error by a deadline")
	if err := r.ask(ctx); err != nil {
		return err
	}
	telling.Go(func() { r.takeover(ctx) })
	err := r.publish(ctx, p, r.second(), r.third(), func(int) {})
	if err == nil {
		r.fares.y.kill() // unless it was already
	}
	return err
}

// failures publishes the rest while what the groups call is down.
func (r *run) failures(ctx context.Context, p *producer.Producer) error {
	r.story.chapter("FAILURES", "nothing skipped")
	if n := len(r.damaged); n > 0 {
		r.story.tell("damage", "this demo damages %d lines: %s, which was a number", n, damaged)
	}
	var telling sync.WaitGroup
	r.goDown()
	telling.Go(func() { r.comeBack(ctx) })
	var grouped error
	telling.Go(func() { grouped = r.letters(ctx) })
	err := r.publish(ctx, p, r.third(), len(r.cfg.Input), func(int) {})
	err = errors.Join(err, p.Flush(context.WithoutCancel(ctx)))
	acked, _, _, _ := r.history.progress()
	r.story.tell("publish", "done: %s acknowledged", count(acked))
	telling.Wait()
	if ended(ctx) {
		return err
	}
	return errors.Join(err, grouped)
}

// publish sends a part of the input at its rate, and never waits for an answer.
// After each it says how many there were.
func (r *run) publish(ctx context.Context, p *producer.Producer, from, to int, pass func(n int)) error {
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := from; i < to; i++ {
		due := began.Add(time.Duration(i-from) * time.Second / time.Duration(r.cfg.Rate))
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
		r.send(context.WithoutCancel(ctx), p, i, due) // what is begun is ended
		r.gate.departed(ctx, r.cfg.Input[i])
		pass(i - from + 1)
	}
	return nil
}

// send publishes one departure, which is due at a time.
func (r *run) send(ctx context.Context, p *producer.Producer, i int, due time.Time) {
	d, topic := r.cfg.Input[i], departures(r.cfg.Names.Topic)
	done := r.history.begin(d.Origin, due)
	if !r.damaged[i] {
		producer.PublishAsync(ctx, p, topic, d, done)
		return
	}
	record, err := damagedRecord(topic, d)
	if err != nil {
		done(duplex.Position{}, err)
		return
	}
	p.PublishAsync(ctx, record, done)
}

// changeShifts stops one member and starts another while records flow.
func (r *run) changeShifts(ctx context.Context, at *marks) error {
	<-at.leave
	if ended(ctx) {
		return nil
	}
	r.story.tell("group", "b is asked to stop")
	drained := r.crew.leave("b")
	r.story.tell("group", "b has left: %d finished on the way out, their offsets committed", drained)
	shares := r.crew.share(ctx)
	_, _, _, repeated := r.history.progress()
	r.story.tell("group", "its partitions go on: %s; %d repeated", shares, repeated)
	<-at.join
	if ended(ctx) {
		return nil
	}
	if err := r.crew.join(ctx, "d"); err != nil {
		return err
	}
	r.story.tell("group", "d joins")
	shares = r.crew.share(ctx)
	_, _, _, repeated = r.history.progress()
	r.story.tell("group", "d has its share: %s; %d repeated", shares, repeated)
	return nil
}

// ended reports whether the story is cut short; the publisher says why.
func ended(ctx context.Context) bool { return ctx.Err() != nil }

// report tells the figures of the board every now and then.
func (r *run) report(ctx context.Context) {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if figures := r.board.busiest(3); figures != told {
				told = figures
				r.story.tell("board", "%s", figures)
			}
		}
	}
}

// settle waits until everything that was acknowledged has ended for both groups, or
// nothing happens any more.
func (r *run) settle(ctx context.Context) {
	last, since := -1, time.Now()
	await(ctx, func() bool {
		acked, boards, desk, _ := r.history.progress()
		made, answered := r.history.calls.progress()
		if sum := boards + desk + answered; sum != last {
			last, since = sum, time.Now()
		}
		return min(boards, desk) >= acked && answered == made || time.Since(since) > patience
	})
}

// conclude ends the groups and computes the summary.
func (r *run) conclude(err error) (Summary, error) {
	err = errors.Join(err, r.gate.close(), r.fares.close(), r.crew.disband(), r.desk.member.stop(), r.inbox.member.stop())
	if r.inspector != nil {
		r.inspector.Close()
	}
	s := r.history.check()
	s.Seconds = time.Since(r.story.began).Seconds()
	s.Members = len(r.crew.former)
	var published []Departure
	for _, place := range r.history.acknowledged() {
		published = append(published, r.cfg.Input[place])
		if r.damaged[place] {
			s.Damaged++
		}
	}
	s.WrongEdits = r.history.wrongEdits(r.cfg.Input)
	s.Airports, s.WrongFigures = r.board.differing(published)
	s.Broker = r.cfg.Where
	if s.Published+s.Failed+s.Unknown > 0 {
		s.tell(r.story)
	}
	return s, err
}
