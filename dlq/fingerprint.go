package dlq

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
)

// Fingerprinter tells failures of one cause from those of others. What it returns
// goes into the header dlq-fingerprint, at the time of the failure; it should begin
// with the name of the algorithm and a colon, and have at most 64 bytes.
type Fingerprinter interface {
	// Fingerprint is called for each dead letter, by many goroutines at once.
	Fingerprint(f Failure) string
}

// FingerprintV1 is the default: "v1:" and 16 hex digits, of the group, the topic
// whose handler failed, the type and the code of the error, the first function of
// the stack outside of the runtime, and the message without what differs from
// record to record: numbers, identifiers, hex, quoted text and times.
type FingerprintV1 struct{}

// Fingerprint implements Fingerprinter.
func (FingerprintV1) Fingerprint(f Failure) string {
	var room [512]byte
	b := room[:0]
	for _, part := range [...]string{f.Group, f.Handler, f.ErrorType, f.ErrorCode, topFrame(f.Stack), normalized(f.ErrorMessage)} {
		b = append(append(b, part...), 0)
	}
	sum := sha256.Sum256(b)
	return "v1:" + hex.EncodeToString(sum[:8])
}

// topFrame is the first function of a stack as debug.Stack has it that is neither
// the runtime's nor ours.
func topFrame(stack string) string {
	for line := range strings.Lines(stack) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "goroutine ") || strings.HasPrefix(line, "created by ") || !strings.HasSuffix(line, ")") || strings.Contains(line, " ") && !strings.Contains(line, "(") {
			continue
		}
		name, _, _ := strings.Cut(line, "(0x")
		switch {
		case strings.HasPrefix(line, "runtime"), strings.HasPrefix(line, "panic("), strings.HasPrefix(line, "github.com/duplex-go/duplex/consumer."):
		case strings.HasPrefix(line, "/"): // a file
		default:
			return name
		}
	}
	return ""
}

// fingerprints are those of a source. Many of its failures say the same, and are not
// looked at again.
type fingerprints struct {
	by Fingerprinter

	mu    sync.RWMutex
	known map[said]string
}

// said is what FingerprintV1 looks at, beside the group and the topic.
type said struct{ kind, code, message, stack string }

// mostKnown bounds what is remembered.
const mostKnown = 256

func (fs *fingerprints) of(f Failure) string {
	if _, v1 := fs.by.(FingerprintV1); !v1 { // another may look at anything
		return bounded(fs.by.Fingerprint(f), maxFingerprint)
	}
	what := said{f.ErrorType, f.ErrorCode, f.ErrorMessage, f.Stack}
	fs.mu.RLock()
	fingerprint, ok := fs.known[what]
	fs.mu.RUnlock()
	if ok {
		return fingerprint
	}
	fingerprint = fs.by.Fingerprint(f)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.known == nil || len(fs.known) >= mostKnown {
		fs.known = make(map[said]string)
	}
	fs.known[what] = fingerprint
	return fingerprint
}
