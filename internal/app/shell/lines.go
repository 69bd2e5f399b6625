package shell

import (
	"bytes"
	"io"
	"sync"
)

const (
	// maxLine is where a line on standard error is broken.
	maxLine = 8 << 10
	// maxExcerpt is how much of a command's last words End gives.
	maxExcerpt = 200
)

// Lines is a standard error: it passes on whole lines, each behind a prefix that says whose it is. A
// line that is too long is broken.
type Lines struct {
	mu     sync.Mutex
	to     io.Writer
	prefix string
	line   []byte
	last   string // the start of the last line that was not empty
}

// NewLines returns one that writes to to, each line in one piece.
func NewLines(to io.Writer, prefix string) *Lines { return &Lines{to: to, prefix: prefix} }

// Write implements io.Writer. It never fails: nobody is left to be told.
func (w *Lines) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for rest := b; len(rest) > 0; {
		room := rest[:min(len(rest), maxLine-len(w.line))]
		if i := bytes.IndexByte(room, '\n'); i >= 0 {
			w.line = append(w.line, room[:i]...)
			rest = rest[i+1:]
			w.pass()
			continue
		}
		w.line = append(w.line, room...)
		rest = rest[len(room):]
		if len(w.line) == maxLine {
			w.pass()
		}
	}
	return len(b), nil
}

func (w *Lines) pass() {
	if text := bytes.TrimSpace(w.line); len(text) > 0 {
		w.last = string(bytes.ToValidUTF8(text[:min(len(text), maxExcerpt)], []byte("\ufffd")))
	}
	whole := append([]byte(w.prefix), w.line...)
	_, _ = w.to.Write(append(whole, '\n'))
	w.line = w.line[:0]
}

// End passes on a last line without an end, and gives the start of the last line
// that says something.
func (w *Lines) End() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.line) > 0 {
		w.pass()
	}
	return w.last
}
