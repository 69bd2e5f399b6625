package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/rpc"
)

const aclLong = `acl prints the least rights that SERVICE needs, as commands of Kafka's kafka-acls.sh. It
asks no cluster.

  --role server  reads rpc.requests.<service> in the group rpc.<service>, and writes to topics
                 that begin with rpc.replies., of whichever service calls
  --role client  writes to rpc.requests.<service> of those it calls (--calls) and looks whether
                 their groups have members, reads rpc.replies.<service>, and reads and writes
                 rpc.claims.<service>

A service that does both needs both. CREATE lets it make its own topics; leave it away with
--create=false where somebody else makes them. A client may do without DESCRIBE on groups:
then it does not know that nobody serves, and waits. The right IDEMPOTENT_WRITE is not
needed since Kafka 2.8. A server whose Failures are a dlq.Policy needs more: to read, write
and make the topics of that.

Exit codes: 0 printed, 2 usage.`

const aclExamples = `  duplex rpc acl fares --principal User:fares
  duplex rpc acl desk --role client --calls fares,seats --principal User:desk
  duplex rpc acl fares --json | jq -r '.[] | .operation + " " + .name'`

const (
	roleServer = "server"
	roleClient = "client"
)

type aclOptions struct {
	role, principal string
	calls, brokers  []string
	create, json    bool
}

func aclCommand(environ []string) (*cobra.Command, error) {
	o := &aclOptions{}
	cmd := &cobra.Command{
		Use: "acl SERVICE", Short: "Print the least rights that a service needs", Long: aclLong, Example: aclExamples, Args: wants("SERVICE"),
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.role, "role", roleServer, "what the service does: server or client")
	flags.StringSliceVar(&o.calls, "calls", nil, "with --role client: the `services` it calls; several with commas")
	flags.StringVar(&o.principal, "principal", "", "who gets the rights, such as `User:fares` (default: User: and the service)")
	flags.BoolVar(&o.create, "create", true, "with the right to make its topics")
	flags.BoolVar(&o.json, "json", false, "print a JSON array with an object for each right")
	flags.StringSliceVar(&o.brokers, "brokers", []string{config.DefaultBroker}, "`host:port` of brokers for the commands; several with commas")
	config.AddFlags(flags)
	cmd.RunE = command.Body(environ, func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) })
	err := cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{roleServer, roleClient}, cobra.ShellCompDirectiveNoFileComp))
	return cmd, err
}

// right lets a principal do something with a resource.
type right struct {
	Principal string `json:"principal"`
	Resource  string `json:"resource"` // topic or group
	Name      string `json:"name"`
	Pattern   string `json:"pattern"` // literal or prefixed
	Operation string `json:"operation"`
}

// The words of kafka-acls.sh.
const (
	onTopic, onGroup    = "topic", "group"
	literal, prefixed   = "literal", "prefixed"
	opRead, opWrite     = "Read", "Write"
	opDescribe, opCreat = "Describe", "Create"
)

// rights of one resource.
func rights(resource, name, pattern string, operations ...string) []right {
	all := make([]right, len(operations))
	for i, op := range operations {
		all[i] = right{Resource: resource, Name: name, Pattern: pattern, Operation: op}
	}
	return all
}

// server is what a server needs.
func serverRights(service string, create []string) []right {
	return slices.Concat(
		rights(onTopic, rpc.RequestTopic(service), literal, append([]string{opRead, opDescribe}, create...)...),
		rights(onGroup, rpc.Group(service), literal, opRead),
		rights(onTopic, strings.TrimSuffix(rpc.ReplyTopic("x"), "x"), prefixed, opWrite, opDescribe),
	)
}

// clientRights are what a client needs.
func clientRights(service string, calls, create []string) []right {
	all := slices.Concat(
		rights(onTopic, rpc.ReplyTopic(service), literal, append([]string{opRead, opDescribe}, create...)...),
		rights(onTopic, rpc.ClaimTopic(service), literal, append([]string{opRead, opWrite, opDescribe}, create...)...),
	)
	for _, called := range calls {
		all = slices.Concat(all,
			rights(onTopic, rpc.RequestTopic(called), literal, opWrite, opDescribe),
			rights(onGroup, rpc.Group(called), literal, opDescribe),
		)
	}
	return all
}

func (o *aclOptions) validate(service string) error {
	errs := []error{checkService("SERVICE", service), command.OneOf("--role", o.role, roleServer, roleClient)}
	switch {
	case o.role == roleServer && len(o.calls) > 0:
		errs = append(errs, errors.New("--calls: only with --role client"))
	case o.role == roleClient && len(o.calls) == 0:
		errs = append(errs, errors.New("--calls is missing: name the services that it calls"))
	}
	for _, called := range o.calls {
		errs = append(errs, checkService("--calls", called))
	}
	if kind, name, ok := strings.Cut(o.principal, ":"); o.principal != "" && (!ok || kind == "" || name == "" || strings.ContainsAny(o.principal, "\x00\r\n")) {
		errs = append(errs, fmt.Errorf("--principal %q: want type:name, such as User:%s", o.principal, service))
	}
	return errors.Join(errs...)
}

// run is the command, once its settings are loaded.
func (o *aclOptions) run(cmd *cobra.Command, service string) error {
	if err := o.validate(service); err != nil {
		return command.UsageError(err)
	}
	var create []string
	if o.create {
		create = []string{opCreat}
	}
	all := serverRights(service, create)
	if o.role == roleClient {
		all = clientRights(service, o.calls, create)
	}
	for i := range all {
		all[i].Principal = cmp.Or(o.principal, "User:"+service)
	}
	if o.json {
		return printJSON(cmd.OutOrStdout(), all)
	}
	return o.write(cmd.OutOrStdout(), all)
}

// print writes a command for each resource.
func (o *aclOptions) write(to io.Writer, all []right) error {
	var b strings.Builder
	for i := 0; i < len(all); {
		r := all[i]
		fmt.Fprintf(&b, "kafka-acls.sh --bootstrap-server %s --add --allow-principal %s", quoted(strings.Join(o.brokers, ",")), quoted(r.Principal))
		for ; i < len(all) && all[i].Resource == r.Resource && all[i].Name == r.Name; i++ {
			b.WriteString(" --operation " + all[i].Operation)
		}
		b.WriteString(" --" + r.Resource + " " + quoted(r.Name))
		if r.Pattern == prefixed {
			b.WriteString(" --resource-pattern-type prefixed")
		}
		b.WriteByte('\n')
	}
	if _, err := io.WriteString(to, b.String()); err != nil {
		return fmt.Errorf("rpc acl: writing the commands: %w", err)
	}
	return nil
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.,:/=@+"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
