package dlq

import "strings"

// normalized is a message without what differs from record to record, so that those of
// one cause are the same. Each step works on what the one before it left:
//
//	"…" '…' `…`                                    <text>
//	8-4-4-4-12 hexadecimal digits                  <id>
//	2026-11-27, 2026-11-27T09:00:00.5Z             <time>
//	0x1f; a word of hex digits with both kinds     <hex>
//	12, 1.5, 10:30:00                              <n>
//	any white space                                one space
//
// It is written by hand, since each dead letter that has no fingerprint is looked at
// when a queue is read. The test has the regular expressions that it stands for.
func normalized(message string) string {
	for _, step := range [...]struct {
		with  string
		begin *[256]bool // bytes that a match can begin with
		match func(s string, at int) (end int)
	}{
		{"<text>", &quotes, matchQuoted}, {"<id>", &hexDigits, matchID}, {"<time>", &digits, matchTime}, {"<hex>", &hexDigits, matchHex}, {"<n>", &digits, matchNumber},
	} {
		message = replaced(message, step.with, step.begin, step.match)
	}
	return oneSpace(message)
}

// oneSpace is text with one space between words, and none around them.
func oneSpace(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= 0x80 || c <= ' ' && (c != ' ' || i == 0 || i == len(s)-1 || s[i+1] == ' ') {
			return strings.Join(strings.Fields(s), " ")
		}
	}
	return s
}

// replaced puts other text in the place of each match; −1 is none.
func replaced(s, with string, begin *[256]bool, match func(s string, at int) (end int)) string {
	var b []byte
	last := 0
	for at := 0; at < len(s); {
		if !begin[s[at]] {
			at++
			continue
		}
		end := match(s, at)
		if end < 0 {
			at++
			continue
		}
		if b == nil {
			b = make([]byte, 0, len(s)+len(with))
		}
		b = append(append(b, s[last:at]...), with...)
		at, last = end, end
	}
	if last == 0 {
		return s
	}
	return string(append(b, s[last:]...))
}

//nolint:gochecknoglobals // constants
var (
	digits    = setOf("0123456789")
	hexDigits = setOf("0123456789abcdefABCDEF")
	quotes    = setOf("\"'`")
)

func setOf(bytes string) (set [256]bool) {
	for i := range len(bytes) {
		set[bytes[i]] = true
	}
	return set
}

func matchQuoted(s string, at int) int {
	n := strings.IndexByte(s[at+1:], s[at])
	if n < 0 {
		return -1
	}
	return at + 1 + n + 1
}

// run is the end of a run of at most so many bytes of a set.
func run(s string, at, most int, set *[256]bool) int {
	for n := 0; n < most && at < len(s) && set[s[at]]; n++ {
		at++
	}
	return at
}

// fixed is the end of a text in which 0 stands for a byte of the set, −1 if it is another.
func fixed(s string, at int, like string, set *[256]bool) int {
	if len(s)-at < len(like) {
		return -1
	}
	for i := range len(like) {
		if c := s[at+i]; like[i] == '0' && !set[c] || like[i] != '0' && like[i] != c {
			return -1
		}
	}
	return at + len(like)
}

func matchID(s string, at int) int {
	if len(s)-at < 36 || s[at+8] != '-' {
		return -1
	}
	return fixed(s, at, "00000000-0000-0000-0000-000000000000", &hexDigits)
}

func matchTime(s string, at int) int {
	end := fixed(s, at, "0000-00-00", &digits)
	if end < 0 || end == len(s) || s[end] != 'T' && s[end] != ' ' {
		return end
	}
	clock := fixed(s, end+1, "00:00", &digits)
	if clock < 0 {
		return end
	}
	end = clock
	if seconds := fixed(s, end, ":00", &digits); seconds >= 0 {
		end = seconds
		if end+1 < len(s) && s[end] == '.' && digits[s[end+1]] {
			end = run(s, end+1, len(s), &digits)
		}
	}
	if end == len(s) {
		return end
	}
	switch s[end] {
	case 'Z':
		return end + 1
	case '+', '-':
		if zone := max(fixed(s, end+1, "00:00", &digits), fixed(s, end+1, "0000", &digits)); zone >= 0 {
			return zone
		}
	}
	return end
}

func matchHex(s string, at int) int {
	if s[at] == '0' && at+2 < len(s) && (s[at+1] == 'x' || s[at+1] == 'X') && hexDigits[s[at+2]] {
		return run(s, at+2, len(s), &hexDigits)
	}
	if at > 0 && inWord(s[at-1]) {
		return -1
	}
	end := run(s, at, len(s), &hexDigits)
	if end < len(s) && inWord(s[end]) {
		return -1
	}
	digit, letter := false, false
	for i := at; i < end; i++ {
		digit = digit || digits[s[i]]
		letter = letter || !digits[s[i]]
	}
	if !digit || !letter {
		return -1
	}
	return end
}

func inWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func matchNumber(s string, at int) int {
	end := run(s, at, len(s), &digits)
	for end+1 < len(s) && (s[end] == '.' || s[end] == ',' || s[end] == ':') && digits[s[end+1]] {
		end = run(s, end+1, len(s), &digits)
	}
	return end
}
