// Package cli is the program duplex: one command in each file.
package cli

import (
	"errors"
	"io"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/duplex-go/duplex/internal/app/ingest"
	"github.com/duplex-go/duplex/internal/app/push"
	"github.com/duplex-go/duplex/internal/command"
)

const long = `duplex is the command-line tool of Duplex, an event-streaming and messaging
platform on Kafka.

Settings come from a profile (see duplex profile), from --config FILE (YAML, keys as the
flags are named), from variables such as DUPLEX_BROKERS, and from flags, the later ones
winning. Where --read-only, DUPLEX_READ_ONLY=1 or a profile says so, whatever would change
something in the cluster is refused.

Exit codes: 0 all went well, 1 something did not, 2 usage, 3 the deadline of a call
passed, 4 a guard refused it and nothing was changed, 130 interrupted.`

// Command makes the command; environ is the process's environment.
func Command(environ []string) (*cobra.Command, error) {
	root := command.Group(&cobra.Command{
		Use: "duplex", Short: "Duplex, messaging on Kafka: publish, subscribe, call and serve, look at groups and topics", Long: long,
	})
	var errs []error
	for _, of := range []func(environ []string) (*cobra.Command, error){
		demoCommand,
		compareCommand,
		brokerCommand,
		pubCommand,
		subCommand,
		callCommand,
		serveCommand,
		rpcCommand,
		dlqCommand,
		redriveCommand,
		groupCommand,
		topicsCommand,
		checksCommand,
		profileCommand,
		doctorCommand,
	} {
		cmd, err := of(environ)
		root.AddCommand(cmd)
		errs = append(errs, err)
	}
	return root, errors.Join(append(errs, completeEverywhere(environ, root))...)
}

// pubCommand is the program producer by another name.
func pubCommand(environ []string) (*cobra.Command, error) {
	cmd, err := ingest.Named("duplex pub", environ)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault // FILE
		}
		return completion(environ, 1, topicNames)(cmd, args, begun)
	}
	return cmd, err
}

// subCommand is the program consumer by another name.
func subCommand(environ []string) (*cobra.Command, error) {
	cmd, err := push.Named("duplex sub", environ)
	cmd.ValidArgsFunction = completion(environ, mostCompletions, topicNames)
	return cmd, err
}

// logger writes for people: warnings, or all from level on where more is wanted.
func logger(out io.Writer, verbose bool, level zapcore.Level) *zap.Logger {
	if !verbose {
		level = zap.WarnLevel
	}
	encoding := zap.NewDevelopmentEncoderConfig()
	encoding.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(encoding), zapcore.Lock(zapcore.AddSync(out)), level))
}
