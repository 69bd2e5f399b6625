// Package failure is the seam between the consumer and a policy for records that
// fail. The policy decides, and neither reads nor writes records. The consumer acts:
// it reads the policy's topics, runs records when they are due, publishes what the
// policy gives it, and counts a record as finished only when that is acknowledged.
package failure

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
)

// Chain is a policy as the consumer uses it. Its methods are called by many
// goroutines at once, with no lock held but for Arrived and Displace, which must not take
// long.
type Chain interface {
	// Topics are topics to read beside the sources, each with the source topic
	// whose handler runs its records. They are read from their beginnings.
	Topics() map[string]string
	// MaxBytes is the largest batch that one of the topics to publish to takes, 0 if
	// that is not known.
	MaxBytes(topic string) int32
	// Follow looks at the topics again, when the group was joined anew or one of
	// them is not there: those of a source that has grown are to grow, those that
	// somebody deleted are to be made again. It reports whether anything changed.
	Follow(ctx context.Context, client *kgo.Client) (changed bool, err error)

	// Arrived says of a record read from one of Topics when it may run, and how
	// often it ran before. Records of a partition must fall due in the order in
	// which they stand there. It may be asked several times about one record.
	Arrived(r *kgo.Record) Arrival
	// Move is called instead of the handler when a record of which Arrived says
	// that it Moves is due.
	Move(r *kgo.Record) Step
	// Failed decides about a record whose handler returned an error, other than
	// a drop or while it was told to stop.
	Failed(f Failure) Step
	// KeepsOrder reports whether records of a source wait for those of their key
	// before them that failed.
	KeepsOrder(source string) bool
	// Displaces reports whether records of a source that wait in their places go
	// elsewhere when their partition holds so many of them that nothing new starts;
	// Displace says where one goes. Again, or Default, leaves it where it is.
	Displaces(source string) bool
	Displace(w Waiting) Step
	// Handled is called for n records of a source that were handled, Recovered for
	// one of them that had failed before, in its place.
	Handled(source string, n int)
	Recovered(r *kgo.Record)
	// Finished is called for a record that was handled or dropped, if it was read from
	// one of Topics or from a source that Answers. What it returns, if anything, is
	// published before the record counts as finished; nobody waits for that.
	Finished(r *kgo.Record) *Hop
	Answers(source string) bool
	// Refused gives what to publish instead of h, which its topic does not take
	// because it is too large; nil to try it again as it is.
	Refused(h *Hop) *Hop
	// Published is called when h was acknowledged.
	Published(h *Hop)
	// Problems are what the policy has to say in the consumer's status.
	Problems() []duplex.Problem
}

// Arrival is what a policy says of a record of one of its topics.
type Arrival struct {
	Due      time.Time // the zero time is now
	Attempts int       // that were made
	Moves    bool      // it does not run now
}

// Failure is one failed run of a handler.
type Failure struct {
	// Record is the record as it was read, Source the topic whose handler it is.
	Record *kgo.Record
	Source string
	// Attempt is the run that failed, from 1, wherever the earlier ones were.
	Attempt int
	// Err is what the handler returned, Verdict what that means.
	Err     error
	Verdict duplex.Verdict
	// At is when it failed.
	At time.Time
	// Ordered says that later records wait for it while it waits in its place.
	Ordered bool
}

// Waiting is a record that failed and waits in its place.
type Waiting struct {
	Record   *kgo.Record
	Source   string
	Attempts int // that were made
	Due      time.Time
	Err      error // of the last attempt
}

// Step is what to do with a record that failed. The zero Step leaves it to the
// consumer: it runs again in its place after its backoff, or when the verdict
// says.
type Step struct {
	kind StepKind
	at   time.Time
	hop  *Hop
}

// StepKind tells steps apart.
type StepKind uint8

// The kinds of steps.
const (
	Default StepKind = iota // as without a policy
	Again                   // run it again in its place, at a time
	Publish                 // publish a record, then this one is finished
	Finish                  // it is finished
)

// RunAgain has the record run again in its place at the given time.
func RunAgain(at time.Time) Step { return Step{kind: Again, at: at} }

// PublishFirst publishes h; once that is acknowledged, the failed record is
// finished. Until then its lane waits.
func PublishFirst(h *Hop) Step { return Step{kind: Publish, hop: h} }

// Finished finishes the record.
func Finished() Step { return Step{kind: Finish} }

// Kind is the step's kind.
func (s Step) Kind() StepKind { return s.kind }

// At is when to run again.
func (s Step) At() time.Time { return s.at }

// Hop is what to publish.
func (s Step) Hop() *Hop { return s.hop }

// Env is what a policy is made for.
type Env struct {
	Group  string
	Topics []string    // the sources, in order
	Client *kgo.Client // to prepare with; it is closed when Chain has returned
	Logger *zap.Logger
	// TopicID is the ID of a source or of one of the policy's topics, as it is when
	// it is asked for; zero where it is not known.
	TopicID func(topic string) [16]byte
}
