package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duplex-go/duplex/internal/config"
)

func TestPrint(t *testing.T) {
	t.Parallel()
	p, _, err := load(t, "brokers: [a:1, b:2]", []string{"DUPLEX_SASL_PASSWORD=hunter2"}, "--dry-run")
	require.NoError(t, err)
	text, err := config.Print(p.FlagSet)
	require.NoError(t, err)
	require.Equal(t, `brokers:
    - a:1
    - b:2
dry-run: true
max-batch: "100"
sasl-password: '***'
timeout: 1s
topic: default-topic
`, string(text), "all settings, those that nobody set too, and neither --config nor --print-config")
}

func TestPrintShowsThatThereIsNoSecret(t *testing.T) {
	t.Parallel()
	text, err := config.Print(newProgram(t).FlagSet)
	require.NoError(t, err)
	require.Contains(t, string(text), `sasl-password: ""`)
}

func TestPrintLeavesOutWhatIsDeprecated(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	require.NoError(t, p.MarkDeprecated("topic", "use another"))
	text, err := config.Print(p.FlagSet)
	require.NoError(t, err)
	require.NotContains(t, string(text), "topic")
}

func TestMarkSecretNeedsAFlag(t *testing.T) {
	t.Parallel()
	require.Error(t, config.MarkSecret(newProgram(t).FlagSet, "sasl-pasword"))
}

// What Print gives, Load reads back, whatever is in it. Lines are the exception:
// a text in a list that begins with an empty line is more than the YAML encoder
// can do, and no setting has several lines.
func TestPrintedSettingsAreReadBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program.yaml")
	odd := rapid.SampledFrom([]string{"", "***", "yes", "null", "~", "5", "1e3", "0x10", " a ", "#", ": ", "- a", "'", `"`, "a,b", "{}", "[]", "2026-01-02"})
	rapid.Check(t, func(rt *rapid.T) {
		texts := rapid.OneOf(odd, rapid.StringOf(rapid.Rune().Filter(unicode.IsPrint)))
		before := newProgram(t)
		before.topic = texts.Draw(rt, "topic")
		before.brokers = rapid.SliceOfN(texts, 0, 3).Draw(rt, "brokers")
		before.timeout = time.Duration(rapid.Int64().Draw(rt, "timeout"))
		before.batch = rapid.Int().Draw(rt, "batch")
		before.dry = rapid.Bool().Draw(rt, "dry")

		text, err := config.Print(before.FlagSet)
		require.NoError(rt, err)
		require.NoError(rt, os.WriteFile(path, text, 0o600))
		after := newProgram(t)
		require.NoError(rt, after.Set("config", path))
		require.NoError(rt, config.Load(after.FlagSet, nil), "%s", text)
		after.FlagSet = before.FlagSet
		require.Equal(rt, before, after, "%s", text)
	})
}
