package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/app/cli"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
)

// commandsOf are those that can be run, by what one types.
func commandsOf(cmd *cobra.Command) map[string]*cobra.Command {
	all := map[string]*cobra.Command{}
	for _, c := range cmd.Commands() {
		for name, below := range commandsOf(c) {
			all[name] = below
		}
		if !c.HasSubCommands() {
			all[strings.TrimPrefix(c.CommandPath(), "duplex ")] = c
		}
	}
	return all
}

// Whoever adds a command that can reach a cluster says here whether it writes: either it
// only reads, or, told to be read-only, it ends before it dials.
func TestReadOnlyRefusesEveryCommandThatWrites(t *testing.T) {
	t.Parallel()
	root, err := cli.Command(nil)
	require.NoError(t, err)
	reads := map[string]bool{
		"rpc ls": true, "rpc info": true,
		"group ls": true, "group describe": true, "group lag": true,
		"topics check": true,
		"dlq ls":       true, "dlq groups": true, "dlq show": true, "dlq tail": true, "dlq export": true, "dlq doctor": true,
		"redrive plan": true, "redrive status": true, "redrive history": true,
		"check lag": true, "check dlq": true,
		"doctor": true,
	}
	writes := map[string]string{
		"demo": "", "compare": "", "pub": "orders", "sub": "orders -g audit", "call": "fares Quote", "serve": "fares --exec cat",
		"group seek": "billing --topic orders --to end", "topics ensure": "orders",
		"dlq discard": "dlq.a.b --reason x", "dlq restore": "dlq.a.b", "dlq trim": "dlq.a.b", "redrive run": "dlq.a.b", "redrive apply": "plan.json",
		"redrive pause": "dlq.a.b", "redrive resume": "dlq.a.b", "redrive cancel": "dlq.a.b",
	}
	for name, cmd := range commandsOf(root) {
		if cmd.Flags().Lookup(config.ReadOnlyFlag) == nil || strings.HasPrefix(name, "profile ") {
			require.NotContains(t, writes, name)
			continue
		}
		args, writing := writes[name]
		require.NotEqual(t, reads[name], writing, "does duplex %s write? Say so in this test", name)
		if !writing {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := append(strings.Fields(name+" "+args), "--brokers", apptest.Silence(t))
			_, stderr, code := duplex(t, []string{"DUPLEX_READ_ONLY=1"}, line...)
			require.Equal(t, command.Refused, code, stderr)
			require.Contains(t, stderr, "refused: read-only, says DUPLEX_READ_ONLY (nothing was sent; ")
		})
	}
}

// inProfiles runs the program with a file of profiles.
func inProfiles(t *testing.T, path string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return duplex(t, []string{"DUPLEX_PROFILES_FILE=" + path}, args...)
}

func TestProfilesAreKept(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "rpc.requests.fares"})
	path := filepath.Join(t.TempDir(), "sub", "profiles.yaml")
	stdout, stderr, code := inProfiles(t, path, "profile", "ls")
	require.Equal(t, command.OK, code, stderr)
	require.Empty(t, stdout)
	require.Equal(t, "duplex: no profiles in "+path+": make one with duplex profile set\n", stderr)

	_, stderr, code = inProfiles(t, path, "profile", "set", "here", "--brokers", strings.Join(b.Addrs(), ","), "--read-only")
	require.Equal(t, command.OK, code, stderr)
	require.Equal(t, "duplex: stored profile here ("+path+")\n", stderr)
	_, stderr, code = inProfiles(t, path, "profile", "set", "there", "--brokers", "a:1,b:2", "--tls", "--allow", "redrive.*", "--sasl-password", "hunter2", "--sasl-username", "ann")
	require.Equal(t, command.OK, code, stderr)

	stdout, _, _ = inProfiles(t, path, "rpc", "ls", "-C", "here")
	require.Contains(t, stdout, "fares")
	_, stderr, code = inProfiles(t, path, "call", "-C", "here", "fares", "Quote")
	require.Equal(t, command.Refused, code)
	require.Contains(t, stderr, "read-only, says "+path)
	_, _, code = inProfiles(t, path, "profile", "use", "here")
	require.Equal(t, command.OK, code)
	stdout, _, _ = inProfiles(t, path, "rpc", "ls")
	require.Contains(t, stdout, "fares")

	stdout, _, code = inProfiles(t, path, "profile", "ls")
	require.Equal(t, command.OK, code)
	require.Equal(t, [][]string{
		{"CURRENT", "NAME", "BROKERS", "READ-ONLY", "ALLOW"},
		{"*", "here", strings.Join(b.Addrs(), ","), "true", "-"},
		{"-", "there", "a:1,b:2", "-", "redrive.*"},
	}, rows(stdout))
	stdout, _, _ = inProfiles(t, path, "profile", "ls", "--json")
	var all []struct {
		Name     string
		Current  bool
		Settings map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &all))
	require.True(t, all[0].Current)
	require.Equal(t, "***", all[1].Settings["sasl-password"])

	stdout, _, _ = inProfiles(t, path, "profile", "show", "there")
	require.Equal(t, "allow:\n    - redrive.*\nbrokers:\n    - a:1\n    - b:2\nsasl-password: '***'\nsasl-username: ann\ntls: true\n", stdout)
	stdout, _, _ = inProfiles(t, path, "profile", "show", "--json")
	require.Contains(t, stdout, `"read-only": true`)

	_, _, code = inProfiles(t, path, "profile", "set", "there", "--unset", "tls,allow", "--read-only=false")
	require.Equal(t, command.OK, code)
	stdout, _, _ = inProfiles(t, path, "profile", "show", "there")
	require.NotContains(t, stdout, "tls")
	require.NotContains(t, stdout, "allow")
	require.Contains(t, stdout, "read-only: false")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), "hunter2", "what is not named stays")

	_, stderr, _ = inProfiles(t, path, "profile", "rm", "here")
	require.Contains(t, stderr, "removed profile here, the current one: none is used now")
	_, _, code = inProfiles(t, path, "profile", "use", "there")
	require.Equal(t, command.OK, code)
	_, stderr, code = inProfiles(t, path, "profile", "use", "--none")
	require.Equal(t, command.OK, code)
	require.Contains(t, stderr, "no profile is used now")
}

func TestProfilesThatCannotBe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "profiles.yaml")
	require.NoError(t, os.WriteFile(path, []byte("profiles:\n  dev: {brokers: [a:1]}\n  odd: {topic: x}\n"), 0o600))
	for says, args := range map[string][]string{
		"nothing to set: name settings":                  {"set", "dev"},
		`--unset: there is no profile "new"`:             {"set", "new", "--unset", "tls"},
		"--unset tsl: a profile has no such setting":     {"set", "dev", "--unset", "tsl"},
		"--unset unset: a profile has no such":           {"set", "dev", "--unset", "unset"},
		"--unset tls: not with --tls":                    {"set", "dev", "--unset", "tls", "--tls"},
		"want host:port":                                 {"set", "dev", "--brokers", "nonsense"},
		`profile "a b": want 1 to 64`:                    {"set", "a b", "--tls"},
		`allow: "[" is no topic`:                         {"set", "dev", "--allow", "["},
		`it is not in ` + path + `, did you mean "dev"?`: {"use", "dve"},
		`using profile "x": it is not in`:                {"rm", "x"},
		"no profile is the current one":                  {"show"},
		`unknown key "topic"`:                            {"show", "odd"},
		"want NAME":                                      {"use"},
		`unknown command "dev" for "duplex profile use"`: {"use", "--none", "dev"},
	} {
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		_, stderr, code := inProfiles(t, path, append([]string{"profile"}, args...)...)
		require.Equal(t, command.Usage, code, says)
		require.Contains(t, stderr, says)
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(before), string(after))
	}
	stdout, stderr, code := inProfiles(t, path, "profile", "ls")
	require.Equal(t, command.Failed, code)
	require.Contains(t, stdout, "dev")
	require.Contains(t, stderr, `line 3: profile odd: unknown key "topic"`)
}

// A variable is not stored in a profile, and a profile that is current does not take the demo
// to a cluster.
func TestWhatProfilesDoNotTouch(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "profiles.yaml")
	environ := []string{"DUPLEX_PROFILES_FILE=" + path, "DUPLEX_SASL_PASSWORD=hunter2", "DUPLEX_UNSET=brokers"}
	_, stderr, code := duplex(t, environ, "profile", "set", "dev", "--brokers", apptest.Nobody(t))
	require.Equal(t, command.OK, code, stderr)
	stdout, _, _ := duplex(t, environ, "profile", "show", "dev")
	require.NotContains(t, stdout, "sasl")
	_, _, code = duplex(t, environ, "profile", "use", "dev")
	require.Equal(t, command.OK, code)
	for _, name := range []string{"demo", "compare"} {
		stdout, _, code = duplex(t, environ[:1], name, "--print-config")
		require.Equal(t, command.OK, code)
		require.Contains(t, stdout, "brokers: []")
		stdout, _, _ = duplex(t, environ[:1], name, "--print-config", "-C", "dev")
		require.Contains(t, stdout, "127.0.0.1:")
	}
}
