package died_test

import (
	"testing"

	"github.com/duplex-go/duplex/duplextest"
)

func TestInVirtualTime(t *testing.T) { duplextest.RunTagged(t) }
