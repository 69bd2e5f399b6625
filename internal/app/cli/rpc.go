package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/terminal"
	"github.com/duplex-go/duplex/rpc"
)

const lsLong = `ls lists the services of the cluster: those with a topic rpc.requests.<service>.

STATE is that of the group of the service's servers, in Kafka's words: Stable where they
serve, Empty where nobody does, a dash where nobody ever did or the group is forgotten.
LAG is how many requests are not finished, waiting or at work.

Exit codes: 0 listed, 1 the cluster did not answer, 2 usage, 130 interrupted.`

const infoLong = `info shows what Kafka knows of SERVICE: as one that is served, its topic of requests, its
servers and what is not finished; as one that calls, which of its clients reads which
partition of its topic of replies. A client says so every 30 s, and counts for 90 s; one
that is not listed has ended, or died longer ago than that.

Names of servers and clients are what they say of themselves.

Exit codes: 0 shown, 1 there is no such service or the cluster did not answer, 2 usage,
130 interrupted.`

type rpcOptions struct {
	cluster *config.ClusterFlags
	timeout time.Duration
	json    bool
}

func rpcCommand(environ []string) (*cobra.Command, error) {
	root := command.Group(&cobra.Command{Use: "rpc", Short: "Look at the services of a cluster, and at the rights they need"})
	ls, info := &rpcOptions{}, &rpcOptions{}
	lsCmd := &cobra.Command{Use: "ls", Short: "List the services of a cluster", Long: lsLong, Example: "  duplex rpc ls\n  duplex rpc ls --json | jq '.[] | select(.members == 0)'", Args: cobra.NoArgs}
	infoCmd := &cobra.Command{Use: "info SERVICE", Short: "Show who serves and who calls", Long: infoLong, Example: "  duplex rpc info fares", Args: wants("SERVICE")}
	err := errors.Join(ls.addFlags(lsCmd), info.addFlags(infoCmd))
	infoCmd.ValidArgsFunction = completion(environ, 1, serviceNames)
	lsCmd.RunE = command.Body(environ, func(cmd *cobra.Command, _ []string) error { return ls.run(cmd, ls.list) })
	infoCmd.RunE = command.Body(environ, func(cmd *cobra.Command, args []string) error {
		if err := checkService("SERVICE", args[0]); err != nil {
			return command.UsageError(err)
		}
		return info.run(cmd, func(ctx context.Context, cmd *cobra.Command, client *kgo.Client) error {
			return info.show(ctx, cmd, client, args[0])
		})
	})
	acl, aclErr := aclCommand(environ)
	root.AddCommand(lsCmd, infoCmd, acl)
	return root, errors.Join(err, aclErr)
}

func (o *rpcOptions) addFlags(cmd *cobra.Command) (err error) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&o.json, "json", false, "print JSON")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long the cluster may take to answer")
	o.cluster, err = config.AddClusterFlags(flags, "duplex-rpc")
	config.AddFlags(flags)
	return err
}

// run asks the cluster.
func (o *rpcOptions) run(cmd *cobra.Command, ask func(context.Context, *cobra.Command, *kgo.Client) error) error {
	if o.timeout <= 0 {
		return command.UsageError(fmt.Errorf("--timeout %s: must be positive", o.timeout))
	}
	client, err := kafka.NewClient(o.cluster.Cluster(), nil)
	if err != nil {
		return command.UsageError(err)
	}
	defer client.Close()
	if err := kafka.Reach(cmd.Context(), client, "rpc", o.timeout); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	return ask(ctx, cmd, client)
}

// service is one that is served, as far as Kafka knows.
type service struct {
	Service    string      `json:"service"`
	Topic      string      `json:"topic"`
	Group      string      `json:"group"`
	State      string      `json:"state"` // "" without a group
	Members    int         `json:"members"`
	Lag        int64       `json:"lag"`
	Partitions []partition `json:"partitions"`
	Servers    []member    `json:"servers"`
	Error      string      `json:"error,omitempty"` // why something is not known
}

type partition struct {
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // −1 without one
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
}

type member struct {
	ID         string  `json:"id"`
	ClientID   string  `json:"client_id"`
	Host       string  `json:"host"`
	Partitions []int32 `json:"partitions"`
}

// namesOf are the services that have a topic of the kind that topicOf names.
func namesOf(topics kadm.TopicDetails, topicOf func(string) string) []string {
	var services []string
	prefix := strings.TrimSuffix(topicOf("x"), "x")
	for _, topic := range topics.Names() {
		doubled, ok := strings.CutPrefix(topic, prefix)
		name := strings.ReplaceAll(doubled, "..", ".")
		if ok && topicOf(name) == topic && checkService("", name) == nil { // another one is not ours
			services = append(services, name)
		}
	}
	return services
}

// ask finds out about services that have topics of requests.
func ask(ctx context.Context, client *kgo.Client, names ...string) ([]service, error) {
	services := make([]service, len(names))
	if len(names) == 0 {
		return services, nil
	}
	admin := kadm.NewClient(client)
	topics, groups := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		topics[i], groups[i] = rpc.RequestTopic(name), rpc.Group(name)
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, kafka.Explain("rpc: asking for the offsets of topics", err)
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, kafka.Explain("rpc: asking for the offsets of topics", err)
	}
	// What cannot be described has an error of its own below.
	described, err := admin.DescribeGroups(ctx, groups...)
	if err != nil && len(described) == 0 {
		return nil, kafka.Explain("rpc: asking for groups", err)
	}
	committed := admin.FetchManyOffsets(ctx, groups...)
	for i, name := range names {
		s := service{Service: name, Topic: topics[i], Group: groups[i], Partitions: []partition{}, Servers: []member{}}
		s.describe(described[s.Group])
		s.measure(starts[s.Topic], ends[s.Topic], committed[s.Group])
		services[i] = s
	}
	return services, nil
}

// describe notes who serves.
func (s *service) describe(g kadm.DescribedGroup) {
	if g.Err != nil && !errors.Is(g.Err, kerr.GroupIDNotFound) {
		s.Error = kafka.Explain("asking for group "+s.Group, g.Err).Error()
	}
	if g.State != "Dead" {
		s.State = g.State
	}
	s.Members = len(g.Members)
	for i := range g.Members {
		m := &g.Members[i]
		one := member{ID: m.MemberID, ClientID: m.ClientID, Host: m.ClientHost, Partitions: []int32{}}
		if assigned, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range assigned.Topics {
				if t.Topic == s.Topic {
					one.Partitions = append(one.Partitions, t.Partitions...)
				}
			}
		}
		slices.Sort(one.Partitions)
		s.Servers = append(s.Servers, one)
	}
	slices.SortFunc(s.Servers, func(a, b member) int { return strings.Compare(a.ID, b.ID) })
}

// measure notes what is not finished.
func (s *service) measure(starts, ends map[int32]kadm.ListedOffset, committed kadm.FetchOffsetsResponse) {
	if err := committed.Err; err != nil && !errors.Is(err, kerr.GroupIDNotFound) && s.Error == "" {
		s.Error = kafka.Explain("asking for the offsets of group "+s.Group, err).Error()
	}
	of := map[int32]string{}
	for _, m := range s.Servers {
		for _, p := range m.Partitions {
			of[p] = m.ID
		}
	}
	for number, end := range ends {
		if err := cmp.Or(end.Err, starts[number].Err); err != nil {
			s.Error = cmp.Or(s.Error, kafka.Explain(fmt.Sprintf("asking for the offsets of %s/%d", s.Topic, number), err).Error())
			continue
		}
		p := partition{Partition: number, Committed: -1, End: end.Offset, Member: of[number]}
		if o, ok := committed.Fetched.Lookup(s.Topic, number); ok && o.Err == nil {
			p.Committed = o.At
		}
		p.Lag = max(end.Offset-max(p.Committed, starts[number].Offset), 0)
		s.Lag += p.Lag
		s.Partitions = append(s.Partitions, p)
	}
	slices.SortFunc(s.Partitions, func(a, b partition) int { return cmp.Compare(a.Partition, b.Partition) })
}

// list is the command ls.
func (o *rpcOptions) list(ctx context.Context, cmd *cobra.Command, client *kgo.Client) error {
	topics, err := kadm.NewClient(client).ListTopics(ctx)
	if err != nil {
		return kafka.Explain("rpc: listing topics", err)
	}
	services, err := ask(ctx, client, namesOf(topics, rpc.RequestTopic)...)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(cmd.OutOrStdout(), services)
	}
	if len(services) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "duplex: no services: no topic begins with "+strings.TrimSuffix(rpc.RequestTopic("x"), "x"))
		return nil
	}
	for _, s := range services {
		s.warn(cmd)
	}
	return table(cmd.OutOrStdout(), "", func(row func(cells ...any)) {
		row("SERVICE", "STATE", "SERVERS", "PARTITIONS", "LAG")
		for _, s := range services {
			row(s.Service, cmp.Or(s.State, "-"), s.Members, len(s.Partitions), s.Lag)
		}
	})
}

func (s *service) warn(cmd *cobra.Command) {
	if s.Error != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "duplex: service %s: %s\n", s.Service, terminal.Printable(s.Error))
	}
}

// shown is what info shows.
type shown struct {
	Service string   `json:"service"`
	Serves  *service `json:"serves"` // null without a topic of requests
	Calls   *callers `json:"calls"`  // null without a topic of claims
}

// show is the command info.
func (o *rpcOptions) show(ctx context.Context, cmd *cobra.Command, client *kgo.Client, name string) error {
	topics, err := kadm.NewClient(client).ListTopics(ctx, rpc.RequestTopic(name), rpc.ReplyTopic(name), rpc.ClaimTopic(name))
	if err != nil {
		return kafka.Explain("rpc: asking for the topics of "+name, err)
	}
	all := shown{Service: name}
	if topics.Has(rpc.RequestTopic(name)) {
		services, err := ask(ctx, client, name)
		if err != nil {
			return err
		}
		all.Serves = &services[0]
	}
	if topics.Has(rpc.ClaimTopic(name)) {
		if all.Calls, err = o.callers(ctx, client, name, topics[rpc.ReplyTopic(name)]); err != nil {
			return err
		}
	}
	switch {
	case all.Serves == nil && all.Calls == nil:
		return fmt.Errorf("rpc: looking at %s: it neither is served nor calls: there is no topic %s and no topic %s, or no right to see them", name, rpc.RequestTopic(name), rpc.ClaimTopic(name))
	case o.json:
		return printJSON(cmd.OutOrStdout(), all)
	}
	if all.Serves != nil {
		all.Serves.warn(cmd)
		if err := all.Serves.write(cmd.OutOrStdout()); err != nil {
			return err
		}
	}
	if all.Calls != nil {
		return all.Calls.write(cmd.OutOrStdout(), name)
	}
	return nil
}

func (s *service) write(to io.Writer) error {
	fmt.Fprintf(to, "%s is served: group %s, state %s, %d servers, lag %d\n", s.Service, s.Group, cmp.Or(s.State, "not known"), s.Members, s.Lag)
	err := table(to, "  ", func(row func(cells ...any)) {
		row("PARTITION", "COMMITTED", "END", "LAG", "SERVER")
		for _, p := range s.Partitions {
			row(fmt.Sprintf("%s/%d", s.Topic, p.Partition), known(p.Committed), p.End, p.Lag, cmp.Or(terminal.Printable(p.Member), "-"))
		}
	})
	if err != nil || len(s.Servers) == 0 {
		return err
	}
	return table(to, "  ", func(row func(cells ...any)) {
		row("SERVER", "CLIENT", "HOST", "PARTITIONS")
		for _, m := range s.Servers {
			row(terminal.Printable(m.ID), terminal.Printable(m.ClientID), terminal.Printable(m.Host), numbers(m.Partitions))
		}
	})
}

// known is an offset, or - where there is none.
func known(offset int64) string {
	if offset < 0 {
		return "-"
	}
	return strconv.FormatInt(offset, 10)
}

// numbers are partitions with commas.
func numbers(partitions []int32) string {
	if len(partitions) == 0 {
		return "-"
	}
	words := make([]string, len(partitions))
	for i, p := range partitions {
		words[i] = strconv.Itoa(int(p))
	}
	return strings.Join(words, ",")
}

// table writes rows in columns.
func table(to io.Writer, indent string, fill func(row func(cells ...any))) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fill(func(cells ...any) {
		words := make([]string, len(cells))
		for i, c := range cells {
			words[i] = fmt.Sprint(c)
		}
		fmt.Fprintln(w, indent+strings.Join(words, "\t"))
	})
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	return nil
}

func printJSON(to io.Writer, value any) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}
