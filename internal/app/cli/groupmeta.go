package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/duplex-go/duplex/internal/commitmeta"
)

// longestBeside is how much of what others have written beside an offset is shown to people.
const longestBeside = 40

// ownMeta is what stands beside a committed offset.
type ownMeta struct {
	// Text is what another client wrote.
	Text string `json:"text,omitempty"`
	// Begun is how many partitions the topic had when the group first saw it.
	Begun int32 `json:"first_seen_partitions,omitempty"`
	// Clean says that the member stopped with nothing half done.
	Clean bool `json:"clean,omitempty"`
	// Finished are how many records behind the committed offset are finished, Unfinished how
	// many before the last of those are not.
	Finished   int64         `json:"finished,omitempty"`
	Unfinished int64         `json:"unfinished,omitempty"`
	Waiting    []waitingHead `json:"waiting,omitempty"`
	Error      string        `json:"error,omitempty"` // why it cannot be read

	runs []commitmeta.Run
}

// waitingHead is a record that failed and waits for its next attempt.
type waitingHead struct {
	Offset   int64     `json:"offset"`
	Attempts int       `json:"attempts"` // made so far
	Due      time.Time `json:"due,omitzero"`
}

// readBeside reads what stands beside a committed offset, nil where nothing does.
func readBeside(committed int64, text string) *ownMeta {
	if text == "" {
		return nil
	}
	m, err := commitmeta.Decode(text)
	switch {
	case errors.Is(err, commitmeta.ErrForeign):
		return &ownMeta{Text: strings.ToValidUTF8(text[:min(len(text), commitmeta.MaxSize)], "\uFFFD")}
	case err != nil:
		return &ownMeta{Error: err.Error()}
	}
	all := &ownMeta{Begun: m.Partitions, Clean: m.Clean, runs: m.Runs}
	for _, run := range m.Runs {
		if run.Finished {
			all.Finished += run.N
		} else {
			all.Unfinished += run.N
		}
	}
	for _, h := range m.Heads {
		if h.Offset < committed {
			continue // it is finished
		}
		one := waitingHead{Offset: h.Offset, Attempts: h.Attempt}
		if h.Due > 0 {
			one.Due = time.UnixMilli(h.Due).UTC()
		}
		all.Waiting = append(all.Waiting, one)
	}
	return all
}

// finishedIn is how many records from one offset to before another are finished, though they
// lie behind the committed one.
func (m *ownMeta) finishedIn(committed, from, to int64) (n int64) {
	if m == nil {
		return 0
	}
	at := committed
	for _, run := range m.runs {
		end := at + run.N
		if run.Finished {
			n += max(min(end, to)-max(at, from), 0)
		}
		at = end
	}
	return n
}

// String says it in a few words.
func (m *ownMeta) String() string {
	if m == nil {
		return ""
	}
	var words []string
	if m.Error != "" {
		words = append(words, "cannot be read: "+m.Error)
	}
	if m.Text != "" {
		text := []rune(short(m.Text))
		if len(text) > longestBeside {
			text = append(text[:longestBeside], '…')
		}
		words = append(words, "of another client: "+string(text))
	}
	if m.Finished > 0 {
		words = append(words, fmt.Sprintf("%d finished ahead of %d", m.Finished, m.Unfinished))
	}
	if n := len(m.Waiting); n > 0 {
		first := m.Waiting[0]
		for _, w := range m.Waiting {
			if w.Due.Before(first.Due) {
				first = w
			}
		}
		due := "at once"
		if !first.Due.IsZero() {
			due = "at " + first.Due.Format(time.RFC3339)
		}
		words = append(words, fmt.Sprintf("%d failed and waiting, the first again %s", n, due))
	}
	return strings.Join(words, "; ")
}
