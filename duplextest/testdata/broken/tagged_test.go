//go:build synctests

package broken_test

import "testing"

func TestVirtualDoesNotCompile(t *testing.T) { thisIsNotDefined(t) }
