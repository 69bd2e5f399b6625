//go:build synctests

package duplextest

// tagged tells whether this binary, and the Kafka client in it, was built for
// virtual time.
const tagged = true
