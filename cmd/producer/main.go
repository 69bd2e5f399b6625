// Command producer publishes records, one a line, to a topic.
package main

import (
	"fmt"
	"os"

	"github.com/duplex-go/duplex/internal/app/ingest"
	"github.com/duplex-go/duplex/internal/command"
)

func main() {
	p := command.FromOS()
	root, err := ingest.Command(p.Environ)
	if err != nil {
		fmt.Fprintln(os.Stderr, "producer:", err)
		os.Exit(command.Usage)
	}
	os.Exit(command.Main(root, p))
}
