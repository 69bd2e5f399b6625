package dlq_test

import (
	"testing"

	"github.com/duplex-go/duplex/duplextest"
)

// The tests of virtual_*_test.go need the tag synctests: this one runs them.
func TestInVirtualTime(t *testing.T) { duplextest.RunTagged(t) }
