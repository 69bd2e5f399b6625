//go:build synctests

package died_test

import (
	"fmt"
	"os"
	"testing"
)

func TestVirtualAlreadyEnded(*testing.T) {}

// TestVirtualDies says what Go 1.26 does where its race detector dies; after the first
// time no more, if it can leave a note.
func TestVirtualDies(*testing.T) {
	before := os.Getenv("DIED_BEFORE")
	if _, err := os.Stat(before); err == nil {
		return
	}
	_ = os.WriteFile(before, nil, 0o600)
	fmt.Print("SIGSEGV: segmentation violation\nPC=0x41ca09 m=0 sigcode=1 addr=0x0\n\n" +
		"goroutine 0 gp=0x20d1960 m=0 mp=0x20d2e40 [idle, synctest bubble 24]:\n")
	os.Exit(2)
}
