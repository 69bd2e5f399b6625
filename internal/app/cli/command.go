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
)

const long = `duplex is the command-line tool of Duplex, an event-streaming and messaging
platform on Kafka.

Settings come from --config FILE (YAML, keys as the flags are named), from
variables such as DUPLEX_BROKERS, and from flags, the later ones winning.

Exit codes: 0 all went well, 1 something did not, 2 usage, 3 the deadline of a call
passed, 4 refused by a guard, 130 interrupted.`

// Command makes the command; environ is the process's environment.
func Command(environ []string) (*cobra.Command, error) {
	root := &cobra.Command{
		Use: "duplex", Short: "Duplex, messaging on Kafka: see it work, call and serve, run its embedded broker", Long: long,
	}
	pub, pubErr := ingest.Named("duplex pub", environ)
	sub, subErr := push.Named("duplex sub", environ)
	demo, demoErr := demoCommand(environ)
	comparison, compareErr := compareCommand(environ)
	call, callErr := callCommand(environ)
	serve, serveErr := serveCommand(environ)
	calls, callsErr := rpcCommand(environ)
	root.AddCommand(demo, comparison, brokerCommand(environ), pub, sub, call, serve, calls)
	return root, errors.Join(pubErr, subErr, demoErr, compareErr, callErr, serveErr, callsErr)
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
