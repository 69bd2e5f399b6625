//go:build !race

package duplextest

const raced = false
