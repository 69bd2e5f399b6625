package duplextest_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// recorder stands for the test of a user, and notes that it failed.
type recorder struct {
	testing.TB

	mu     sync.Mutex
	text   strings.Builder
	failed bool
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	fmt.Fprintf(&r.text, format+"\n", args...)
}

func (r *recorder) FailNow() {
	r.mu.Lock()
	r.failed = true
	r.mu.Unlock()
	runtime.Goexit()
}

// failure runs check as a test would, and returns what it says when it fails,
// which it must.
func failure(t *testing.T, check func(t testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	ended := make(chan struct{})
	returned := false
	go func() {
		defer close(ended)
		check(r)
		returned = true
	}()
	<-ended
	require.True(t, r.failed, "the check passed")
	require.False(t, returned, "the check went on after it had failed")
	return r.text.String()
}
