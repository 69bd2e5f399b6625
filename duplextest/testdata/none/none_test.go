package none_test

import (
	"testing"

	"github.com/duplex-go/duplex/duplextest"
)

func TestInVirtualTime(t *testing.T) { duplextest.RunTagged(t) }

// TestVirtualByName has no tag, so it is none of those that need it.
func TestVirtualByName(*testing.T) {}
