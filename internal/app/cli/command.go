// Package cli is the program duplex: one command in each file.
package cli

import "github.com/spf13/cobra"

const long = `duplex is the command-line tool of Duplex, an event-streaming and messaging
platform on Kafka.

Settings come from --config FILE (YAML, keys as the flags are named), from
variables such as DUPLEX_BROKERS, and from flags, the later ones winning.

Exit codes: 0 all went well, 1 something did not, 2 usage, 130 interrupted.`

// Command makes the command; environ is the process's environment.
func Command(environ []string) (*cobra.Command, error) {
	root := &cobra.Command{
		Use: "duplex", Short: "Duplex, messaging on Kafka: see it work, run its embedded broker", Long: long,
	}
	demo, err := demoCommand(environ)
	root.AddCommand(demo, brokerCommand(environ))
	return root, err
}
