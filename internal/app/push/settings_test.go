package push_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
)

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	good := []string{"-t", "t", "-g", "g"}
	for says, args := range map[string][]string{
		"TOPIC is missing":                            {"-g", "g"},
		"--group is missing":                          {"-t", "t"},
		"only a-z A-Z 0-9":                            {"-t", "bad name", "-g", "g"},
		"--limit -1: must not be negative":            append(good, "--limit", "-1"),
		`--from "yesterday": want start, end, or`:     append(good, "--from", "yesterday"),
		"before 1970":                                 append(good, "--from", "1900-01-01T00:00:00Z"),
		"--drain-timeout 0s: must be positive":        append(good, "--drain-timeout", "0"),
		"--commit-interval -1s: must be positive":     append(good, "--commit-interval", "-1s"),
		"--start-timeout 0s: must be positive":        append(good, "--start-timeout", "0"),
		"--session-timeout 0s: must be positive":      append(good, "--session-timeout", "0"),
		"there is no verb in it":                      append(good, "-o", "jsno"),
		`--output "": want json, lines, or`:           append(good, "-o", ""),
		`--output "%Z": want json, lines, or`:         append(good, "-o", "%Z"),
		`TOPIC: duplex: checking topic name "a,b"`:    {"a,b", "-g", "g"},
		`TOPIC: duplex: checking topic name ""`:       append(good, ""),
		`--exec "  ": want a command that sh -c`:      append(good, "--exec", "  "),
		"--exec is empty: want a command":             append(good, "--exec", ""),
		"--output lines: not with --exec":             append(good, "--exec", "cat", "--output", "lines"),
		`--order "keys": want key, none, partition`:   append(good, "--exec", "cat", "--order", "keys"),
		"--concurrency 0: must be at least 1":         append(good, "--exec", "cat", "--concurrency", "0"),
		"Concurrency = 100001: want 1 to 100000":      append(good, "--exec", "cat", "--concurrency", "100001"),
		`--protocol "848": want classic, kip848`:      append(good, "--protocol", "848"),
		"--handler-timeout -1s: must not be negative": append(good, "--exec", "cat", "--handler-timeout", "-1s"),
		"--retry-min 2s, --retry-max 1s: want 0 <":    append(good, "--exec", "cat", "--retry-min", "2s", "--retry-max", "1s"),
		"--concurrency: only with --exec: without it": append(good, "--concurrency", "8"),
		"--order: only with --exec":                   append(good, "--order", "none"),
		"--handler-timeout: only with --exec":         append(good, "--handler-timeout", "1s"),
		"--retry-max: only with --exec":               append(good, "--retry-max", "1s"),
		`--admin ":9090": is not on the loopback`:     append(good, "--admin", ":9090"),
		`--admin "9090": want host:port`:              append(good, "--admin", "9090", "--admin-insecure"),
		"--dlq: only with --exec":                     append(good, "--dlq"),
		"--retry: only with --dlq":                    append(good, "--exec", "cat", "--retry", "5s"),
		"--keep-order: only with --dlq":               append(good, "--exec", "cat", "--keep-order"),
		"--max-attempts: only with --dlq":             append(good, "--exec", "cat", "--max-attempts", "3"),
		"--retry-min: not with --dlq":                 append(good, "--exec", "cat", "--dlq", "--retry-min", "3s"),
		"Delays[0] = -5s: want more than 0":           append(good, "--exec", "cat", "--dlq", "--retry", "-5s"),
		"want them in rising order":                   append(good, "--exec", "cat", "--dlq", "--retry", "1m,5s"),
		"MaxAttempts = -1: must not be negative":      append(good, "--exec", "cat", "--dlq", "--max-attempts", "-1"),
		"--admin-insecure: only with --admin":         append(good, "--admin-insecure"),
		"unknown flag: --nonsense":                    append(good, "--nonsense"),
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			p := start(t, nil, nil, args...)
			require.Equal(t, 2, p.Wait(), p.Stderr.String())
			require.Contains(t, p.Stderr.String(), says)
			require.Contains(t, p.Stderr.String(), "Run 'consumer --help' for usage.")
			require.True(t, strings.HasPrefix(p.Stderr.String(), "consumer: "), p.Stderr.String())
			require.Empty(t, p.Stdout.String())
		})
	}
}

func TestSettingsComeFromFileEnvironmentAndFlags(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "a"}, broker.Topic{Name: "b"})
	publish(t, b, numbered("a", 1, 1)[0], numbered("b", 1, 1)[0])
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte("topic: [a, b]\ngroup: file\noutput: lines\nlimit: 7\n"), 0o600))
	environ := []string{"DUPLEX_BROKERS=" + b.Addrs()[0], "DUPLEX_GROUP=environment", "DUPLEX_OUTPUT=json", "DUPLEX_UNTIL_END=true"}
	p := start(t, nil, environ, "--config", path, "--output", `%t %v\n`)
	require.Zero(t, p.Wait(), p.Stderr.String())
	require.ElementsMatch(t, []string{"a 0", "b 0"}, p.Stdout.Lines())
	require.NotNil(t, b.Kfake().GroupInfo("environment"))
}

func TestTopicsAreArgumentsBesideTheFlag(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "a"}, broker.Topic{Name: "b"}, broker.Topic{Name: "c"})
	publish(t, b, numbered("a", 1, 1)[0], numbered("b", 1, 1)[0], numbered("c", 1, 1)[0])
	for group, run := range map[string]struct{ args, want []string }{
		"one":    {[]string{"a"}, []string{"a 0"}},
		"two":    {[]string{"a", "b"}, []string{"a 0", "b 0"}},
		"beside": {[]string{"a", "--topic", "b"}, []string{"a 0", "b 0"}},
		"none":   {nil, []string{"c 0"}},
	} {
		environ := []string{"DUPLEX_TOPIC=c", "DUPLEX_BROKERS=" + b.Addrs()[0]}
		p := start(t, nil, environ, append(run.args, "-g", group, "--until-end", "--output", `%t %v\n`)...)
		require.Zero(t, p.Wait(), p.Stderr.String())
		require.ElementsMatch(t, run.want, p.Stdout.Lines(), group)
	}
}

func TestUnknownKeyInTheFileIsNamed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte("topic: orders\n\ngruop: g\n"), 0o600))
	p := start(t, nil, nil, "--config", path)
	require.Equal(t, 2, p.Wait())
	require.Contains(t, p.Stderr.String(), path+`, line 3: unknown key "gruop", did you mean "group"?`)
}

func TestPrintConfigMasksSecrets(t *testing.T) {
	t.Parallel()
	p := start(t, nil, []string{"DUPLEX_GROUP=g"}, "-t", "a,b", "--sasl-password", "geheim", "--print-config")
	require.Zero(t, p.Wait(), p.Stderr.String())
	require.Contains(t, p.Stdout.String(), "sasl-password: '***'\n")
	require.Contains(t, p.Stdout.String(), "topic:\n    - a\n    - b\n")
	require.Contains(t, p.Stdout.String(), "group: g\n")
	require.NotContains(t, p.Stdout.String()+p.Stderr.String(), "geheim")
}

func TestVerboseTellsWhatHappensInTheGroup(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	p := start(t, nil, nil, to(b, "-t", "orders", "-g", "g", "--until-end", "-v")...)
	require.Zero(t, p.Wait(), p.Stderr.String())
	require.Contains(t, p.Stderr.String(), "stopping")
	require.Empty(t, p.Stdout.String())
}

func TestHelpNamesWhatMatters(t *testing.T) {
	t.Parallel()
	p := start(t, nil, nil, "--help")
	require.Zero(t, p.Wait())
	for _, says := range []string{"Exit codes", "130", "DUPLEX_BROKERS", "key_b64", "--until-end", "--limit", "--exec", "KAFKA_HEADER_<NAME>_B64", "SIGKILL", "127.0.0.1:9092"} {
		require.Contains(t, p.Stdout.String(), says)
	}
	require.Empty(t, p.Stderr.String())
}
