package cli_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/app/cli"
	"github.com/duplex-go/duplex/internal/app/ingest"
	"github.com/duplex-go/duplex/internal/app/push"
	"github.com/duplex-go/duplex/internal/command"
)

// feed runs the program with something on its standard input.
func feed(t *testing.T, input string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := apptest.Start(t, cli.Command, apptest.IO{Stdin: strings.NewReader(input)}, args...)
	code = p.Wait()
	return p.Stdout.String(), p.Stderr.String(), code
}

func TestPubAndSubCarryRecords(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	stdout, stderr, code := feed(t, "1\n2\n", to(b, "pub", "orders", "--key", "k")...)
	require.Equal(t, command.OK, code, stderr)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "read 2, published 2")
	stdout, stderr, code = duplex(t, nil, to(b, "sub", "orders", "-g", "audit", "--until-end", "-o", `%k %v\n`)...)
	require.Equal(t, command.OK, code, stderr)
	require.Equal(t, "k 1\nk 2\n", stdout)
}

// The commands are those of the programs: they say the same of themselves but for their
// names.
func TestPubAndSubAreTheProgramsOwn(t *testing.T) {
	t.Parallel()
	root, err := cli.Command(nil)
	require.NoError(t, err)
	producer, err := ingest.Command(nil)
	require.NoError(t, err)
	consumer, err := push.Command(nil)
	require.NoError(t, err)
	pub, _, err := root.Find([]string{"pub"})
	require.NoError(t, err)
	sub, _, err := root.Find([]string{"sub"})
	require.NoError(t, err)
	require.Equal(t, producer.Flags().FlagUsages(), pub.Flags().FlagUsages())
	require.Equal(t, consumer.Flags().FlagUsages(), sub.Flags().FlagUsages())
	for _, text := range []string{pub.Example, sub.Example, pub.Long, sub.Long} {
		require.NotContains(t, text, "$0")
	}
	require.Equal(t, producer.Example, strings.ReplaceAll(pub.Example, "duplex pub", "producer"))
	require.Equal(t, consumer.Example, strings.ReplaceAll(sub.Example, "duplex sub", "consumer"))
	require.Equal(t, 4, strings.Count(pub.Example, "duplex pub "))
	require.Equal(t, 7, strings.Count(sub.Example, "duplex sub "))
	for _, name := range []string{"pub", "sub"} {
		stdout, _, code := duplex(t, nil, name, "--help")
		require.Zero(t, code)
		require.Contains(t, stdout, "duplex "+name+" TOPIC")
	}
}

func TestPubAndSubSpeakAsTheProgramThatTheyAreIn(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	_, stderr, code := feed(t, "{", to(b, "pub", "orders", "--skip-invalid")...)
	require.Equal(t, command.OK, code, stderr)
	require.Contains(t, stderr, "duplex: standard input, line 1: skipped: not JSON")
	_, stderr, code = feed(t, "1\n", to(b, "pub", "odrers")...)
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, `duplex: pub: asking for topic "odrers": unknown-topic`)
	require.Contains(t, stderr, `did you mean "orders"?; --create N creates it`)
	_, stderr, code = feed(t, "1\n", "pub", "orders", "--brokers", apptest.Nobody(t), "--timeout", "1s")
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "duplex: pub: reaching the cluster at ")
	_, stderr, code = duplex(t, nil, to(b, "sub", "odrers", "orders", "-g", "audit")...)
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, `asking for topic "odrers": unknown-topic`)
	require.Contains(t, stderr, `topic "odrers": did you mean "orders"?`)
	require.NotContains(t, stderr, `topic "orders": did`)
	_, stderr, code = duplex(t, nil, "sub", "orders")
	require.Equal(t, command.Usage, code)
	require.Contains(t, stderr, "--group is missing")
	require.Contains(t, stderr, "Run 'duplex sub --help' for usage.")
}
