package dlq

import (
	"regexp"
	"strings"
	"time"
)

// Filter says which dead letters are meant. The zero value means all. It may be used by
// many goroutines at once.
//
// A filter is terms with spaces between them; all must hold.
//
//	fingerprint=9f2c origin=orders failed>2026-11-27T09:00:00Z !reason=panic message~"seat \d+"
//
//	field=value   is the value
//	field~regexp  matches the regular expression (RE2) somewhere
//	field<value   and <=, >, >=, of numbers, times, and ages such as 90m or 7d
//	!term         does not hold
//	k:regexp      is key~regexp, and h:NAME=regexp is header.NAME~regexp
//
// A value with spaces stands in quotes, in which \" is a quote; a backslash before
// anything else stays. ParseFilter says which fields there are. No filter looks at values: they are
// not read.
type Filter struct {
	terms []term
}

// term is one condition of a filter.
type term struct {
	not   bool
	field filterField
	name  string // of a header
	op    string
	value string

	pattern *regexp.Regexp // of ~
	number  int64          // of numbers; of times, ms since 1970
	before  time.Time      // of ages: then
}

// Match reports whether a letter is meant.
func (f Filter) Match(l *Letter) bool {
	for i := range f.terms {
		if f.terms[i].holds(l) == f.terms[i].not {
			return false
		}
	}
	return true
}

// All reports whether every letter is meant.
func (f Filter) All() bool { return len(f.terms) == 0 }

// String is a text that ParseFilter makes the same filter of.
func (f Filter) String() string {
	var b strings.Builder
	for i, t := range f.terms {
		if i > 0 {
			b.WriteByte(' ')
		}
		if t.not {
			b.WriteByte('!')
		}
		b.WriteString(t.field.name)
		if t.field.kind == kindHeader {
			b.WriteByte('.')
			b.WriteString(quoted(t.name))
		}
		b.WriteString(t.op)
		b.WriteString(quoted(t.value))
	}
	return b.String()
}

// quoted is a value as it can stand in a filter.
func quoted(value string) string {
	if value != "" && !strings.ContainsAny(value, " \"=~<>") && !strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' }) {
		return value
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(value) {
		// A backslash is doubled only where it would make something of what follows.
		if c := value[i]; c == '"' || c == '\\' && (i+1 == len(value) || value[i+1] == '"' || value[i+1] == '\\') {
			b.WriteByte('\\')
		}
		b.WriteByte(value[i])
	}
	b.WriteByte('"')
	return b.String()
}

func (t *term) holds(l *Letter) bool {
	switch t.field.kind {
	case kindText:
		return t.text(t.field.text(l))
	case kindFingerprint:
		return t.fingerprint(l.Fingerprint)
	case kindKey:
		if l.Record == nil {
			return t.text("")
		}
		return t.bytes(l.Record.Key)
	case kindHeader:
		return t.header(l)
	case kindNumber:
		n, known := t.field.number(l)
		return known && t.compare(n)
	case kindTime, kindAge:
		at := t.field.time(l)
		if at.IsZero() {
			return false
		}
		if t.field.kind == kindAge { // older is earlier
			return compare(t.before.UnixMilli(), at.UnixMilli(), t.op)
		}
		return t.compare(at.UnixMilli())
	}
	return false
}

func (t *term) text(s string) bool {
	if t.op == "~" {
		return t.pattern.MatchString(s)
	}
	return s == t.value
}

func (t *term) bytes(b []byte) bool {
	if t.op == "~" {
		return t.pattern.Match(b)
	}
	return string(b) == t.value
}

// fingerprint is the whole one, without what stands before its colon, or how it begins.
func (t *term) fingerprint(s string) bool {
	if t.op == "~" {
		return t.pattern.MatchString(s)
	}
	if strings.HasPrefix(s, t.value) {
		return true
	}
	_, s, _ = strings.Cut(s, ":")
	return strings.HasPrefix(s, t.value)
}

// header holds if one of the headers of the name does.
func (t *term) header(l *Letter) bool {
	if l.Record == nil {
		return false
	}
	for i := range l.Record.Headers {
		if h := &l.Record.Headers[i]; h.Key == t.name && t.bytes(h.Value) {
			return true
		}
	}
	return false
}

func (t *term) compare(n int64) bool { return compare(n, t.number, t.op) }

func compare(a, b int64, op string) bool {
	switch op {
	case "=":
		return a == b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	case ">=":
		return a >= b
	}
	return false
}
