//go:build synctests

package crash_test

import (
	"fmt"
	"os"
	"testing"
)

func TestVirtualEndsTheProcess(*testing.T) {
	fmt.Println("its last words")
	os.Exit(3)
}

func TestVirtualNeverBegins(*testing.T) {}
