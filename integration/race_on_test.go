//go:build race

package integration

// The binaries are built as this test is.
const raceEnabled = true
