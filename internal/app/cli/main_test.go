package cli_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/app/cli"
	"github.com/duplex-go/duplex/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// duplex runs the program to its end.
func duplex(t *testing.T, environ []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := start(t, environ, args...)
	code = p.Wait()
	return p.Stdout.String(), p.Stderr.String(), code
}

func start(t *testing.T, environ []string, args ...string) *apptest.Program {
	t.Helper()
	return apptest.Start(t, cli.Command, apptest.IO{Environ: environ}, args...)
}

// soon is how long a test waits for what must come.
const soon = 20 * time.Second

// to are arguments with where the broker is.
func to(b *broker.Broker, args ...string) []string {
	return append(args, "--brokers", strings.Join(b.Addrs(), ","))
}

// call calls, with a deadline that no test comes to by chance.
func call(t *testing.T, b *broker.Broker, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return duplex(t, nil, to(b, append([]string{"call", "--timeout", "20s"}, args...)...)...)
}

// handle has a program of its own serve one method.
func handle(t *testing.T, b *broker.Broker, handlers ...rpc.Handler) {
	t.Helper()
	s, err := rpc.NewServer(rpc.ServerConfig{Cluster: b.Cluster(), Handlers: handlers})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestUsageIsExplained(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nothing":               {nil, 0, "Available Commands"},
		"help":                  {[]string{"demo", "--help"}, 0, "2,000 departures"},
		"unknown command":       {[]string{"dmeo"}, 2, `unknown command "dmeo" for "duplex", did you mean "demo"?`},
		"and its flags":         {[]string{"dmeo", "--rate", "1"}, 2, `unknown command "dmeo" for "duplex", did you mean "demo"?`},
		"unlike any command":    {[]string{"xyz"}, 2, "unknown command \"xyz\" for \"duplex\"\n"},
		"unknown flag":          {[]string{"demo", "--speed", "9"}, 2, "unknown flag: --speed\n"},
		"nearly a flag":         {[]string{"demo", "--brokres", "9"}, 2, `unknown flag: --brokres, did you mean "--brokers"?`},
		"rate of nothing":       {[]string{"demo", "--rate", "0"}, 2, "--rate 0: must be positive"},
		"no such input":         {[]string{"demo", "--input", "/nowhere/x"}, 2, "--input: open /nowhere/x"},
		"not an address":        {[]string{"demo", "--brokers", "nonsense"}, 2, "want host:port"},
		"nothing to compare":    {[]string{"compare", "--records", "0"}, 2, "--records 0: want 1 to 20000"},
		"too much to compare":   {[]string{"compare", "--records", "20001"}, 2, "--records 20001"},
		"two outputs":           {[]string{"compare", "--json", "--markdown"}, 2, "--markdown: not with --json"},
		"other machines":        {[]string{"broker", "--listen", "0.0.0.0:0"}, 2, "loopback"},
		"no address":            {[]string{"broker", "--listen", ""}, 2, "--listen is empty"},
		"no number of topics":   {[]string{"broker", "--topic", "orders:many"}, 2, `"many" is not a number of partitions`},
		"no arguments":          {[]string{"call"}, 2, "want SERVICE METHOD, got 0 arguments"},
		"no method":             {[]string{"call", "fares"}, 2, `want SERVICE METHOD, got 1 arguments: ["fares"]`},
		"an empty method":       {[]string{"call", "fares", ""}, 2, "METHOD is empty"},
		"a method with a slash": {[]string{"call", "fares", "a/b"}, 2, `METHOD "a/b": want 1 to 256 characters and no slash`},
		"a long method":         {[]string{"call", "fares", strings.Repeat("x", 257)}, 2, "want 1 to 256 characters"},
		"no service's name":     {[]string{"call", "fa res", "Quote"}, 2, `SERVICE: service "fa res" cannot be part of a topic's name`},
		"a dot at its end":      {[]string{"call", "fares.", "Quote"}, 2, "begins or ends with a dot"},
		"no time":               {[]string{"call", "fares", "Quote", "--timeout", "0s"}, 2, "--timeout 0s: want more than 0 and at most 24h"},
		"too much of it":        {[]string{"call", "fares", "Quote", "--timeout", "25h"}, 2, "--timeout 25h0m0s"},
		"an empty key":          {[]string{"call", "fares", "Quote", "--key", ""}, 2, "--key is empty"},
		"no header":             {[]string{"call", "fares", "Quote", "--header", "x"}, 2, `--header "x": want name=value`},
		"a header of calls":     {[]string{"call", "fares", "Quote", "--header", "rpc-deadline=1"}, 2, `--header "rpc-deadline=1": names that begin with rpc- or kafka_`},
		"a message that waits":  {[]string{"call", "fares", "Quote", "--one-way", "--wait"}, 2, "--wait: not with --one-way"},
		"a file that is not":    {[]string{"call", "fares", "Quote", "--data", "@/nowhere/x"}, 2, "--data: open /nowhere/x"},
		"a folder":              {[]string{"call", "fares", "Quote", "--data", "@/"}, 2, "--data: reading /: "},
		"an endless file":       {[]string{"call", "fares", "Quote", "--data", "@/dev/zero"}, 2, "--data: /dev/zero has more than 67108864 bytes"},
		"nobody who calls":      {[]string{"call", "fares", "Quote", "--as", ""}, 2, "--as is empty"},
		"nothing to run":        {[]string{"serve", "fares"}, 2, "--exec is missing"},
		"nothing but spaces":    {[]string{"serve", "fares", "--exec", "  "}, 2, `--exec "  ": want a command that sh -c can run`},
		"nothing at once":       {[]string{"serve", "fares", "--exec", "cat", "--concurrency", "0"}, 2, "--concurrency 0: must be at least 1"},
		"too much at once":      {[]string{"serve", "fares", "--exec", "cat", "--concurrency", "100001"}, 2, "Concurrency = 100001: want 1 to 100000"},
		"no partitions":         {[]string{"serve", "fares", "--exec", "cat", "--partitions", "0"}, 2, "--partitions 0: must be at least 1"},
		"no session":            {[]string{"serve", "fares", "--exec", "cat", "--session-timeout", "0s"}, 2, "must be positive"},
		"nothing of calls":      {[]string{"rpc"}, 0, "Available Commands"},
		"unknown among calls":   {[]string{"rpc", "sl"}, 2, `unknown command "sl" for "duplex rpc", did you mean "ls"?`},
		"flags of what is not":  {[]string{"rpc", "inf", "fares", "--json"}, 2, `unknown command "inf" for "duplex rpc", did you mean "info"?`},
		"info about nobody":     {[]string{"rpc", "info"}, 2, "want SERVICE"},
		"info, no service":      {[]string{"rpc", "info", "a/b"}, 2, "cannot be part of a topic's name"},
		"no time to list":       {[]string{"rpc", "ls", "--timeout", "0s"}, 2, "--timeout 0s: must be positive"},
		"no such role":          {[]string{"rpc", "acl", "fares", "--role", "both"}, 2, `--role "both": want server or client`},
		"nearly a role":         {[]string{"rpc", "acl", "fares", "--role", "sever"}, 2, `--role "sever": want server or client, did you mean "server"?`},
		"a server that calls":   {[]string{"rpc", "acl", "fares", "--calls", "x"}, 2, "--calls: only with --role client"},
		"a client that doesn't": {[]string{"rpc", "acl", "fares", "--role", "client"}, 2, "--calls is missing"},
		"it calls no service":   {[]string{"rpc", "acl", "fares", "--role", "client", "--calls", "a/b"}, 2, "--calls: service"},
		"no principal":          {[]string{"rpc", "acl", "fares", "--principal", "fares"}, 2, `--principal "fares": want type:name, such as User:fares`},
		"a name no topic bears": {[]string{"broker", "--topic", "or/ders"}, 2, "only a-z A-Z 0-9 . _ - are allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := duplex(t, nil, test.args...)
			require.Equal(t, test.code, code, stderr)
			require.Contains(t, stdout+stderr, test.says)
		})
	}
}
