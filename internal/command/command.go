// Package command runs a cobra command as a program: settings, signals, exit
// codes, and one way to say what went wrong.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/config"
)

// The exit codes of every binary.
const (
	OK          = 0
	Failed      = 1   // it ran, and not everything went well
	Usage       = 2   // it did not run: flags, settings or arguments are wrong
	TooLate     = 3   // the deadline of what it asked for passed
	Refused     = 4   // a guard refused it, see [duplex.ErrRefused]; nothing was changed
	Interrupted = 130 // SIGINT; what was begun is finished and safe
)

// Process is what a program gets from its surroundings.
type Process struct {
	Args           []string // without the program's name
	Environ        []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// FromOS is the process that the operating system started.
func FromOS() Process {
	return Process{Args: os.Args[1:], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
}

// ErrInterrupted is the cause of a context that SIGINT ended; a command that
// returns it exits with [Interrupted].
var ErrInterrupted = errors.New("interrupted")

// ErrTerminated is the cause of a context that SIGTERM ended.
var ErrTerminated = errors.New("terminated")

// usageError marks errors that keep a command from running.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// UsageError has the program exit with [Usage] for err.
func UsageError(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// ErrFailed exits with [Failed] and says nothing more: the command has said what
// went wrong.
var ErrFailed = errors.New("failed")

// Main runs root as the process p until it ends or a signal asks it to: then its
// context is cancelled, and a second signal ends the process at once. It returns
// the exit code.
func Main(root *cobra.Command, p Process) int {
	// A closed pipe on standard output is an error to handle, not a signal to
	// die of in the middle of something. It is not ignored: what we start would
	// inherit that.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	defer signal.Stop(pipes)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	go watch(signals, done, cancel, p.Stderr)
	return Run(ctx, root, p)
}

func watch(signals <-chan os.Signal, done <-chan struct{}, cancel context.CancelCauseFunc, stderr io.Writer) {
	select {
	case <-done:
		return
	case s := <-signals:
		if s == os.Interrupt {
			cancel(ErrInterrupted)
		} else {
			cancel(ErrTerminated)
		}
	}
	select {
	case <-done:
	case <-signals:
		fmt.Fprintln(stderr, "a second signal: ending at once")
		os.Exit(Interrupted) //nolint:forbidigo // whoever signals twice does not want to wait for main
	}
}

// Run is Main without signals, for tests and for Main.
func Run(ctx context.Context, root *cobra.Command, p Process) int {
	root.SetArgs(p.Args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(FlagError)
	ran, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return OK
	case errors.Is(err, ErrInterrupted):
		return Interrupted
	case errors.Is(err, ErrFailed):
		return Failed
	}
	var code ended
	if errors.As(err, &code) {
		return int(code)
	}
	say(p.Stderr, ran, err)
	var usage usageError
	if errors.As(err, &usage) || !started(ran) {
		fmt.Fprintf(p.Stderr, "Run '%s --help' for usage.\n", ran.CommandPath())
		return Usage
	}
	if errors.Is(err, duplex.ErrRefused) {
		return Refused
	}
	return Failed
}

// say prints an error with the program's name in front, once.
func say(stderr io.Writer, cmd *cobra.Command, err error) {
	text := err.Error()
	if name := cmd.Root().Name() + ": "; !strings.HasPrefix(text, name) {
		text = name + text
	}
	fmt.Fprintln(stderr, text)
}

// ended is an exit code for a command that has said what went wrong.
type ended int

// Error implements error.
func (e ended) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Exit ends the program with the code and says nothing more: the command has said what
// went wrong.
func Exit(code int) error { return ended(code) }

const startedAnnotation = "started"

func started(cmd *cobra.Command) bool { return cmd.Annotations[startedAnnotation] != "" }

// Body makes the RunE of a command: it loads the settings, prints them if
// asked, and then runs fn. What goes wrong before fn is a usage error.
func Body(environ []string, fn func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := config.Load(cmd.Flags(), environ); err != nil {
			return err
		}
		if wanted, err := cmd.Flags().GetBool(config.PrintFlag); err != nil || wanted {
			return errors.Join(err, printSettings(cmd))
		}
		if cmd.Annotations == nil {
			cmd.Annotations = map[string]string{}
		}
		cmd.Annotations[startedAnnotation] = "yes"
		return fn(cmd, args)
	}
}

func printSettings(cmd *cobra.Command) error {
	text, err := config.Print(cmd.Flags())
	if err != nil {
		return err
	}
	_, err = cmd.OutOrStdout().Write(text)
	return err
}
