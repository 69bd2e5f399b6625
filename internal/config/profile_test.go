package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/config"
)

const twoProfiles = `# mine
current: dev
profiles:
  dev: # here
    brokers: [dev:1]
    client-id: from-dev
  prod:
    brokers: [prod:1, prod:2]
    tls: true
    sasl-username: ann
    dial-timeout: 3s
    read-only: true
    allow: ["redrive.billing.*", exact]
`

// profilesFile writes a file of profiles, and gives the environment that names it.
func profilesFile(t *testing.T, text string, mode os.FileMode) (environ []string, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "profiles.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	require.NoError(t, os.Chmod(path, mode))
	return []string{"DUPLEX_PROFILES_FILE=" + path}, path
}

// loaded gives the flags of clusters, loaded.
func loaded(t *testing.T, environ []string, args ...string) (*config.ClusterFlags, *pflag.FlagSet, error) {
	t.Helper()
	flags := pflag.NewFlagSet("program", pflag.ContinueOnError)
	config.AddFlags(flags)
	c, err := config.AddClusterFlags(flags, "the-program")
	require.NoError(t, err)
	require.NoError(t, flags.Parse(args))
	return c, flags, config.Load(flags, environ)
}

func TestProfileWeighsLeast(t *testing.T) {
	t.Parallel()
	environ, path := profilesFile(t, twoProfiles, 0o600)
	file := filepath.Join(t.TempDir(), "program.yaml")
	require.NoError(t, os.WriteFile(file, []byte("client-id: from-file"), 0o600))
	byFile := filepath.Join(t.TempDir(), "program.yaml")
	require.NoError(t, os.WriteFile(byFile, []byte("profile: prod"), 0o600))
	for name, c := range map[string]struct {
		environ, args        []string
		profile, id, brokers string
		from                 string // the client's name
	}{
		"the current one":     {nil, nil, "dev", "from-dev", "dev:1", path + ", line 6: profile dev"},
		"a file weighs more":  {nil, []string{"--config", file}, "dev", "from-file", "dev:1", file + ", line 1"},
		"a variable more":     {[]string{"DUPLEX_CLIENT_ID=from-env"}, []string{"--config", file}, "dev", "from-env", "dev:1", "DUPLEX_CLIENT_ID"},
		"a flag most":         {[]string{"DUPLEX_CLIENT_ID=from-env"}, []string{"--config", file, "--client-id", "flag"}, "dev", "flag", "dev:1", "--client-id"},
		"named by a flag":     {[]string{"DUPLEX_PROFILE=dev"}, []string{"-C", "prod"}, "prod", "the-program", "prod:1 prod:2", "default"},
		"named by a variable": {[]string{"DUPLEX_PROFILE=prod"}, nil, "prod", "the-program", "prod:1 prod:2", "default"},
		"named by a file":     {nil, []string{"--config", byFile}, "prod", "the-program", "prod:1 prod:2", "default"},
		"none by a flag":      {[]string{"DUPLEX_PROFILE=prod"}, []string{"--profile="}, "", "the-program", "127.0.0.1:9092", "default"},
		"none by a variable":  {[]string{"DUPLEX_PROFILE="}, nil, "", "the-program", "127.0.0.1:9092", "default"},
	} {
		got, flags, err := loaded(t, append(environ, c.environ...), c.args...)
		require.NoError(t, err, name)
		require.Equal(t, c.profile, got.Profile(), name)
		require.Equal(t, c.id, got.Cluster().ClientID, name)
		require.Equal(t, c.brokers, strings.Join(got.Cluster().Brokers, " "), name)
		require.Equal(t, c.from, config.Origin(flags, "client-id"), name)
	}
	c, _, err := loaded(t, append(environ, "DUPLEX_SASL_PASSWORD=hunter2"), "-C", "prod")
	require.NoError(t, err)
	require.NotNil(t, c.Cluster().TLS)
	require.Equal(t, duplex.Secret("hunter2"), c.Cluster().SASL.Password, "a password from elsewhere goes with the profile")
}

func TestReadOnlyIsNotLifted(t *testing.T) {
	t.Parallel()
	environ, path := profilesFile(t, twoProfiles, 0o600)
	for _, c := range []struct {
		environ, args []string
		says          string // "" where it may write
	}{
		{nil, nil, ""},
		{nil, []string{"--read-only"}, "--read-only"},
		{nil, []string{"--read-only=false"}, ""},
		{[]string{"DUPLEX_READ_ONLY=1"}, nil, "DUPLEX_READ_ONLY"},
		{[]string{"DUPLEX_READ_ONLY=1"}, []string{"--read-only=false"}, "DUPLEX_READ_ONLY"},
		{[]string{"DUPLEX_READ_ONLY=0"}, nil, ""},
		{nil, []string{"-C", "prod"}, path + ", line 12: profile prod"},
		{[]string{"DUPLEX_READ_ONLY=0"}, []string{"-C", "prod"}, path + ", line 12: profile prod"},
		{nil, []string{"-C", "prod", "--read-only=false"}, path + ", line 12: profile prod"},
		{[]string{"DUPLEX_BROKERS=other:1"}, []string{"-C", "prod"}, path + ", line 12: profile prod"},
	} {
		got, _, err := loaded(t, append(environ, c.environ...), c.args...)
		require.NoError(t, err)
		err = got.Writes("test: writing")
		if c.says == "" {
			require.NoError(t, err, "%v", c)
			continue
		}
		require.ErrorIs(t, err, duplex.ErrRefused, "%v", c)
		require.ErrorContains(t, err, "test: writing: refused: read-only, says "+c.says)
	}
	_, _, err := loaded(t, append(environ, "DUPLEX_READ_ONLY=perhaps"))
	require.ErrorContains(t, err, "config: reading DUPLEX_READ_ONLY: ")
}

func TestAllowedTopics(t *testing.T) {
	t.Parallel()
	environ, _ := profilesFile(t, twoProfiles+"  none:\n    allow: []\n", 0o600)
	for profile, topics := range map[string]map[string]bool{
		"dev":  {"anything": true},
		"prod": {"redrive.billing.orders": true, "exact": true, "exactly": false, "redrive.billing": false, "x.redrive.billing.orders": false},
		"none": {"anything": false},
		"":     {"anything": true},
	} {
		c, _, err := loaded(t, append(environ, "DUPLEX_ALLOW=*"), "-C", profile)
		require.NoError(t, err)
		for topic, allowed := range topics {
			err := c.Allows("redrive: planning", topic)
			require.Equal(t, allowed, err == nil, "%s %s", profile, topic)
			if !allowed {
				require.ErrorIs(t, err, duplex.ErrRefused)
			}
		}
	}
}

func TestProfilesThatAreNotValid(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"profiles: {p: {broker: [a:1]}}":                        `, line 1: profile p: unknown key "broker", did you mean "brokers"?`,
		"profiles:\n  p:\n    tls: true\n    read_only: true":   `, line 4: profile p: unknown key "read_only", did you mean "read-only"?`,
		"profiles:\n  p:\n    topic: x":                         `, line 3: profile p: unknown key "topic"`,
		"profiles:\n  p:\n    profile: x":                       `, line 3: profile p: unknown key "profile"`,
		"profiles:\n  p:\n    sasl:\n      password: hunter2":   `, line 3: profile p: unknown key "sasl"`,
		"profiles:\n  p:\n    tls: maybe":                       ", line 3: profile p: tls: ",
		"profiles:\n  p:\n    tls:\n":                           ", line 3: profile p: tls: is empty",
		"profiles:\n  p:\n    read-only: maybe":                 ", line 3: profile p: read-only: ",
		"profiles:\n  p:\n    read-only: [true]":                ", line 3: profile p: read-only: want one value, got a list of 1",
		"profiles:\n  p:\n    brokers: {a: 1}":                  ", line 3: profile p: brokers: want one value, got a mapping",
		"profiles:\n  p:\n    allow: x":                         `, line 3: profile p: allow: want a list of topics`,
		"profiles:\n  p:\n    allow: [1]":                       `, line 3: profile p: allow: "1" is no topic`,
		"profiles:\n  p:\n    allow: ['[a']":                    `, line 3: profile p: allow: "[a" is no topic`,
		"profiles:\n  p:\n    tls: true\n    tls: false":        `mapping key "tls" already defined`,
		"profiles:\n  p: [a]":                                   ", line 2: profile p: want settings",
		"profiles:\n  p: 5":                                     ", line 2: profile p: want settings",
		"profiles: [p]":                                         ", line 1: profiles: want names of profiles",
		"profiles: {p: {}}\nprofiles: {p: {}}":                  `, line 2: key "profiles" is there twice`,
		"profiles:\n  p: {}\n  p: {}":                           ", line 3: profile p is there twice",
		"profiles:\n  'a b': {}":                                `, line 2: profile "a b": want 1 to 64 of`,
		"profiles: {p: {}}\ncurrent: [p]":                       ", line 2: current: want the name of a profile",
		"profiles: {p: {}}\n\ncurrant: p":                       `, line 3: unknown key "currant", did you mean "current"?`,
		"profiles: {q: {}}":                                     `using profile "p": it is not in `,
		"profiles: {pp: {}}":                                    `did you mean "pp"?`,
		"":                                                      `using profile "p": there is none in `,
		"just text":                                             ", line 1: want the keys current and profiles",
		"[":                                                     "yaml: ",
		"profiles: \xff":                                        "yaml: ",
		strings.Repeat("#", 1<<20) + "\n":                       "has more than 1048576 bytes",
		"profiles: {p: {brokers: " + strings.Repeat("[", 20000): "yaml: ",
	} {
		environ, path := profilesFile(t, text, 0o600)
		_, _, err := loaded(t, environ, "-C", "p")
		require.ErrorContains(t, err, want, "%.100q", text)
		require.ErrorContains(t, err, path)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestWhatIsWrongElsewhereInTheFile(t *testing.T) {
	t.Parallel()
	environ, _ := profilesFile(t, "profiles:\n  p: {brokers: [p:1]}\n  q: {nonsense: 1}\n", 0o600)
	c, _, err := loaded(t, environ, "-C", "p")
	require.NoError(t, err, "another profile is another's")
	require.Equal(t, []string{"p:1"}, c.Cluster().Brokers)

	environ, _ = profilesFile(t, "current: gone\nprofiles: {p: {}}", 0o600)
	_, _, err = loaded(t, environ)
	require.ErrorContains(t, err, `using profile "gone"`, "not the default cluster instead")
	_, _, err = loaded(t, environ, "-C", "")
	require.NoError(t, err)
	_, _, err = loaded(t, nil, "-C", "p")
	require.ErrorContains(t, err, "neither HOME nor DUPLEX_PROFILES_FILE is set")
}

func TestOthersMustKeepOff(t *testing.T) {
	t.Parallel()
	secret := "profiles:\n  q: {brokers: [a:1]}\n  p: {sasl-username: ann, sasl-password: hunter2}\n"
	for _, c := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{twoProfiles, 0o600, ""},
		{twoProfiles, 0o644, ""},
		{twoProfiles, 0o620, "others may write to it (mode 0620)"},
		{twoProfiles, 0o602, "others may write to it (mode 0602)"},
		{secret, 0o600, ""},
		{secret, 0o400, ""},
		{secret, 0o640, "it has a password in it, and others may read it (mode 0640): chmod 600 "},
		{secret, 0o604, "others may read it"},
		{strings.Replace(secret, "hunter2", "''", 1), 0o604, ""},
	} {
		environ, path := profilesFile(t, c.text, c.mode)
		link := filepath.Join(t.TempDir(), "link")
		require.NoError(t, os.Symlink(path, link))
		for _, environ := range [][]string{environ, {"DUPLEX_PROFILES_FILE=" + link}} { // what counts is the file
			_, err := config.ReadProfiles(environ)
			if c.want == "" {
				require.NoError(t, err)
				continue
			}
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "hunter2")
		}
	}
}

func TestFilesThatAreNone(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/dev/zero", t.TempDir()} {
		_, err := config.ReadProfiles([]string{"DUPLEX_PROFILES_FILE=" + path})
		require.ErrorContains(t, err, path+" is not a file")
	}
	loop := filepath.Join(t.TempDir(), "loop")
	require.NoError(t, os.Symlink(loop, loop))
	_, err := config.ReadProfiles([]string{"DUPLEX_PROFILES_FILE=" + loop})
	require.ErrorContains(t, err, "too many")
}

func TestWhereProfilesAre(t *testing.T) {
	t.Parallel()
	for want, environ := range map[string][]string{
		"":                                     {"PATH=/bin"},
		"/home/a/.config/duplex/profiles.yaml": {"HOME=/home/a"},
		"/etc/xdg/duplex/profiles.yaml":        {"HOME=/home/a", "XDG_CONFIG_HOME=/etc/xdg"},
		"/x.yaml":                              {"HOME=/home/a", "XDG_CONFIG_HOME=/etc/xdg", "DUPLEX_PROFILES_FILE=/x.yaml"},
	} {
		require.Equal(t, want, config.ProfilesPath(environ))
	}
}

func TestProfilesAreChanged(t *testing.T) {
	t.Parallel()
	environ, path := profilesFile(t, twoProfiles, 0o644)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(path, link))
	p, err := config.ReadProfiles([]string{"DUPLEX_PROFILES_FILE=" + link})
	require.NoError(t, err)
	require.NoError(t, p.Set("prod", "dial-timeout", nil))
	require.NoError(t, p.Set("prod", "brokers", []string{"new:1"}))
	require.NoError(t, p.Set("test", "tls", true))
	require.Error(t, p.Set("a b", "tls", true))
	require.NoError(t, p.Use("test"))
	require.ErrorContains(t, p.Use("tst"), `did you mean "test"?`)
	require.NoError(t, p.Write())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), "# mine")
	require.Contains(t, string(text), "# here")
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, os.ModeSymlink, info.Mode().Type(), "the link stays one")
	info, err = os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	p, err = config.ReadProfiles(environ)
	require.NoError(t, err)
	require.Equal(t, []string{"dev", "prod", "test"}, p.Names())
	require.Equal(t, "test", p.Current())
	prod, err := p.Get("prod")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"brokers": []any{"new:1"}, "tls": true, "sasl-username": "ann", "read-only": true}, prod.Settings)
	require.NoError(t, p.Remove("test"))
	require.Empty(t, p.Current())
	require.Error(t, p.Remove("test"))
	require.NoError(t, p.Use(""))

	fresh, err := config.ReadProfiles([]string{"HOME=" + t.TempDir()})
	require.NoError(t, err)
	require.NoError(t, fresh.Set("dev", "tls", true))
	require.NoError(t, fresh.Write(), "folders are made")
	require.Error(t, (&config.Profiles{}).Write())
	others, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".profiles-*"))
	require.NoError(t, err)
	require.Empty(t, others, "nothing is left behind")
}
