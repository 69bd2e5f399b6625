//go:build race

package duplextest

// raced tells whether the race detector watches this binary.
const raced = true
