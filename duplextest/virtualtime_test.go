package duplextest_test

import (
	"testing"

	"github.com/duplex-go/duplex/duplextest"
)

func TestInVirtualTime(t *testing.T) {
	t.Parallel()
	duplextest.RunTagged(t)
}
