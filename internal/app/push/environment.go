package push

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// Systems refuse to start a process whose environment is too large: Linux takes
// 128 KiB for one variable and at least 1 MiB for all, macOS 1 MiB for all. What a
// record puts there stays well below, so that there is room for our own.
const (
	maxVariable    = 64 << 10
	maxEnvironment = 512 << 10
	perVariable    = 9 // the NUL behind it, and a pointer to it
)

const headerPrefix = "KAFKA_HEADER_"

// ownVariables are what a record has, or may have, beside its headers.
func ownVariables() []string {
	return []string{
		"KAFKA_TOPIC", "KAFKA_PARTITION", "KAFKA_OFFSET", "KAFKA_TIMESTAMP", "KAFKA_ATTEMPT",
		"KAFKA_KEY", "KAFKA_KEY_B64", "KAFKA_VALUE_NULL", "TRACEPARENT", "TRACESTATE",
	}
}

// inherited is environ without the names that belong to records: a command must
// not take for its record's what our own parent set.
func inherited(environ []string) []string {
	foreign := map[string]bool{}
	for _, name := range ownVariables() {
		foreign[name] = true
	}
	kept := make([]string, 0, len(environ))
	for _, v := range environ {
		if name, _, _ := strings.Cut(v, "="); !foreign[name] && !strings.HasPrefix(name, headerPrefix) {
			kept = append(kept, v)
		}
	}
	return kept
}

// environment adds what a command is told of its record to base. An error means
// that no command can be told.
func environment(base []string, r *kgo.Record, attempt int) ([]string, error) {
	own := []string{
		"KAFKA_TOPIC=" + r.Topic,
		"KAFKA_PARTITION=" + strconv.Itoa(int(r.Partition)),
		"KAFKA_OFFSET=" + strconv.FormatInt(r.Offset, 10),
		"KAFKA_TIMESTAMP=" + strconv.FormatInt(r.Timestamp.UnixMilli(), 10),
		"KAFKA_ATTEMPT=" + strconv.Itoa(attempt),
	}
	if r.Value == nil {
		own = append(own, "KAFKA_VALUE_NULL=1")
	}
	if r.Key != nil {
		own = append(own, variable("KAFKA_KEY", r.Key))
	}
	own = append(own, headerVariables(r.Headers)...)
	total := 0
	for _, v := range own {
		if len(v) >= maxVariable {
			name, _, _ := strings.Cut(v, "=")
			return nil, tooLarge("%s takes %d bytes, at most %d are given", name[:min(len(name), 80)], len(v), maxVariable)
		}
		total += len(v) + perVariable
	}
	if total > maxEnvironment {
		return nil, tooLarge("the key and the %d headers take %d bytes, at most %d are given", len(r.Headers), total, maxEnvironment)
	}
	return append(base[:len(base):len(base)], own...), nil
}

func tooLarge(format string, args ...any) error {
	return duplex.Permanent(&duplex.Error{
		Op: "putting a record into the environment of a command", Codes: []duplex.Code{duplex.ErrTooLarge}, Err: fmt.Errorf(format, args...),
	})
}

// headerVariables are the headers that have a value. Of those whose names become
// the same the last one wins, and of those that become the same variable.
func headerVariables(headers []kgo.RecordHeader) []string {
	last := make(map[string]int, len(headers)) // by name
	names := make([]string, len(headers))
	for i, h := range headers {
		names[i] = headerPrefix + variableName(h.Key)
		last[names[i]] = i
	}
	at := make(map[string]int, len(last)) // by variable
	var all []string
	for i, h := range headers {
		if last[names[i]] != i || h.Value == nil {
			continue
		}
		v := variable(names[i], h.Value)
		name, _, _ := strings.Cut(v, "=")
		if j, twice := at[name]; twice {
			all[j] = v
			continue
		}
		at[name] = len(all)
		all = append(all, v)
	}
	return all
}

// variable gives NAME=value where an environment can have the value, and
// NAME_B64=base64 otherwise.
func variable(name string, value []byte) string {
	if text := string(value); utf8.Valid(value) && !strings.Contains(text, "\x00") {
		return name + "=" + text
	}
	return name + "_B64=" + base64.StdEncoding.EncodeToString(value)
}

// variableName is a header's name as a shell can have it: letters of ASCII in
// upper case, digits, and _ for every other character.
func variableName(header string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'A'
		case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			return c
		default:
			return '_'
		}
	}, header)
}
