//go:build synctests

package tagged_test

import (
	"testing"
	"time"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/duplextest"
)

func TestVirtualPasses(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, _ *broker.Broker) {
		time.Sleep(24 * time.Hour)
		t.Log("a day has passed")
	})
}

func TestVirtualFails(t *testing.T) {
	t.Run("inside", func(t *testing.T) { t.Error("the reason why it fails") })
}

func TestVirtualSkips(t *testing.T) { t.Skip("the reason why it is skipped") }

// Its name says that it is not for this.
func TestOther(t *testing.T) { t.Error("it ran") }
