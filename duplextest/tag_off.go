//go:build !synctests

package duplextest

const tagged = false
