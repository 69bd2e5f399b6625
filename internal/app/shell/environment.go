package shell

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// Systems refuse to start a process whose environment is too large: Linux takes
// 128 KiB for one variable and at least 1 MiB for all, macOS 1 MiB for all. What a
// record puts there stays well below, so that there is room for our own.
const (
	// MaxVariable bounds one variable of a record, in bytes.
	MaxVariable    = 64 << 10
	maxEnvironment = 512 << 10
	perVariable    = 9 // the NUL behind it, and a pointer to it
)

// Inherited is environ without the names that belong to records, and without those that
// begin with prefix: a command must not take for its record's what our own parent set.
func Inherited(environ, names []string, prefix string) []string {
	kept := make([]string, 0, len(environ))
	for _, v := range environ {
		if name, _, _ := strings.Cut(v, "="); !slices.Contains(names, name) && !strings.HasPrefix(name, prefix) {
			kept = append(kept, v)
		}
	}
	return kept
}

// Environ adds what a command is told of its record, own and its headers by [Headers], to
// base. An error, coded as [duplex.ErrTooLarge], means that no command can be told.
func Environ(base, own []string, prefix string, headers []kgo.RecordHeader) ([]string, error) {
	own = append(own, Headers(prefix, headers)...)
	total := 0
	for _, v := range own {
		if len(v) >= MaxVariable {
			name, _, _ := strings.Cut(v, "=")
			return nil, tooLarge("%s takes %d bytes, at most %d are given", name[:min(len(name), 80)], len(v), MaxVariable)
		}
		total += len(v) + perVariable
	}
	if total > maxEnvironment {
		return nil, tooLarge("the key and the %d headers take %d bytes, at most %d are given", len(headers), total, maxEnvironment)
	}
	return append(base[:len(base):len(base)], own...), nil
}

func tooLarge(format string, args ...any) error {
	return duplex.Permanent(&duplex.Error{
		Op: "putting a record into the environment of a command", Codes: []duplex.Code{duplex.ErrTooLarge}, Err: fmt.Errorf(format, args...),
	})
}

// Headers are the headers that have a value, as variables whose names begin with prefix. Of those whose names become
// the same the last one wins, and of those that become the same variable.
func Headers(prefix string, headers []kgo.RecordHeader) []string {
	last := make(map[string]int, len(headers)) // by name
	names := make([]string, len(headers))
	for i, h := range headers {
		names[i] = prefix + variableName(h.Key)
		last[names[i]] = i
	}
	at := make(map[string]int, len(last)) // by variable
	var all []string
	for i, h := range headers {
		if last[names[i]] != i || h.Value == nil {
			continue
		}
		v := Variable(names[i], h.Value)
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

// Variable gives NAME=value where an environment can have the value, and
// NAME_B64=base64 otherwise.
func Variable(name string, value []byte) string {
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
