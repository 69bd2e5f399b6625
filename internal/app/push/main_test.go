package push_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/duplex-go/duplex/internal/app/push"
	"github.com/duplex-go/duplex/internal/command"
)

// asProgram makes this binary the program itself, for what needs a process.
const asProgram = "PUSH_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		p := command.FromOS()
		root, err := push.Command(p.Environ)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(command.Usage)
		}
		os.Exit(command.Main(root, p))
	}
	goleak.VerifyTestMain(m)
}
