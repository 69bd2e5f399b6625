package cli_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/duplex-go/duplex/internal/app/cli"
	"github.com/duplex-go/duplex/internal/command"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// duplex runs the program to its end.
func duplex(t *testing.T, environ []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := begin(t.Context(), t, environ, args...)
	code = <-p.code
	return p.stdout.String(), p.stderr.String(), code
}

// program is one that runs beside the test.
type program struct {
	stdout, stderr output
	code           chan int
}

func begin(ctx context.Context, t *testing.T, environ []string, args ...string) *program {
	t.Helper()
	root, err := cli.Command(environ)
	require.NoError(t, err)
	p := &program{code: make(chan int, 1)}
	go func() {
		p.code <- command.Run(ctx, root, command.Process{
			Args: args, Environ: environ, Stdin: strings.NewReader(""), Stdout: &p.stdout, Stderr: &p.stderr,
		})
	}()
	return p
}

// output collects what a program prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// String is everything so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
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
