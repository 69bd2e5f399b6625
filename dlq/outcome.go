package dlq

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/failure"
)

// Outcome is what became of a redriven record.
type Outcome string

// The outcomes.
const (
	OutcomeHandled   Outcome = "handled"    // or dropped, as its handler decided
	OutcomeDeadAgain Outcome = "dead-again" // there is a new dead letter
)

// outcomeEntry is one in the state topic, with the key outcome/<dlq-id>/<generation>.
type outcomeEntry struct {
	Version int     `json:"v"`
	Job     string  `json:"job"`
	Outcome Outcome `json:"outcome"`
	At      int64   `json:"at"` // in ms since 1970
}

// Finished implements failure.Chain: a record that a redrive sent back is done.
func (c *chain) Finished(r *kgo.Record) *failure.Hop {
	if _, beside := c.tiers[r.Topic]; !beside {
		return nil
	}
	if _, redriven := duplex.Header(r, HeaderRedriveID); !redriven {
		return nil
	}
	j, err := parseJourney(r)
	if err != nil || j.redriveID == "" {
		return nil
	}
	return c.outcome(j, OutcomeHandled)
}

// outcome says in the state topic what became of a redriven record. Where that cannot be
// written, nobody waits: the outcome is unknown then.
func (c *chain) outcome(j journey, what Outcome) *failure.Hop {
	value, err := json.Marshal(outcomeEntry{Version: stateVersion, Job: j.redriveID, Outcome: what, At: time.Now().UnixMilli()})
	if err != nil {
		return nil // there is nothing in it that could not be written
	}
	return &failure.Hop{Kind: failure.HopOutcome, Forgone: true, Record: &kgo.Record{
		Topic: StateTopic(c.env.Group), Key: []byte(outcomeKey(j.id, j.generation)), Value: value,
	}}
}

// outcomeKey is the key of an outcome.
func outcomeKey(id string, generation int) string {
	return outcomePrefix + id + "/" + strconv.Itoa(generation)
}

// claimed is the generation that a record of a source has, if a redrive sent it there: so
// it is not sent in circles for ever. Anybody may have written it, and whoever does only
// has to be asked twice before a redrive.
func claimed(r *kgo.Record) int {
	if _, redriven := duplex.Header(r, HeaderRedriveID); !redriven {
		return 0
	}
	text, _ := duplex.Header(r, HeaderGeneration)
	n, err := strconv.ParseUint(text, 10, 20)
	if err != nil {
		return 0
	}
	return int(n)
}
