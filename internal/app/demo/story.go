package demo

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// story prints what happens, a line each, as it happens.
type story struct {
	began time.Time
	color bool

	mu  sync.Mutex
	out io.Writer
}

const (
	bold  = "1"
	dim   = "2"
	green = "32"
	red   = "31"
)

// style returns text in one of the styles, or as it is where there is no color.
func (s *story) style(code, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *story) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.out, line)
}

// chapter begins a part of the story.
func (s *story) chapter(title, about string) { s.say(s.style(bold, title) + "  " + about) }

// tell prints what who did, with the time since the beginning.
func (s *story) tell(who, format string, args ...any) {
	at := fmt.Sprintf("%5.1fs", time.Since(s.began).Seconds())
	s.say(s.style(dim, at) + fmt.Sprintf(" %-8s ", who) + fmt.Sprintf(format, args...))
}

// mark prints a line of the summary and whether what it says is as it must be.
func (s *story) mark(good bool, format string, args ...any) {
	sign := s.style(green, "✓")
	if !good {
		sign = s.style(red, "✗")
	}
	text := " " + fmt.Sprintf(format, args...)
	const width = 54
	s.say(text + strings.Repeat(" ", max(width-len([]rune(text)), 1)) + sign)
}

// count writes n with a comma between thousands.
func count(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// times writes 50th and 99th percentiles of milliseconds.
func times(p50, p99 float64) string { return digits(p50) + "/" + digits(p99) }

func digits(ms float64) string {
	if ms < 10 {
		return strconv.FormatFloat(ms, 'f', 1, 64)
	}
	return strconv.FormatFloat(ms, 'f', 0, 64)
}
