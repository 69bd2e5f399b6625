//go:build !unix

package shell

import "os/exec"

// inGroup does nothing: this system has no process groups to signal, so a command
// is killed at once, and what it started is not.
func inGroup(*exec.Cmd) {}

func killGroup(*exec.Cmd) {}
