package tagged_test

import (
	"testing"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/duplextest"
)

func TestInVirtualTime(t *testing.T) { duplextest.RunTagged(t) }

func TestWithoutTheTag(t *testing.T) {
	duplextest.VirtualTime(t, func(*testing.T, *broker.Broker) {})
}
