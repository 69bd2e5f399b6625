// Command duplex shows Duplex at work and runs its embedded broker.
package main

import (
	"fmt"
	"os"

	"github.com/duplex-go/duplex/internal/app/cli"
	"github.com/duplex-go/duplex/internal/command"
)

func main() {
	p := command.FromOS()
	root, err := cli.Command(p.Environ)
	if err != nil {
		fmt.Fprintln(os.Stderr, "duplex:", err)
		os.Exit(command.Usage)
	}
	os.Exit(command.Main(root, p))
}
