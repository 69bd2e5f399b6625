// Command consumer reads topics in a group and writes each record as a line, or
// runs a command for it.
package main

import (
	"fmt"
	"os"

	"github.com/duplex-go/duplex/internal/app/push"
	"github.com/duplex-go/duplex/internal/command"
)

func main() {
	p := command.FromOS()
	root, err := push.Command(p.Environ)
	if err != nil {
		fmt.Fprintln(os.Stderr, "consumer:", err)
		os.Exit(command.Usage)
	}
	os.Exit(command.Main(root, p))
}
