package duplextest

import (
	"testing"
	"testing/synctest"

	"github.com/duplex-go/duplex/broker"
)

// VirtualTime runs fn inside a testing/synctest bubble with an embedded broker
// in it: time stands still while anything runs and jumps ahead when everything
// waits, for the program, the Kafka client and the broker alike. The t that fn
// gets is the bubble's; use it, not the outer one.
//
// Everything that fn starts must have ended when fn and its cleanups are done;
// otherwise the test fails with a list of what still runs. The broker is closed
// last.
//
// The test must be built with the tag "synctests"; without, it fails at once and
// says so. The documentation of the package shows how such a test is run.
func VirtualTime(t *testing.T, fn func(t *testing.T, b *broker.Broker)) {
	t.Helper()
	if !tagged {
		t.Fatal(needsTag)
	}
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		fn(t, Broker(t))
	})
}

const needsTag = `duplextest.VirtualTime needs the Kafka client built for virtual time, or the clock stops for good at its first lock.
Run this test with: go test -tags synctests
and put it in a file that begins with: //go:build synctests
so that a plain "go test" leaves it to a test that calls duplextest.RunTagged.`
