package consumer

import (
	"errors"
	"runtime"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func goexit() { runtime.Goexit() }

var errTest = errors.New("the downstream says no")
