package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
)

const brokerLong = `broker runs the embedded Kafka-compatible broker on loopback ports, for development.
It needs no Java and no container. Everything is in memory: at most 64 MiB a
partition, and gone when it ends. What works with it must still be tried on Kafka.

It prints the addresses of its nodes, with commas, as one line on standard output,
and runs until it is asked to end.

Exit codes: 0 ended by SIGTERM, 1 the address cannot be listened on, 2 usage,
130 interrupted.`

const brokerExamples = `  duplex broker
  duplex broker --topic orders:6 --topic payments
  duplex broker --listen 127.0.0.1:0 --nodes 3`

type brokerOptions struct {
	listen  string
	nodes   int
	topics  []string
	verbose bool
}

func brokerCommand(environ []string) (*cobra.Command, error) {
	o := &brokerOptions{}
	cmd := &cobra.Command{
		Use: "broker", Short: "Run an embedded broker for development", Long: brokerLong, Example: brokerExamples, Args: cobra.NoArgs,
	}
	o.addFlags(cmd.Flags())
	cmd.RunE = command.Body(environ, func(cmd *cobra.Command, _ []string) error { return o.run(cmd) })
	return cmd, nil
}

func (o *brokerOptions) addFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVarP(&o.listen, "listen", "l", config.DefaultBroker, "loopback `host:port` of the first node, the others take the ports that follow; port 0 gives each a free one")
	flags.IntVar(&o.nodes, "nodes", 1, "`number` of nodes, up to 64")
	flags.StringSliceVarP(&o.topics, "topic", "t", nil, "create a topic: `name` or name:partitions; repeatable")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "say on standard error what clients do")
	config.AddFlags(flags)
}

// run is the command, once its settings are loaded.
func (o *brokerOptions) run(cmd *cobra.Command) error {
	topics, err := parseTopics(o.topics)
	if o.listen == "" {
		err = errors.Join(err, errors.New("--listen is empty: want a loopback address such as 127.0.0.1:9092"))
	}
	cfg := broker.Config{Listen: o.listen, Brokers: o.nodes, Topics: topics, Logger: logger(cmd.ErrOrStderr(), o.verbose, zap.DebugLevel)}
	if err := errors.Join(err, cfg.Validate()); err != nil {
		return command.UsageError(err)
	}
	b, err := broker.Start(cfg)
	if err != nil {
		return err
	}
	defer b.Close()
	fmt.Fprintln(cmd.ErrOrStderr(), "an embedded broker for development: everything is in memory and gone when it ends (Ctrl-C)")
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), strings.Join(b.Addrs(), ",")); err != nil {
		return fmt.Errorf("broker: writing the addresses: %w", err)
	}
	<-cmd.Context().Done()
	if cause := context.Cause(cmd.Context()); errors.Is(cause, command.ErrInterrupted) {
		return cause
	}
	return nil
}

// parseTopics reads name and name:partitions.
func parseTopics(args []string) ([]broker.Topic, error) {
	var topics []broker.Topic
	var errs []error
	for _, arg := range args {
		name, partitions, err := nameAndPartitions(arg)
		if err != nil {
			errs = append(errs, fmt.Errorf("--topic %w", err))
			continue
		}
		topics = append(topics, broker.Topic{Name: name, Partitions: partitions})
	}
	return topics, errors.Join(errs...)
}

// nameAndPartitions reads name, which has 0 partitions, or name:partitions.
func nameAndPartitions(arg string) (name string, partitions int32, err error) {
	name, number, counted := strings.Cut(arg, ":")
	if !counted {
		return name, 0, nil
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 1 {
		return "", 0, fmt.Errorf("%q: %q is not a number of partitions", arg, number)
	}
	return name, int32(n), nil
}
