package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/terminal"
	"github.com/duplex-go/duplex/producer"
)

// job is one run over one input.
type job struct {
	o       *options
	source  source
	name    string // of the input
	called  string // how the command is called, program the program that it is in
	program string
	stdout  io.Writer
	stderr  io.Writer
	p       *producer.Producer
	began   time.Time

	taking  sync.Mutex // held while a record is read off the source's hands
	stopped bool       // guarded by taking

	mu      sync.Mutex
	summary summary
	shown   int           // failures that were printed
	gaveUp  chan struct{} // closed, under mu, when going on makes no sense
}

// summary is what --json prints. Every record read is counted once more.
type summary struct {
	Read      int64   `json:"read"`
	Published int64   `json:"published"`
	Failed    int64   `json:"failed"`
	Unknown   int64   `json:"unknown"`
	Skipped   *int64  `json:"skipped,omitempty"` // with --skip-invalid only
	Seconds   float64 `json:"seconds"`
}

// mostShown is how many failures are printed one by one.
const mostShown = 10

func (o *options) newJob(cmd *cobra.Command, s source, name string) (*job, error) {
	p, err := producer.New(producer.Config{Cluster: o.cluster.Cluster(), Linger: o.lingerTime(), Timeout: o.timeout, MaxRecordBytes: o.maxBytes})
	if err != nil {
		return nil, err
	}
	j := &job{
		o: o, source: s, name: name, called: cmd.Name(), program: cmd.Root().Name(), stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr(), p: p, gaveUp: make(chan struct{}), began: time.Now(),
	}
	if o.skipInvalid {
		j.summary.Skipped = new(int64)
	}
	return j, nil
}

func (j *job) run(ctx context.Context) error {
	defer j.p.Close() //nolint:contextcheck // everything was flushed, or is counted as unknown
	if err := j.prepare(ctx); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return j.report(err, nil)
	}
	progress := terminal.Show(j.stderr, j.line)
	reading := make(chan error, 1)
	go func() { reading <- j.readAll() }() //nolint:contextcheck // take says why
	var readErr error
	select {
	case readErr = <-reading:
	// Otherwise reading may be stuck in a terminal or a pipe: it is left there.
	case <-j.gaveUp:
	case <-ctx.Done():
		readErr = context.Cause(ctx)
	}
	j.stop()
	flushErr := j.flush() //nolint:contextcheck // also after ctx has ended
	progress.Close()
	return j.report(readErr, flushErr)
}

// patience is how long the cluster may be silent before a person is told.
const patience = 2 * time.Second

// prepare finds out whether publishing has a chance before anything is read.
func (j *job) prepare(ctx context.Context) error {
	client, err := kafka.NewClient(j.o.cluster.Cluster(), nil)
	if err != nil {
		return err
	}
	defer client.Close()
	bounded, cancel := context.WithTimeout(ctx, j.o.timeout)
	defer cancel()
	defer time.AfterFunc(patience, func() {
		fmt.Fprintf(j.stderr, "%s: no answer from %s yet, trying for %s\n", j.program, strings.Join(j.o.cluster.Cluster().Brokers, ","), j.o.timeout)
	}).Stop()
	if err := kafka.Reach(ctx, client, j.called, j.o.timeout); err != nil {
		return err
	}
	if j.o.create > 0 {
		created, err := kafka.EnsureTopic(bounded, client, j.called, j.o.topic, j.o.create)
		if err != nil {
			return err
		}
		if created {
			fmt.Fprintf(j.stderr, "created topic %q with %d partitions\n", j.o.topic, j.o.create)
		}
	}
	_, err = kafka.Topics(bounded, client, j.called, j.o.topic)
	if errors.Is(err, duplex.ErrUnknownTopic) {
		return fmt.Errorf("%w%s; --create N creates it", err, meant(bounded, client, j.o.topic))
	}
	return err
}

// meant names the topic that is nearest to one that there is not.
func meant(ctx context.Context, client *kgo.Client, topic string) string {
	topics, err := kadm.NewClient(client).ListTopics(ctx)
	if err != nil {
		return "" // there is no such topic all the same
	}
	if near := config.Nearest(topic, slices.Values(topics.Names())); near != "" {
		return fmt.Sprintf(", did you mean %q?", near)
	}
	return ""
}

// readAll publishes until the input ends, or a record is unusable, or going on
// makes no sense.
func (j *job) readAll() error {
	for j.goingOn() {
		r, err := j.source.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			if !j.take(r) {
				return nil
			}
			continue
		}
		var bad *invalidError
		if !errors.As(err, &bad) {
			if j.source.at().number == 0 {
				return fmt.Errorf("%s: %w", j.name, err)
			}
			return fmt.Errorf("%s, %s: %w", j.name, j.source.at(), err)
		}
		if !j.skip(bad) {
			return fmt.Errorf("%s, %s: %w", j.name, j.source.at(), bad)
		}
	}
	return nil
}

// take counts a record as read and publishes it, unless the job was stopped
// meanwhile: what is counted is also flushed.
func (j *job) take(r *kgo.Record) bool {
	j.taking.Lock()
	defer j.taking.Unlock()
	if j.stopped {
		return false
	}
	j.count(func(s *summary) { s.Read++ })
	at := j.source.at()
	// An interruption must not fail the record that waits for room: its own
	// timeout bounds that.
	j.p.PublishAsync(context.Background(), r, func(_ duplex.Position, err error) { j.published(at, err) })
	return true
}

// stop keeps the reader, if it is still at work, from taking another record.
func (j *job) stop() {
	j.taking.Lock()
	defer j.taking.Unlock()
	j.stopped = true
}

// skip counts a record that cannot be used, and reports whether to go on.
func (j *job) skip(bad *invalidError) bool {
	j.taking.Lock()
	defer j.taking.Unlock()
	if j.stopped {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.summary.Read++
	if j.summary.Skipped == nil || bad.last {
		j.summary.Failed++
		return false
	}
	*j.summary.Skipped++
	j.show(j.source.at(), "skipped: %v", bad)
	return true
}

func (j *job) published(at position, err error) {
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
	// What is wrong with a record may be passed over, though not be called
	// skipped: Kafka refuses all that was sent together. What is wrong with the
	// cluster, all later records would share.
	about := errors.Is(err, duplex.ErrTooLarge) || errors.Is(err, duplex.ErrInvalidRecord)
	if !about || !j.o.skipInvalid {
		j.giveUp()
	}
	if errors.Is(err, duplex.ErrTooLarge) {
		err = fmt.Errorf("%w; records that are sent together are refused together, so set --max-record-bytes to what the topic allows", err)
	}
	j.show(at, "%v", err)
}

// show prints the first failures one by one.
func (j *job) show(at position, format string, args ...any) {
	j.shown++
	switch {
	case j.shown <= mostShown:
		fmt.Fprintf(j.stderr, "%s: %s, %s: "+format+"\n", append([]any{j.program, j.name, at}, args...)...)
	case j.shown == mostShown+1:
		fmt.Fprintf(j.stderr, "%s: … and more, counted only\n", j.program)
	}
}

// flush waits for what was read; each record's own timeout bounds that.
func (j *job) flush() error {
	ctx, cancel := context.WithTimeout(context.Background(), j.o.timeout+5*time.Second)
	defer cancel()
	return j.p.Flush(ctx)
}

// giveUp ends the reading; mu is held.
func (j *job) giveUp() {
	select {
	case <-j.gaveUp:
	default:
		close(j.gaveUp)
	}
}

func (j *job) goingOn() bool {
	select {
	case <-j.gaveUp:
		return false
	default:
		return true
	}
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
	if open := s.Read - s.Published - s.Failed - s.Unknown - s.skipped(); flushErr != nil && open > 0 {
		s.Unknown += open
	}
	if j.o.json {
		if err := json.NewEncoder(j.stdout).Encode(s); err != nil {
			return errors.Join(fmt.Errorf("writing the summary: %w", err), readErr)
		}
	}
	interrupted := errors.Is(readErr, command.ErrInterrupted) || errors.Is(readErr, command.ErrTerminated)
	if s.Read > 0 || readErr == nil || interrupted {
		j.say(s, interrupted)
	}
	switch {
	case readErr != nil && !interrupted:
		return readErr
	case flushErr != nil:
		return flushErr
	case s.Failed+s.Unknown > 0:
		return command.ErrFailed
	case interrupted:
		return command.ErrInterrupted
	default:
		return nil
	}
}

func (s *summary) skipped() int64 {
	if s.Skipped == nil {
		return 0
	}
	return *s.Skipped
}

func (j *job) say(s *summary, interrupted bool) {
	switch {
	case interrupted:
		fmt.Fprint(j.stderr, "interrupted: ")
	case s.Read == 0:
		fmt.Fprintf(j.stderr, "nothing to publish: %s is empty\n", j.name)
		return
	}
	fmt.Fprintf(j.stderr, "read %s, published %s, failed %s, unknown %s", terminal.Count(s.Read), terminal.Count(s.Published),
		terminal.Count(s.Failed), terminal.Count(s.Unknown))
	if n := s.skipped(); n > 0 {
		fmt.Fprintf(j.stderr, ", skipped %s", terminal.Count(n))
	}
	fmt.Fprintf(j.stderr, " in %.1f s\n", s.Seconds)
}
