package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/rpc"
)

const (
	// mostPatience is how long a shell waits for the cluster when somebody presses Tab.
	mostPatience = time.Second
	// mostCompletions is how many names it gets.
	mostCompletions = 1000
)

// names are what a cluster has of one kind.
type names func(ctx context.Context, admin *kadm.Client) ([]string, error)

func topicNames(ctx context.Context, admin *kadm.Client) ([]string, error) {
	topics, err := admin.ListTopics(ctx)
	return topics.Names(), err
}

func groupNames(ctx context.Context, admin *kadm.Client) ([]string, error) {
	groups, err := admin.ListGroups(ctx)
	return groups.Groups(), err
}

func serviceNames(ctx context.Context, admin *kadm.Client) ([]string, error) {
	topics, err := admin.ListTopics(ctx)
	return namesOf(topics, rpc.RequestTopic), err
}

// completion has a shell complete an argument, up to most of them, with what the cluster has.
// What goes wrong is not said: a command is being typed there.
func completion(environ []string, most int, of names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const nothing = cobra.ShellCompDirectiveNoFileComp
		if len(args) >= most {
			return nil, nothing
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), mostPatience)
		defer cancel()
		cluster, err := clusterOf(cmd.Flags(), environ)
		if err != nil {
			return nil, nothing
		}
		found, err := namesFrom(ctx, cluster, of)
		if err != nil {
			return nil, nothing
		}
		fits := found[:0]
		for _, name := range found {
			if strings.HasPrefix(name, begun) && !slices.Contains(args, name) && !strings.ContainsFunc(name, unfit) {
				fits = append(fits, name)
			}
		}
		slices.Sort(fits)
		return fits[:min(len(fits), mostCompletions)], nothing
	}
}

// flagCompletion is that of a flag's value.
func flagCompletion(environ []string, of names) cobra.CompletionFunc {
	complete := completion(environ, 1, of)
	return func(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return complete(cmd, nil, begun)
	}
}

// clusterOf is the cluster that a command line, as far as it is typed, and the environment name.
func clusterOf(typed *pflag.FlagSet, environ []string) (duplex.Cluster, error) {
	flags := pflag.NewFlagSet("completion", pflag.ContinueOnError)
	config.AddFlags(flags)
	cluster, err := config.AddClusterFlags(flags, "duplex-completion")
	errs := []error{err}
	typed.Visit(func(f *pflag.Flag) {
		if flags.Lookup(f.Name) == nil {
			return
		}
		value := f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		errs = append(errs, flags.Set(f.Name, value))
	})
	err = errors.Join(append(errs, config.Load(flags, environ))...)
	return cluster.Cluster(), err
}

// unfit are characters of a group's name that would be something else to a shell.
func unfit(c rune) bool {
	return !unicode.IsPrint(c) || unicode.IsSpace(c) || strings.ContainsRune("'\"`$\\", c)
}

func namesFrom(ctx context.Context, cluster duplex.Cluster, of names) ([]string, error) {
	client, err := kafka.NewClient(cluster, nil)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := kafka.Ping(ctx, client, "completion"); err != nil {
		return nil, err
	}
	return of(ctx, kadm.NewClient(client))
}

// completeCluster has a shell complete what flags of clusters have a few values of.
func completeCluster(cmd *cobra.Command) error {
	mechanisms := []string{string(duplex.SASLPlain), string(duplex.SASLScramSHA256), string(duplex.SASLScramSHA512), string(duplex.SASLOAuthBearer)}
	return cmd.RegisterFlagCompletionFunc("sasl-mechanism", cobra.FixedCompletions(mechanisms, cobra.ShellCompDirectiveNoFileComp))
}

// completeEverywhere has the flags of clusters completed in all commands that have them.
func completeEverywhere(environ []string, cmd *cobra.Command) error {
	var errs []error
	for _, c := range cmd.Commands() {
		errs = append(errs, completeEverywhere(environ, c))
	}
	if cmd.Flags().Lookup(config.ProfileFlag) != nil {
		profiles := func(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return (&profileOptions{environ: environ}).complete(cmd, nil, begun)
		}
		errs = append(errs, cmd.RegisterFlagCompletionFunc(config.ProfileFlag, profiles), completeCluster(cmd))
	}
	return errors.Join(errs...)
}
