package history

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Kind says what an event is.
type Kind uint8

// The kinds of events.
const (
	// Published: a publish ended; Outcome says how. Topic, Key and Seq say which
	// one, Partition and Offset where it is, if that is known.
	Published Kind = iota + 1
	// Started: a handler started on a record.
	Started
	// Finished: it ended, and the record with it: handled, or dropped.
	Finished
	// Failed: it ended, and the record is to be tried again, not before Due.
	Failed
	// Committed: the group's offset of a partition is known to be Offset.
	Committed
	// Joined: a member was started.
	Joined
	// Stopped: a member ended by itself; what it had not ended never will.
	Stopped
	// Killed: a member was killed, and is dead for certain.
	Killed
	// Frozen: a member is about to be stopped in its tracks, as by SIGSTOP.
	Frozen
	// Thawed: a frozen member is about to go on.
	Thawed
	// Cut: a member is about to be cut off from the brokers, or they from each
	// other: what it commits may be lost.
	Cut
	// Healed: a member that was cut off is about to be heard again.
	Healed
	// Committing: a member asks for Offset to be committed. It may be too late for
	// that, so it says nothing of what is committed.
	Committing
)

// kinds are the names in the file, by Kind.
var kinds = [...]string{ //nolint:gochecknoglobals // a constant table
	Published: "published", Started: "started", Finished: "finished", Failed: "failed", Committed: "committed", Joined: "joined",
	Stopped: "stopped", Killed: "killed", Frozen: "frozen", Thawed: "thawed", Cut: "cut", Healed: "healed",
	Committing: "committing",
}

// String is the name in the file, such as "started".
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kinds) {
		return "Kind(" + strconv.Itoa(int(k)) + ")"
	}
	return kinds[k]
}

// MarshalText implements encoding.TextMarshaler.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Kind) UnmarshalText(text []byte) error {
	for i, name := range kinds {
		if i > 0 && name == string(text) {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("history: %q is no kind of event", text)
}

// Outcome is how a publish ended.
type Outcome string

// The outcomes of a publish.
const (
	// OK: the broker acknowledged it; the record is in the log, once.
	OK Outcome = "ok"
	// Fail: it was refused; the record is not in the log.
	Fail Outcome = "fail"
	// Unknown: the record is there once or not at all.
	Unknown Outcome = "unknown"
)

// Event is one line of a history. Which fields count depends on the Kind.
type Event struct {
	// At is when it happened, in nanoseconds since 1970; 0 = when it is recorded.
	At   int64 `json:"at"`
	Kind Kind  `json:"kind"`
	// Member is who did it: the name of a process or of a consumer in it, never
	// used twice.
	Member    string `json:"member,omitempty"`
	Topic     string `json:"topic,omitempty"`
	Partition int32  `json:"partition"`
	// Offset is that of the record; of a commit, the next one to read.
	Offset int64 `json:"offset"`
	// Key is the record's key as text.
	Key string `json:"key,omitempty"`
	// Keyless says that the record has no key, which is not an empty one: it
	// orders with nothing.
	Keyless bool `json:"keyless,omitempty"`
	// Seq tells the publishes of a key apart, from 1; 0 = not known.
	Seq int64 `json:"seq,omitempty"`
	// Attempt counts the runs of a record that failed, this one included, from 1.
	Attempt int `json:"attempt,omitempty"`
	// Due is the earliest time of the next attempt, as At; 0 = not known.
	Due     int64   `json:"due,omitempty"`
	Outcome Outcome `json:"outcome,omitempty"`
}

// Of is what events about a run of a handler have in common; the methods say
// which one it is.
func Of(r *kgo.Record, member string, attempt int) Event {
	key := string(r.Key)
	if !utf8.ValidString(key) {
		key = strconv.QuoteToASCII(key)
	}
	return Event{
		Member: member, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: key, Keyless: r.Key == nil, Attempt: attempt,
	}
}

// Started is e as the start of a run.
func (e Event) Started() Event { return e.as(Started) }

// Finished is e as the good end of a run.
func (e Event) Finished() Event { return e.as(Finished) }

// Failed is e as the end of a run that is to be repeated, not before due; a zero
// due is one that is not known.
func (e Event) Failed(due time.Time) Event {
	if !due.IsZero() {
		e.Due = due.UnixNano()
	}
	return e.as(Failed)
}

// Published is e as the end of a publish.
func (e Event) Published(seq int64, outcome Outcome) Event {
	e.Seq, e.Outcome = seq, outcome
	return e.as(Published)
}

func (e Event) as(kind Kind) Event {
	e.Kind = kind
	return e
}
