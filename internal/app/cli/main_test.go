package cli_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/app/cli"
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

func TestUsageIsExplained(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nothing":               {nil, 0, "Available Commands"},
		"help":                  {[]string{"demo", "--help"}, 0, "2,000 departures"},
		"unknown command":       {[]string{"dmeo"}, 2, `unknown command "dmeo"`},
		"unknown flag":          {[]string{"demo", "--speed", "9"}, 2, "--speed"},
		"rate of nothing":       {[]string{"demo", "--rate", "0"}, 2, "--rate 0: must be positive"},
		"no such input":         {[]string{"demo", "--input", "/nowhere/x"}, 2, "--input: open /nowhere/x"},
		"not an address":        {[]string{"demo", "--brokers", "nonsense"}, 2, "want host:port"},
		"other machines":        {[]string{"broker", "--listen", "0.0.0.0:0"}, 2, "loopback"},
		"no address":            {[]string{"broker", "--listen", ""}, 2, "--listen is empty"},
		"no number of topics":   {[]string{"broker", "--topic", "orders:many"}, 2, `"many" is not a number of partitions`},
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
