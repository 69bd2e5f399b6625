package history

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// History is what several recorders noted, merged by the wall clock; events of
// one recorder keep their order. It keeps 48 bytes of each event, and each key,
// topic and member once. It is not safe for concurrent use.
type History struct {
	sources [][]entry
	topics  names
	keys    names
	members names
	places  []place // by number
	placeOf map[place]uint32
}

// entry is an Event without its texts.
type entry struct {
	at, offset int64
	more       int64 // Seq of Published and Started, Due of Failed
	key        uint32
	place      uint32
	attempt    int32
	member     uint16
	kind       Kind
	outcome    outcome
	keyless    bool
}

// place is a partition.
type place struct {
	topic     uint32
	partition int32
}

type outcome uint8

const (
	outcomeUnknown outcome = iota
	outcomeOK
	outcomeFail
)

// names gives each text a number.
type names struct {
	list []string
	of   map[string]uint32
}

func (n *names) number(text string) uint32 {
	if i, known := n.of[text]; known {
		return i
	}
	if n.of == nil {
		n.of = map[string]uint32{}
	}
	i := uint32(len(n.list))
	n.list = append(n.list, text)
	n.of[text] = i
	return i
}

// Read merges the files of several recorders. The last line of a file may be
// incomplete: its process was killed.
func Read(paths ...string) (*History, error) {
	h := &History{}
	for _, path := range paths {
		if err := h.readFile(path); err != nil {
			return nil, fmt.Errorf("history: reading %s: %w", path, err)
		}
	}
	return h, nil
}

func (h *History) readFile(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return h.read(f)
}

func (h *History) read(from io.Reader) error {
	const buffer = 1 << 16
	in := bufio.NewReaderSize(from, buffer)
	var source []entry
	for line := 1; ; line++ {
		text, err := in.ReadBytes('\n')
		if err == io.EOF {
			h.sources = append(h.sources, sorted(source))
			return nil
		}
		if err != nil {
			return err
		}
		var e Event
		if err := json.Unmarshal(text, &e); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		source = append(source, h.compact(e))
	}
}

// Add merges what one recorder noted.
func (h *History) Add(events ...Event) {
	source := make([]entry, len(events))
	for i := range events {
		source[i] = h.compact(events[i])
	}
	h.sources = append(h.sources, sorted(source))
}

func (h *History) compact(e Event) entry {
	at := place{topic: h.topics.number(e.Topic), partition: e.Partition}
	number, known := h.placeOf[at]
	if !known {
		if h.placeOf == nil {
			h.placeOf = map[place]uint32{}
		}
		number = uint32(len(h.places))
		h.places = append(h.places, at)
		h.placeOf[at] = number
	}
	small := entry{
		at: e.At, offset: e.Offset, more: e.Seq, key: h.keys.number(e.Key), place: number, attempt: int32(e.Attempt),
		member: uint16(h.members.number(e.Member)), kind: e.Kind, keyless: e.Keyless,
	}
	if e.Kind == Failed {
		small.more = e.Due
	}
	switch e.Outcome {
	case OK:
		small.outcome = outcomeOK
	case Fail:
		small.outcome = outcomeFail
	default:
		small.outcome = outcomeUnknown
	}
	return small
}

// sorted puts what was recorded with times of its own in order.
func sorted(source []entry) []entry {
	slices.SortStableFunc(source, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	return source
}

// each calls fn with all events, merged. Of events of different recorders at the
// same nanosecond, those that make room for others come first.
func (h *History) each(fn func(*entry)) {
	next := make([]int, len(h.sources))
	for {
		var first *entry
		from := 0
		for i, source := range h.sources {
			if next[i] < len(source) && (first == nil || source[next[i]].before(first)) {
				first, from = &source[next[i]], i
			}
		}
		if first == nil {
			return
		}
		fn(first)
		next[from]++
	}
}

func (e *entry) before(other *entry) bool {
	return e.at < other.at || (e.at == other.at && e.rank() < other.rank())
}

func (e *entry) rank() int {
	switch e.kind {
	case Published, Joined:
		return 0
	case Finished, Failed:
		return 1
	case Started:
		return 3
	default:
		return 2
	}
}
