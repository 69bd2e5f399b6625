package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/rpc"
)

// DefaultRecords is how many trips the burst has where nobody says otherwise.
const DefaultRecords = 2000

// Config says what is compared.
type Config struct {
	// Cluster is where it takes place, Where how to call that.
	Cluster duplex.Cluster
	Where   string
	// Names are those of the services, topics and groups. The topic of the events
	// exists, with as many partitions as Partitions says, and is empty.
	Names Names
	// Input are the departures whose passengers are rebooked.
	Input []Trip
	// Records is how many trips the burst has; the other scenarios have fewer.
	Records int
	// Progress gets what is done while it is done.
	Progress io.Writer
}

// comparison is one run.
type comparison struct {
	cfg    *Config
	began  time.Time
	forms  map[string]form
	phases []*phase
	report Report
}

// Run does the workload both ways in every scenario, and returns what was measured. An
// error means that it could not be done, or that ctx ended, and there is no report.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if len(cfg.Input) == 0 || cfg.Records < 1 {
		return Report{}, fmt.Errorf("compare: checking Config: %d trips in Input and Records = %d: want at least one of each", len(cfg.Input), cfg.Records)
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	c := &comparison{cfg: &cfg, began: time.Now(), report: Report{Broker: cfg.Where, Records: cfg.Records, Code: linesOfCode()}}
	c.forms = map[string]form{asCalls: newCalls(cfg.Cluster, cfg.Names, fail), asEvents: newEvents(cfg.Cluster, cfg.Names, fail)}
	fmt.Fprintf(cfg.Progress, "rebooking passengers of real flights, as calls and as events · %s\n", cfg.Where)
	err := c.all(ctx)
	if err := errors.Join(err, c.close()); err != nil {
		return Report{}, err
	}
	// Only now: what somebody was told to be over may have run later.
	for _, p := range c.phases {
		c.report.Broken = append(c.report.Broken, p.broken()...)
	}
	for _, name := range []string{asCalls, asEvents} {
		if n := c.forms[name].site().desk.strayed(); n > 0 {
			c.report.Broken = append(c.report.Broken, fmt.Sprintf("%s: %d runs belong to no scenario", name, n))
		}
	}
	c.report.Seconds = time.Since(c.began).Seconds()
	c.report.conclude(cfg.Names)
	return c.report, nil
}

// all goes through the scenarios.
func (c *comparison) all(ctx context.Context) error {
	if err := c.both(func(_ string, f form) error { return f.open(ctx) }); err != nil {
		return err
	}
	warm := c.phasesOf(warmUp())
	if err := c.both(func(name string, _ form) error { return c.through(ctx, warm[name], make(chan struct{})) }); err != nil {
		return err
	}
	for _, s := range scenarios(c.cfg.Records) {
		c.tell(s.name, "%s", s.String())
		phases := c.phasesOf(s)
		do := c.inTurn
		if s.outage() {
			do = c.outage
		}
		if err := do(ctx, phases); err != nil {
			return err
		}
		c.note(s, phases)
	}
	return nil
}

// phasesOf begins a scenario in both forms.
func (c *comparison) phasesOf(s scenario) map[string]*phase {
	phases := map[string]*phase{asCalls: newPhase(s, asCalls), asEvents: newPhase(s, asEvents)}
	c.phases = append(c.phases, phases[asCalls], phases[asEvents])
	return phases
}

// both does something with both forms at the same time.
func (c *comparison) both(do func(name string, f form) error) error {
	var doing sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for name, f := range c.forms {
		doing.Go(func() {
			err := do(name, f)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	doing.Wait()
	return errors.Join(errs...)
}

func (c *comparison) close() error {
	return c.both(func(_ string, f form) error { return f.close() })
}

// inTurn has one form after the other go through a scenario.
func (c *comparison) inTurn(ctx context.Context, phases map[string]*phase) error {
	for _, name := range []string{asCalls, asEvents} {
		if err := c.through(ctx, phases[name], make(chan struct{})); err != nil {
			return err
		}
		c.tellFigures(phases[name])
	}
	return nil
}

// through has a form go through a scenario, until all trips were handed over or enough is
// closed, and nothing is left to do.
func (c *comparison) through(ctx context.Context, p *phase, enough <-chan struct{}) error {
	f := c.forms[p.form]
	at := f.site()
	at.desk.enter(p)
	before := at.meter.read()
	err := c.drive(ctx, p, f, enough)
	c.settle(ctx, p)
	at.rest(ctx)
	p.spent = at.meter.read().since(before)
	return err
}

// drive hands each trip over when it is due, whether others are under way or not.
func (c *comparison) drive(ctx context.Context, p *phase, f form, enough <-chan struct{}) error {
	var flying sync.WaitGroup
	defer flying.Wait()
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := 0; p.scenario.units == 0 || i < p.scenario.units; i++ {
		due := began
		if p.scenario.rate > 0 {
			due = began.Add(time.Duration(i) * time.Second / time.Duration(p.scenario.rate))
		}
		if left := time.Until(due); left > 0 {
			timer.Reset(left)
			select {
			case <-timer.C:
			case <-enough:
				return nil
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		trip := c.cfg.Input[i%len(c.cfg.Input)]
		trip.Phase = p.name()
		trip, released := p.history.begin(due, trip)
		flying.Go(func() { released(f.do(ctx, trip)) })
	}
	return nil
}

// settle waits until the work of everything that was stored has ended, or nothing
// happens any more. Calls are over when their callers are free.
func (c *comparison) settle(ctx context.Context, p *phase) {
	if p.form == asCalls {
		return
	}
	last, since := -1, time.Now()
	await(ctx, func() bool {
		accepted, ended := p.history.progress()
		if ended != last {
			last, since = ended, time.Now()
		}
		return ended >= accepted || time.Since(since) > patience
	})
}

const (
	// enoughRefusals is how many calls are to be refused before a dead server comes
	// back; longestOutage bounds the wait for them.
	enoughRefusals = outageRate
	longestOutage  = 15 * time.Second
	// around is how long all is well before and after an outage.
	around = time.Second
)

// outage has both forms go through a scenario whose servers die.
func (c *comparison) outage(ctx context.Context, phases map[string]*phase) error {
	enough := make(chan struct{})
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		defer close(enough)
		err := c.dieAndReturn(ctx, phases)
		if err != nil {
			cancel(err)
		}
		failed <- err
	}()
	err := c.both(func(name string, _ form) error { return c.through(ctx, phases[name], enough) })
	if err := errors.Join(<-failed, err); err != nil {
		return err
	}
	for _, name := range []string{asCalls, asEvents} {
		c.tellFigures(phases[name])
	}
	return nil
}

// dieAndReturn pulls the plugs, and starts other servers once it has shown that calls
// are refused.
func (c *comparison) dieAndReturn(ctx context.Context, phases map[string]*phase) error {
	pause(ctx, around)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for name, f := range c.forms {
		phases[name].killed = time.Now()
		f.site().kill()
	}
	c.tell("", "the plugs are pulled")
	bounded, stop := context.WithTimeout(ctx, longestOutage)
	defer stop()
	await(bounded, func() bool { return phases[asCalls].history.refused() >= enoughRefusals })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.tell("", "other servers are started: %d calls were refused at once, and surely did not run", phases[asCalls].history.refused())
	err := c.both(func(name string, f form) error {
		err := f.site().start(ctx)
		phases[name].back = time.Now()
		return err
	})
	if err != nil {
		return err
	}
	pause(ctx, around)
	return nil
}

// refused counts the calls whose callers know that they did not run.
func (h *history) refused() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.units {
		if h.units[i].err != nil && rpc.ExecutedOf(h.units[i].err) == rpc.Never {
			n++
		}
	}
	return n
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// note puts what was measured into the report.
func (c *comparison) note(s scenario, phases map[string]*phase) {
	m := Measured{Name: s.name, About: s.String(), Calls: phases[asCalls].measure(), Events: phases[asEvents].measure()}
	if s.outage() {
		m.Outage = &Outages{Calls: phases[asCalls].outage(), Events: phases[asEvents].outage()}
	}
	c.report.Scenarios = append(c.report.Scenarios, m)
}

// tell says what is done, with the time since the beginning.
func (c *comparison) tell(who, format string, args ...any) {
	fmt.Fprintf(c.cfg.Progress, "%5.1fs %-8s %s\n", time.Since(c.began).Seconds(), who, fmt.Sprintf(format, args...))
}

// tellFigures says what became of a phase.
func (c *comparison) tellFigures(p *phase) {
	f := p.measure()
	said := []string{count(f.Accepted) + " answered"}
	if p.form == asEvents {
		said = []string{fmt.Sprintf("%s stored, %s handled, %s dead letters", count(f.Accepted), count(f.Handled), count(f.Dead))}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Errors)) {
		said = append(said, count(f.Errors[name])+" "+strings.Replace(name, ", ", ", executed ", 1))
	}
	c.tell("", "as %-6s %s of %s; callers waited %s (p50/p99)", p.form, strings.Join(said, " · "), count(f.Units), times(f.Blocked))
}
