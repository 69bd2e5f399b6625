package ingest_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/app/ingest"
	"github.com/duplex-go/duplex/internal/command"
)

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for says, args := range map[string][]string{
		"TOPIC is missing":                                    nil,
		"only a-z A-Z 0-9":                                    {"-t", "bad name"},
		"exclude each other":                                  {"-t", "t", "--key", "a", "--key-field", "b"},
		"--key-field needs --format json":                     {"-t", "t", "--key-field", "b", "--format", "lines"},
		"--create -1":                                         {"-t", "t", "--create", "-1"},
		"--timeout 0s: must be at least 1s":                   {"-t", "t", "--timeout", "0"},
		"--linger -1s":                                        {"-t", "t", "--linger", "-1s"},
		"--max-record-bytes 5: must be at least 1024":         {"-t", "t", "--max-record-bytes", "5"},
		`--header "=v": want name=value`:                      {"-t", "t", "-H", "=v"},
		`--header "v": want name=value`:                       {"-t", "t", "-H", "v"},
		"want at most one FILE beside --topic, got 2: a b":    {"-t", "t", "a", "b"},
		"want TOPIC and at most one FILE, got 3: a b c":       {"a", "b", "c"},
		`"settings_test.go" is a file: name the topic before`: {"settings_test.go"},
		"TOPIC is missing: name the topic to publish to, as":  {"-"},
		`no such file or directory (the topic is "t")`:        {"t", "/there/is/nothing/here"},
		"no such file or directory":                           {"-t", "t", "/there/is/nothing/here"},
		"unknown flag: --nonsense":                            {"-t", "t", "--nonsense"},
		"there is no verb in it":                              {"-t", "t", "--format", "jsno"},
		`--format "%Z": want json, lines, or a layout`:        {"-t", "t", "--format", "%Z"},
		`--format "": want json, lines, or a layout`:          {"-t", "t", "--format", ""},
		`--format "%p{3}": want json, lines`:                  {"-t", "t", "--format", "%p{3}"},
		"invalid argument \"soon\" for \"--timeout\"":         {"-t", "t", "--timeout", "soon"},
		"Brokers":            {"-t", "t", "--brokers", "nothing:like:this"},
		`Mechanism = "NONE"`: {"-t", "t", "--sasl-mechanism", "none"},
		"reading --config: open /there/is/nothing/here:": {"-t", "t", "--config", "/there/is/nothing/here"},
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			p := start(t, strings.NewReader(""), nil, args...)
			require.Equal(t, 2, p.Wait(), p.Stderr.String())
			require.Contains(t, p.Stderr.String(), says)
			require.Contains(t, p.Stderr.String(), "Run 'producer --help' for usage.")
			require.True(t, strings.HasPrefix(p.Stderr.String(), "producer: "), p.Stderr.String())
			require.Empty(t, p.Stdout.String())
		})
	}
}

func TestSettingsComeFromFileEnvironmentAndFlags(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	path := filepath.Join(t.TempDir(), "config.yaml")
	text := "topic: nowhere\nbrokers: [" + b.Addrs()[0] + "]\nformat: lines\nheader: [from=file, and=more]\nkey: file\n"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	environ := []string{"DUPLEX_CONFIG=" + path, "DUPLEX_TOPIC=nowhere-either", "DUPLEX_KEY=environment", "DUPLEX_JSON=true", "DUPLEX_TEST_BROKERS=x"}
	p := start(t, strings.NewReader("any\n"), environ, "--topic", "orders")
	require.Zero(t, p.Wait(), p.Stderr.String())
	p.counts(t, 1, 1, 0, 0)
	r := log(t, b, "orders", 1)[0]
	require.Equal(t, "environment", string(r.Key))
	require.Len(t, r.Headers, 2)
	require.Equal(t, "and", r.Headers[1].Key)
}

func TestTopicIsAnArgumentUnlessASettingNamesIt(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	file := filepath.Join(t.TempDir(), "one.ndjson")
	require.NoError(t, os.WriteFile(file, []byte("\"file\"\n"), 0o600))
	for i, run := range []struct {
		environ []string
		args    []string
		want    string
	}{
		{nil, []string{"orders"}, `"input"`},
		{nil, []string{"orders", "-"}, `"input"`},
		{nil, []string{"orders", file}, `"file"`},
		{nil, []string{file, "--topic", "orders"}, `"file"`},
		{[]string{"DUPLEX_TOPIC=orders"}, []string{file}, `"file"`},
		{[]string{"DUPLEX_TOPIC=nowhere"}, []string{"orders", file}, `"file"`},
	} {
		p := start(t, strings.NewReader("\"input\"\n"), append(run.environ, "DUPLEX_BROKERS="+b.Addrs()[0]), run.args...)
		require.Zero(t, p.Wait(), p.Stderr.String())
		require.Equal(t, run.want, string(log(t, b, "orders", i+1)[i].Value), "%q", run.args)
	}
	p := start(t, strings.NewReader(""), []string{"DUPLEX_TOPIC=orders"}, "elsewhere")
	require.Equal(t, 2, p.Wait())
	require.Contains(t, p.Stderr.String(), `open elsewhere: no such file or directory (the topic is "orders")`)
}

func TestUnknownKeyInTheFileIsNamed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte("topic: orders\nbrockers: [a:1]\n"), 0o600))
	p := start(t, strings.NewReader(""), nil, "--config", path)
	require.Equal(t, 2, p.Wait())
	require.Contains(t, p.Stderr.String(), path+`, line 2: unknown key "brockers", did you mean "brokers"?`)
}

func TestPrintConfigMasksSecrets(t *testing.T) {
	t.Parallel()
	environ := []string{"DUPLEX_SASL_PASSWORD=geheim", "DUPLEX_SASL_USERNAME=alice"}
	p := start(t, strings.NewReader(""), environ, "--topic", "orders", "--print-config")
	require.Zero(t, p.Wait(), p.Stderr.String())
	require.Contains(t, p.Stdout.String(), "sasl-password: '***'\n")
	require.Contains(t, p.Stdout.String(), "sasl-username: alice\n")
	require.Contains(t, p.Stdout.String(), "topic: orders\n")
	require.NotContains(t, p.Stdout.String()+p.Stderr.String(), "geheim")
}

func TestHelpNamesEveryFlagAndExitCode(t *testing.T) {
	t.Parallel()
	p := start(t, strings.NewReader(""), nil, "--help")
	require.Zero(t, p.Wait())
	for _, says := range []string{"Exit codes", "130", "DUPLEX_BROKERS", "--skip-invalid", "--key-field", "127.0.0.1:9092"} {
		require.Contains(t, p.Stdout.String(), says)
	}
	require.Empty(t, p.Stderr.String())
}

func TestSummaryThatCannotBeWrittenIsAFailure(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	cmd, err := ingest.Command(nil)
	require.NoError(t, err)
	var stderr bytes.Buffer
	code := command.Run(context.Background(), cmd, command.Process{
		Args: []string{"-t", "orders", "--json", "--brokers", b.Addrs()[0]}, Stdin: strings.NewReader("1\n"), Stdout: failing{}, Stderr: &stderr,
	})
	require.Equal(t, 1, code)
	require.Contains(t, stderr.String(), "writing the summary: the disk is full")
}
