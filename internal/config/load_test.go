package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/internal/config"
)

// program is the flags of a command, of every kind that commands have.
type program struct {
	*pflag.FlagSet

	topic   string
	brokers []string
	timeout time.Duration
	batch   int
	dry     bool
	secret  string
}

func newProgram(t *testing.T) *program {
	t.Helper()
	p := &program{FlagSet: pflag.NewFlagSet("program", pflag.ContinueOnError)}
	config.AddFlags(p.FlagSet)
	p.StringVar(&p.topic, "topic", "default-topic", "")
	p.StringSliceVar(&p.brokers, "brokers", []string{"127.0.0.1:9092"}, "")
	p.DurationVar(&p.timeout, "timeout", time.Second, "")
	p.IntVar(&p.batch, "max-batch", 100, "")
	p.BoolVar(&p.dry, "dry-run", false, "")
	p.StringVar(&p.secret, "sasl-password", "", "")
	require.NoError(t, config.MarkSecret(p.FlagSet, "sasl-password"))
	return p
}

// load runs the program with the file, the environment and the arguments.
func load(t *testing.T, yaml string, environ []string, args ...string) (*program, string, error) {
	t.Helper()
	p, path := newProgram(t), filepath.Join(t.TempDir(), "program.yaml")
	require.NoError(t, os.WriteFile(path, []byte(yaml), 0o600))
	require.NoError(t, p.Parse(append([]string{"--config", path}, args...)))
	return p, path, config.Load(p.FlagSet, environ)
}

func TestFileThenEnvironmentThenCommandLine(t *testing.T) {
	t.Parallel()
	const file = "topic: file"
	env := []string{"DUPLEX_TOPIC=env", "OTHER_TOPIC=other", "PATH=/bin"}
	for _, c := range []struct {
		file string
		env  []string
		args []string
		want string
	}{
		{"", nil, nil, "default-topic"},
		{file, nil, nil, "file"},
		{"", env, nil, "env"},
		{file, env, nil, "env"},
		{file, env, []string{"--topic", "flag"}, "flag"},
		{"", nil, []string{"--topic", "flag"}, "flag"},
		{file, env, []string{"--topic", "default-topic"}, "default-topic"},
		{file, []string{"DUPLEX_TOPIC="}, nil, ""},
	} {
		p, _, err := load(t, c.file, c.env, c.args...)
		require.NoError(t, err)
		require.Equal(t, c.want, p.topic, "%+v", c)
	}
}

func TestEachSettingComesFromWhereItIsSet(t *testing.T) {
	t.Parallel()
	p, _, err := load(t, "topic: file\ntimeout: 2m\nmax-batch: 7\n", []string{"DUPLEX_MAX_BATCH=8"}, "--timeout=3m")
	require.NoError(t, err)
	require.Equal(t, "file", p.topic)
	require.Equal(t, 8, p.batch)
	require.Equal(t, 3*time.Minute, p.timeout)
}

func TestEveryKindOfValue(t *testing.T) {
	t.Parallel()
	want := newProgram(t)
	want.topic, want.brokers, want.timeout, want.batch, want.dry, want.secret = "orders", []string{"a:1", "b:2"}, 90*time.Second, 7, true, "hunter2"
	inFile := "topic: orders\nbrokers: [\"a:1\", \"b:2\"]\ntimeout: 90s\nmax-batch: 7\ndry-run: true\nsasl-password: hunter2\n"
	asText := "topic: 'orders'\nbrokers: a:1,b:2\ntimeout: '1m30s'\nmax-batch: '7'\ndry-run: 'true'\nsasl-password: hunter2\n"
	environ := []string{
		"DUPLEX_TOPIC=orders", "DUPLEX_BROKERS=a:1,b:2", "DUPLEX_TIMEOUT=90s", "DUPLEX_MAX_BATCH=7", "DUPLEX_DRY_RUN=true", "DUPLEX_SASL_PASSWORD=hunter2",
	}
	for name, c := range map[string]struct {
		file    string
		environ []string
	}{
		"file": {inFile, nil}, "file, all as text": {asText, nil}, "environment": {"", environ},
	} {
		have, _, err := load(t, c.file, c.environ)
		require.NoError(t, err, name)
		have.FlagSet = want.FlagSet
		require.Equal(t, want, have, name)
	}
}

func TestListsReplaceTheDefault(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"brokers: [one:1]", "brokers:\n- one:1\n", "brokers: one:1"} {
		p, _, err := load(t, file, nil)
		require.NoError(t, err)
		require.Equal(t, []string{"one:1"}, p.brokers, file)
	}
	p, _, err := load(t, "brokers: [file:1, file:2]", []string{"DUPLEX_BROKERS=env:1"})
	require.NoError(t, err)
	require.Equal(t, []string{"env:1"}, p.brokers, "nothing is left of the lighter one")
}

func TestFileFromTheEnvironment(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program.yaml")
	require.NoError(t, os.WriteFile(path, []byte("topic: file"), 0o600))
	p := newProgram(t)
	require.NoError(t, config.Load(p.FlagSet, []string{"DUPLEX_CONFIG=" + path}))
	require.Equal(t, "file", p.topic)
}

func TestFileThatIsNotThere(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	require.NoError(t, p.Parse([]string{"--config", "missing.yaml"}))
	err := config.Load(p.FlagSet, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "config: reading --config: open missing.yaml")
}

func TestUnknownKeys(t *testing.T) {
	t.Parallel()
	_, path, err := load(t, "# settings\n\ntopic: orders\ntopik: bills\n\"timeouts\": 5s\nunlike-any: 1\nhelp: true\nconfig: other.yaml\nprint-config: true\n", nil)
	for _, want := range []string{
		", line 4: unknown key \"topik\", did you mean \"topic\"?",
		", line 5: unknown key \"timeouts\", did you mean \"timeout\"?",
		", line 6: unknown key \"unlike-any\"",
		", line 7: unknown key \"help\"",
		", line 8: unknown key \"config\"",
		", line 9: unknown key \"print-config\"",
	} {
		require.ErrorContains(t, err, "config: reading "+path+want)
	}
	require.Len(t, strings.Split(err.Error(), "\n"), 6, "each of them, and nothing else")
}

func TestWrongTypes(t *testing.T) {
	t.Parallel()
	_, path, err := load(t, "topic: orders\nmax-batch: many\ntimeout: 5\ndry-run: maybe\n", nil)
	require.ErrorContains(t, err, "config: reading "+path+", line 2: max-batch: ")
	require.ErrorContains(t, err, "config: reading "+path+", line 3: timeout: ")
	require.ErrorContains(t, err, "config: reading "+path+", line 4: dry-run: ")

	_, _, err = load(t, "", []string{"DUPLEX_MAX_BATCH=many", "DUPLEX_TIMEOUT=5 s"})
	require.ErrorContains(t, err, "config: reading DUPLEX_MAX_BATCH: ")
	require.ErrorContains(t, err, "config: reading DUPLEX_TIMEOUT: ")

	for file, want := range map[string]string{
		"topic: [a, b]":           ", line 1: topic: want one value, got a list of 2",
		"topic: {name: a}":        ", line 1: topic: want one value, got a mapping",
		"brokers: {a: 1}":         ", line 1: unknown key",
		"topic:":                  ", line 1: topic: is empty",
		"topic: ~":                ", line 1: topic: is empty",
		"sasl:\n  password: abc":  ", line 1: unknown key",
		"timeout: 5s\ntimeout: 6": "mapping key \"timeout\" already defined",
		"- topic":                 "cannot unmarshal",
		"topic: [":                "line 1",
		"topic: \"":               "yaml: found unexpected end of stream",
		"\ttopic: x":              "cannot start any token",
		"just text":               "cannot unmarshal",
		"\x00\x01\x02":            "control characters",
		"topic: \xff":             "UTF-8",
		"{topic: a, topik: b}":    "unknown key \"topik\"",
	} {
		_, path, err := load(t, file, nil)
		require.ErrorContains(t, err, "config: reading "+path, "%q", file)
		require.ErrorContains(t, err, want, "%q", file)
	}
}

func TestSecretsAreNotInErrors(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"sasl-password: [hunter2]", "sasl-password: {hunter2: x}", "sasl-password: {x: hunter2}"} {
		_, _, err := load(t, file, nil)
		require.Error(t, err)
		if file != "sasl-password: {hunter2: x}" { // there it is a key
			require.NotContains(t, err.Error(), "hunter2", file)
		}
	}
}

func TestFilesThatSayNothing(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"", "\n\n", "# nothing yet\n", "---\n", "{}\n"} {
		p, _, err := load(t, file, nil)
		require.NoError(t, err, "%q", file)
		require.Equal(t, "default-topic", p.topic)
	}
}

func TestOddlyWrittenFiles(t *testing.T) {
	t.Parallel()
	for _, file := range []string{
		"\ufefftopic: orders", "topic: orders\r\nmax-batch: 7\r\n", "---\ntopic: orders\n...\n", "'topic' : orders", "{topic: orders}",
		"x-y: &name orders\ntopic: *name", "topic: >-\n  orders\n", "topic: !!str orders",
	} {
		p, _, err := load(t, file, nil)
		if strings.HasPrefix(file, "x-y") {
			require.ErrorContains(t, err, `line 1: unknown key "x-y"`)
		} else {
			require.NoError(t, err, "%q", file)
		}
		require.Equal(t, "orders", p.topic, "%q", file)
	}
}

func TestHostileFiles(t *testing.T) {
	t.Parallel()
	var bomb strings.Builder // each line is nine of the line before
	bomb.WriteString("a0: &a0 x\n")
	for i := range 12 {
		last := string(rune('a' + i))
		next := string(rune('b' + i))
		if i == 0 {
			last = "a0"
		}
		bomb.WriteString(next + ": &" + next + " [" + strings.Repeat("*"+last+",", 8) + "*" + last + "]\n")
	}
	for name, file := range map[string]string{
		"aliases that grow": bomb.String(),
		"depth":             "topic: " + strings.Repeat("[", 200_000),
		"one long key":      strings.Repeat("k", 64<<10) + ": 1",
		"one long value":    "max-batch: " + strings.Repeat("9", 1<<20),
		"a long list":       "topic: [" + strings.Repeat("x,", 100_000) + "x]",
		"many keys":         strings.Repeat("k", 10) + strings.Repeat("\n", 1<<20) + "x",
	} {
		begin := time.Now()
		_, _, err := load(t, file, nil)
		require.Error(t, err, name)
		require.Less(t, time.Since(begin), 20*time.Second, name)
	}
}
