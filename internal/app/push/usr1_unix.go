//go:build unix

package push

import (
	"os"
	"os/signal"
	"syscall"
)

// reportSignals gets SIGUSR1 until stop is called.
func reportSignals() (signals <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c, func() { signal.Stop(c) }
}
