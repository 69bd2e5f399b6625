// Package terminal shows how long work gets on, where a person looks on.
package terminal

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/term"
)

// Is reports whether w is a terminal.
func Is(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Width is how many characters fit a line of w, 0 where w is no terminal.
func Width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// Progress rewrites one line of a terminal a few times a second. On anything
// else it writes nothing.
type Progress struct {
	out  io.Writer
	done chan struct{}
	end  sync.WaitGroup
}

const refresh = 200 * time.Millisecond

// Show has line's result shown until Close is called.
func Show(out io.Writer, line func() string) *Progress {
	p := &Progress{out: out, done: make(chan struct{})}
	if !Is(out) {
		return p
	}
	p.end.Go(func() {
		ticker := time.NewTicker(refresh)
		defer ticker.Stop()
		for {
			select {
			case <-p.done:
				fmt.Fprint(out, "\r\x1b[K")
				return
			case <-ticker.C:
				fmt.Fprint(out, "\r\x1b[K", line())
			}
		}
	})
	return p
}

// Close takes the line away.
func (p *Progress) Close() {
	close(p.done)
	p.end.Wait()
}

// Count writes n with a comma between thousands.
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return sign + strings.Join(append([]string{digits}, groups...), ",")
}

// Printable keeps what others have put into a text from moving a terminal's cursor.
func Printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, text)
}
