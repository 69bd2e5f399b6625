package dlq

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a filter.
const (
	maxFilter  = 4096 // bytes
	maxTerms   = 32
	maxPattern = 512 // bytes of a regular expression
	// leastFingerprint is how much of one must be given.
	leastFingerprint = 4
)

// FilterError is what is wrong with the text of a filter.
type FilterError struct {
	// Text is the filter, At the byte where it goes wrong.
	Text string
	At   int
	// Why says what is wrong, and what to do.
	Why string
}

// Error has three lines: what is wrong, the text, and a mark below the place. Nothing
// in it controls a terminal.
func (e *FilterError) Error() string {
	const around = 60
	at := min(e.At, len(e.Text))
	from, to := max(0, at-around), min(len(e.Text), at+around)
	before, after := plain(e.Text[from:at]), plain(e.Text[at:to])
	return fmt.Sprintf("dlq: filter, at character %d: %s\n  %s%s\n  %s^", utf8.RuneCountInString(e.Text[:at])+1, e.Why,
		before, after, strings.Repeat(" ", utf8.RuneCountInString(before)))
}

// plain is text in which each character takes one place.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(s, "?"))
}

// ParseFilter reads a filter, see [Filter]. Its fields are
//
//	fingerprint              how it begins is enough, four characters or more, and v1: may be left out
//	reason type code message of the last error
//	group handler            who failed
//	origin partition offset  where the record was read first: topic and place
//	key header.NAME          of the record
//	failed first time age    the last failure and the first, when it was written, how long ago it failed
//	generation attempts      numbers
//	state id dialect         see Letter
//
// Times are as in RFC 3339, 2026-11-27T09:00:00Z, or a date, which is its first moment in
// UTC. Ages count from the call of ParseFilter. A text of more than 4 KiB or 32 terms is
// refused. The error is a *FilterError.
func ParseFilter(text string) (Filter, error) {
	if len(text) > maxFilter {
		return Filter{}, &FilterError{Text: text, At: maxFilter, Why: fmt.Sprintf("it has %d bytes, at most %d are read", len(text), maxFilter)}
	}
	p := filterParser{text: text, now: time.Now()}
	var f Filter
	for p.spaces(); p.at < len(text); p.spaces() {
		if len(f.terms) == maxTerms {
			return Filter{}, p.fail(p.at, "there are more than %d terms", maxTerms)
		}
		t, err := p.term()
		if err != nil {
			return Filter{}, err
		}
		f.terms = append(f.terms, t)
	}
	return f, nil
}

type filterParser struct {
	text string
	at   int
	now  time.Time
}

func (p *filterParser) fail(at int, why string, args ...any) error {
	return &FilterError{Text: p.text, At: at, Why: fmt.Sprintf(why, args...)}
}

func (p *filterParser) spaces() {
	for p.at < len(p.text) && p.text[p.at] <= ' ' {
		p.at++
	}
}

// term reads one term and the space behind it.
func (p *filterParser) term() (t term, err error) {
	if t.not = p.text[p.at] == '!'; t.not {
		p.at++
	}
	short, err := p.field(&t)
	if err != nil {
		return t, err
	}
	if !short {
		if err := p.operator(&t); err != nil {
			return t, err
		}
	}
	at := p.at
	if t.value, err = p.value(""); err != nil {
		return t, err
	}
	if p.at < len(p.text) && p.text[p.at] > ' ' {
		return t, p.fail(p.at, "there must be a space before the next term")
	}
	err = p.mean(&t, at)
	return t, err
}

// field reads a field's name, or the short form of one with its operator.
func (p *filterParser) field(t *term) (short bool, err error) {
	begin := p.at
	rest := p.text[p.at:]
	switch {
	case strings.HasPrefix(rest, "k:"):
		p.at += 2
		t.field, _ = fieldNamed("key")
		t.op = "~"
		return true, nil
	case strings.HasPrefix(rest, "h:"):
		p.at += 2
		t.field, _ = fieldNamed("header")
		t.op = "~"
		if t.name, err = p.headerName(); err != nil {
			return true, err
		}
		if p.at >= len(p.text) || p.text[p.at] != '=' {
			return true, p.fail(p.at, "want = and a regular expression, as in h:NAME=regexp")
		}
		p.at++
		return true, nil
	}
	for p.at < len(p.text) && (p.text[p.at] >= 'a' && p.text[p.at] <= 'z' || p.text[p.at] == '-' || p.text[p.at] == '_') {
		p.at++
	}
	name := p.text[begin:p.at]
	known, ok := fieldNamed(name)
	if !ok {
		return false, p.unknown(begin, name)
	}
	t.field = known
	if known.kind == kindHeader {
		if p.at >= len(p.text) || p.text[p.at] != '.' {
			return false, p.fail(p.at, "want a dot and the name of a header, as in header.content-type=text/plain")
		}
		p.at++
		t.name, err = p.headerName()
	}
	return false, err
}

func (p *filterParser) unknown(at int, name string) error {
	if name == "" {
		return p.fail(at, "want the name of a field: %s", strings.Join(fieldNames(), ", "))
	}
	if like := nearest(name, fieldNames()); like != "" {
		return p.fail(at, "there is no field %q: did you mean %s?", name, like)
	}
	return p.fail(at, "there is no field %q: there are %s", bounded(name, 40), strings.Join(fieldNames(), ", "))
}

func (p *filterParser) headerName() (string, error) {
	at := p.at
	name, err := p.value("=~<>")
	if err == nil && name == "" {
		err = p.fail(at, "want the name of a header")
	}
	return name, err
}

// operator reads what stands between a field and its value.
func (p *filterParser) operator(t *term) error {
	may := strings.Fields(t.field.kind.operators())
	begin := p.at
	switch rest := p.text[begin:]; {
	case strings.HasPrefix(rest, "!"):
		return p.fail(begin, "for what must not hold, put ! in front of the term")
	case strings.HasPrefix(rest, "=~"), strings.HasPrefix(rest, "=="):
		return p.fail(begin, "= is for a value, ~ for a regular expression; quote a value that begins with %s", rest[1:2])
	}
	for p.at < len(p.text) && p.at < begin+2 && strings.IndexByte("=~<>", p.text[p.at]) >= 0 {
		p.at++
	}
	t.op = p.text[begin:p.at]
	if len(t.op) == 2 && !slices.Contains(may, t.op) { // what follows belongs to the value
		t.op, p.at = t.op[:1], p.at-1
	}
	if !slices.Contains(may, t.op) {
		return p.fail(begin, "behind %s want one of %s", t.field.name, strings.Join(may, "  "))
	}
	return nil
}

// value reads a value, up to a space or one of the characters in stop, or in quotes.
func (p *filterParser) value(stop string) (string, error) {
	begin := p.at
	if p.at >= len(p.text) || p.text[p.at] != '"' {
		for p.at < len(p.text) && p.text[p.at] > ' ' && strings.IndexByte(stop, p.text[p.at]) < 0 {
			p.at++
		}
		return p.text[begin:p.at], nil
	}
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		if c == '"' {
			p.at++
			return b.String(), nil
		}
		if c == '\\' && p.at+1 < len(p.text) && (p.text[p.at+1] == '"' || p.text[p.at+1] == '\\') {
			p.at++
			c = p.text[p.at]
		}
		b.WriteByte(c)
	}
	return "", p.fail(begin, "this quote has no end")
}

// mean finds out what a value says.
func (p *filterParser) mean(t *term, at int) (err error) {
	switch t.field.kind {
	case kindNumber:
		if t.number, err = strconv.ParseInt(t.value, 10, 64); err != nil {
			return p.fail(at, "%s is a number, %q is none", t.field.name, bounded(t.value, 40))
		}
		return nil
	case kindTime:
		when, ok := parseTime(t.value)
		if !ok {
			return p.fail(at, "%s is a time such as 2026-11-27T09:00:00Z, %q is none; for how long ago, use age>1h", t.field.name, bounded(t.value, 40))
		}
		t.number = when.UnixMilli()
		return nil
	case kindAge:
		d, ok := parseAge(t.value)
		if !ok {
			return p.fail(at, "age is a duration such as 90m, 12h or 7d, %q is none", bounded(t.value, 40))
		}
		t.before = p.now.Add(-d)
		return nil
	default:
		if t.op == "~" {
			return p.compile(t, at)
		}
		return p.oneOf(t, at)
	}
}

// oneOf refuses what the field cannot be.
func (p *filterParser) oneOf(t *term, at int) error {
	if t.field.kind == kindFingerprint && len(strings.TrimPrefix(t.value, "v1:")) < leastFingerprint {
		return p.fail(at, "want at least %d characters of a fingerprint", leastFingerprint)
	}
	if t.field.oneOf != nil && !slices.Contains(t.field.oneOf, t.value) {
		if like := nearest(t.value, t.field.oneOf); like != "" {
			return p.fail(at, "there is no %s %q: did you mean %s?", t.field.name, bounded(t.value, 40), like)
		}
		return p.fail(at, "there is no %s %q: there are %s", t.field.name, bounded(t.value, 40), strings.Join(t.field.oneOf, ", "))
	}
	return nil
}

func (p *filterParser) compile(t *term, at int) (err error) {
	if len(t.value) > maxPattern {
		return p.fail(at, "a regular expression may have %d bytes, this one has %d", maxPattern, len(t.value))
	}
	if t.pattern, err = regexp.Compile(t.value); err != nil {
		return p.fail(at, "%s", plain(strings.TrimPrefix(err.Error(), "error parsing regexp: ")))
	}
	return nil
}

func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// parseAge knows days too.
func parseAge(s string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err == nil
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0
}
