package demo

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// Flight is what the boards decode of a departure. Distance is in miles.
type Flight struct {
	Date        string  `json:"date"`
	Origin      string  `json:"origin"`
	Destination string  `json:"destination"`
	Distance    float64 `json:"distance"`
}

// Departure is one line of the input. Delay is in minutes, negative for early.
type Departure struct {
	Flight
	Delay float64 `json:"delay"`
}

// departures is the topic of the name: departures of one airport keep their
// order.
func departures(name string) duplex.Topic[Departure] {
	return duplex.Topic[Departure]{Name: name, Key: func(d Departure) string { return d.Origin }}
}

// The demo damages some lines: a delay of so many minutes becomes text that says the
// same, as somebody's change to a publisher might have it. Nothing is lost by it, but
// who decodes the delay cannot.
const (
	damagedLines = 3
	damagedDelay = 19
	whole        = `"delay":19`
	damaged      = `"delay":"19 min"`
)

// damage chooses which lines to damage, by their places in the input: the first few
// from the given one on that have the delay in question.
func damage(input []Departure, from int) map[int]bool {
	places := map[int]bool{}
	for i := from; i < len(input) && len(places) < damagedLines; i++ {
		if input[i].Delay == damagedDelay {
			places[i] = true
		}
	}
	return places
}

// damagedRecord is the record of a departure that is to be damaged.
func damagedRecord(topic duplex.Topic[Departure], d Departure) (*kgo.Record, error) {
	r, err := topic.Record(d)
	if err != nil {
		return nil, err
	}
	r.Value = bytes.Replace(r.Value, []byte(whole), []byte(damaged), 1)
	return r, nil
}

//go:embed flights.ndjson
var flights []byte

// Flights are the departures that are built in.
func Flights() ([]Departure, error) { return Read("flights.ndjson", bytes.NewReader(flights)) }

// longestLine bounds the memory that one line of the input may take.
const longestLine = 1 << 20

// Read reads departures from in, one JSON object a line. The error names the
// input and the line: one that is not JSON, has no origin, or is too long.
func Read(name string, in io.Reader) ([]Departure, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, longestLine)
	var read []Departure
	number := 0
	for lines.Scan() {
		number++
		var d Departure
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			return nil, fmt.Errorf("demo: reading %s, line %d: %w", name, number, err)
		}
		if d.Origin == "" {
			return nil, fmt.Errorf(`demo: reading %s, line %d: no "origin", the airport that is the key`, name, number)
		}
		read = append(read, d)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("demo: reading %s, line %d: longer than %d bytes", name, number+1, longestLine)
	case err != nil:
		return nil, fmt.Errorf("demo: reading %s: %w", name, err)
	case len(read) == 0:
		return nil, fmt.Errorf("demo: reading %s: it is empty, want departures, one JSON object a line", name)
	}
	return read, nil
}
