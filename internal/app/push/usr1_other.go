//go:build !unix

package push

import "os"

// reportSignals gets nothing: this system has no SIGUSR1.
func reportSignals() (signals <-chan os.Signal, stop func()) { return nil, func() {} }
