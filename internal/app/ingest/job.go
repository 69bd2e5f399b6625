package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/terminal"
	"github.com/duplex-go/duplex/producer"
)

// job is one run over one input.
type job struct {
	o      *options
	source source
	name   string // of the input
	stdout io.Writer
	stderr io.Writer
	p      *producer.Producer
	began  time.Time

	mu      sync.Mutex
	summary summary
	shown   int  // failures that were printed
	hopeful bool // no failure so far that all later records would share
}

// summary is what --json prints.
type summary struct {
	Read      int64   `json:"read"`
	Published int64   `json:"published"`
	Failed    int64   `json:"failed"`
	Unknown   int64   `json:"unknown"`
	Skipped   int64   `json:"skipped"`
	Seconds   float64 `json:"seconds"`
}

// mostShown is how many failures are printed one by one.
const mostShown = 10

func (o *options) newJob(cmd *cobra.Command, s source, name string) (*job, error) {
	p, err := producer.New(producer.Config{Cluster: o.cluster.Cluster(), Linger: o.linger, Timeout: o.timeout, MaxRecordBytes: o.maxBytes})
	if err != nil {
		return nil, err
	}
	return &job{
		o: o, source: s, name: name, stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr(), p: p, hopeful: true, began: time.Now(),
	}, nil
}

func (j *job) run(ctx context.Context) error {
	defer j.p.Close() //nolint:errcheck // everything was flushed, or is counted as unknown
	if err := j.prepare(ctx); err != nil {
		return err
	}
	progress := terminal.Show(j.stderr, j.line)
	reading := make(chan error, 1)
	stop := make(chan struct{})
	go func() { reading <- j.readAll(ctx, stop) }()
	var readErr error
	select {
	case readErr = <-reading:
	case <-ctx.Done(): // reading may be stuck in a terminal or a pipe: it is left there
		readErr = context.Cause(ctx)
	}
	close(stop)
	flushErr := j.flush()
	progress.Close()
	return j.report(readErr, flushErr)
}

// prepare finds out whether publishing has a chance before anything is read.
func (j *job) prepare(ctx context.Context) error {
	client, err := kafka.NewClient(j.o.cluster.Cluster(), nil)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := kafka.Reach(ctx, client, "producer", j.o.timeout); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, j.o.timeout)
	defer cancel()
	if j.o.create > 0 {
		created, err := kafka.EnsureTopic(bounded, client, "producer", j.o.topic, j.o.create)
		if err != nil {
			return err
		}
		if created {
			fmt.Fprintf(j.stderr, "created topic %q with %d partitions\n", j.o.topic, j.o.create)
		}
	}
	_, err = kafka.Topics(bounded, client, "producer", j.o.topic)
	if errors.Is(err, duplex.ErrUnknownTopic) {
		return fmt.Errorf("%w; --create N creates it", err)
	}
	return err
}

// readAll publishes until the input ends, or a record is unusable, or going on
// makes no sense.
func (j *job) readAll(ctx context.Context, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if !j.goingOn() {
			return nil
		}
		r, err := j.source.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			j.count(func(s *summary) { s.Read++ })
			j.publish(ctx, r)
			continue
		}
		var bad *invalidError
		if !errors.As(err, &bad) || !j.o.skipInvalid {
			return fmt.Errorf("%s, %s: %w", j.name, j.source.at(), err)
		}
		j.count(func(s *summary) { s.Read++; s.Skipped++ })
	}
}

func (j *job) publish(ctx context.Context, r *kgo.Record) {
	at := j.source.at()
	j.p.PublishAsync(ctx, r, func(_ duplex.Position, err error) { j.published(at, err) })
}

func (j *job) published(at string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil {
		j.summary.Published++
		return
	}
	if errors.Is(err, duplex.ErrOutcomeUnknown) {
		j.summary.Unknown++
	} else {
		j.summary.Failed++
	}
	if !errors.Is(err, duplex.ErrTooLarge) && !errors.Is(err, duplex.ErrInvalidRecord) {
		j.hopeful = false // the cluster's trouble, not the record's
	}
	j.shown++
	switch {
	case j.shown <= mostShown:
		fmt.Fprintf(j.stderr, "producer: %s, %s: %v\n", j.name, at, err)
	case j.shown == mostShown+1:
		fmt.Fprintln(j.stderr, "producer: … and more, counted only")
	}
}

// flush waits for what was read; each record's own timeout bounds that.
func (j *job) flush() error {
	ctx, cancel := context.WithTimeout(context.Background(), j.o.timeout+5*time.Second)
	defer cancel()
	return j.p.Flush(ctx)
}

func (j *job) goingOn() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.hopeful
}

func (j *job) count(change func(*summary)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&j.summary)
}

func (j *job) line() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.summary
	rate := float64(s.Published) / max(time.Since(j.began).Seconds(), 0.001)
	text := fmt.Sprintf("read %s  published %s  %s/s", terminal.Count(s.Read), terminal.Count(s.Published), terminal.Count(int64(rate)))
	if n := s.Failed + s.Unknown; n > 0 {
		text += fmt.Sprintf("  failed %s", terminal.Count(n))
	}
	return text
}

// report prints the summary and decides how the program ends.
func (j *job) report(readErr, flushErr error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &j.summary
	s.Seconds = time.Since(j.began).Seconds()
	if open := s.Read - s.Skipped - s.Published - s.Failed - s.Unknown; flushErr != nil && open > 0 {
		s.Unknown += open
	}
	if j.o.json {
		if err := json.NewEncoder(j.stdout).Encode(s); err != nil {
			return fmt.Errorf("writing the summary: %w", err)
		}
	}
	if readErr == nil || s.Read > 0 {
		j.say(s)
	}
	interrupted := errors.Is(readErr, command.ErrInterrupted) || errors.Is(readErr, command.ErrTerminated)
	switch {
	case interrupted && s.Failed+s.Unknown == 0:
		return command.ErrInterrupted
	case readErr != nil && !interrupted:
		return readErr
	case flushErr != nil:
		return flushErr
	case s.Failed+s.Unknown > 0:
		return command.ErrFailed
	default:
		return nil
	}
}

func (j *job) say(s *summary) {
	if s.Read == 0 {
		fmt.Fprintf(j.stderr, "nothing to publish: %s is empty\n", j.name)
		return
	}
	fmt.Fprintf(j.stderr, "read %s, published %s, failed %s, unknown %s", terminal.Count(s.Read), terminal.Count(s.Published),
		terminal.Count(s.Failed), terminal.Count(s.Unknown))
	if s.Skipped > 0 {
		fmt.Fprintf(j.stderr, ", skipped %s", terminal.Count(s.Skipped))
	}
	fmt.Fprintf(j.stderr, " in %.1f s\n", s.Seconds)
}
