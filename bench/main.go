// Command bench measures Duplex beside raw franz-go on one broker, in one run.
//
//	go -C bench run . [produce|consume|all|memory|footprint|takeover|failures|waiting|calls|letters] [-brokers host:port] [-rounds 5] [-json]
//
// README.md has the method. Each arm of each round is a process of its own: this
// program starts itself again with the word child and a spec on standard input.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	Brokers    []string
	Rounds     int
	Scale      float64
	Partitions int
	BrokerPID  int
	Profiles   string
	Spring     string
	JSON       bool
	only       *regexp.Regexp
}

func run(ctx context.Context, args []string, in io.Reader, out, talk io.Writer) error {
	command := "all"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	if command == "child" {
		return child(ctx, in, out)
	}
	o, err := parse(args, talk)
	if err != nil {
		return err
	}
	switch command {
	case "produce", "consume", "all":
		return compare(ctx, o, command, out, talk)
	case "memory":
		return watchMemory(ctx, o, out, talk)
	case "footprint":
		return measureFootprints(ctx, o, out, talk)
	case "takeover":
		return measureTakeover(ctx, o, out, talk)
	case "failures":
		return compareFailures(ctx, o, out, talk)
	case "calls":
		return compareCalls(ctx, o, out, talk)
	case "letters":
		return compareLetters(ctx, o, out, talk)
	case "waiting":
		return measureWaiting(ctx, o, out, talk)
	default:
		return fmt.Errorf("unknown command %q: want produce, consume, all, memory, footprint, takeover, failures, waiting, calls or letters", command)
	}
}

func parse(args []string, talk io.Writer) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(talk)
	brokers := flags.String("brokers", "127.0.0.1:9092", "addresses, separated by commas")
	only := flags.String("run", "", "only workloads whose name matches this pattern")
	flags.IntVar(&o.Rounds, "rounds", 5, "rounds that count, after one that does not")
	flags.Float64Var(&o.Scale, "scale", 1, "multiplies the number of records, such as 0.01 for a try")
	flags.IntVar(&o.Partitions, "partitions", 6, "partitions of the topics (not for memory)")
	flags.IntVar(&o.BrokerPID, "broker-pid", 0, "process of a broker on this machine, to report its CPU too")
	flags.StringVar(&o.Profiles, "profiles", "", "folder for one CPU profile of every run")
	flags.StringVar(&o.Spring, "spring", "../integration/spring", "folder of the Spring program that calls are compared with, where java and mvn are")
	flags.BoolVar(&o.JSON, "json", false, "print JSON with every run on standard output, and the table on standard error")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.Brokers = strings.Split(*brokers, ",")
	var errs []error
	if flags.NArg() > 0 {
		errs = append(errs, fmt.Errorf("unexpected %q behind the flags", flags.Args()))
	}
	if o.Rounds < 1 {
		errs = append(errs, fmt.Errorf("-rounds %d: want at least 1", o.Rounds))
	}
	if o.Scale <= 0 {
		errs = append(errs, fmt.Errorf("-scale %g: want more than 0", o.Scale))
	}
	if o.Partitions < 1 {
		errs = append(errs, fmt.Errorf("-partitions %d: want at least 1", o.Partitions))
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		errs = append(errs, fmt.Errorf("-run: %w", err))
	}
	return o, errors.Join(errs...)
}

// print writes the report where the options say.
func (o options) print(r interface{ markdown() string }, out, talk io.Writer) error {
	if !o.JSON {
		_, err := io.WriteString(out, r.markdown())
		return err
	}
	if _, err := io.WriteString(talk, r.markdown()); err != nil {
		return err
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
