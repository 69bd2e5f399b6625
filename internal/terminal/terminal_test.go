package terminal_test

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/duplex-go/duplex/internal/terminal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCount(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0", 7: "7", 999: "999", 1000: "1,000", 1001: "1,001", 999_999: "999,999", 1_000_000: "1,000,000",
		-1: "-1", -999: "-999", -1000: "-1,000", -123_456: "-123,456",
		math.MaxInt64: "9,223,372,036,854,775,807", math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		require.Equal(t, want, terminal.Count(n))
	}
}

func TestPrintableMovesNoCursor(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "plain ü ☂": "plain ü ☂", "\x1b[2Ja\r\nb\tc\x00": " [2Ja  b c ", "\u202e\u2028": "  ", "\xff": "\ufffd",
	} {
		require.Equal(t, want, terminal.Printable(text))
	}
}

func TestCountWithoutCommasIsTheNumber(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		text := terminal.Count(n)
		if have := strings.ReplaceAll(text, ",", ""); have != strconv.FormatInt(n, 10) {
			t.Fatalf("%d became %s", n, text)
		}
		for i, group := range strings.Split(strings.TrimPrefix(text, "-"), ",") {
			if len(group) > 3 || group == "" || i > 0 && len(group) != 3 {
				t.Fatalf("%d became %s", n, text)
			}
		}
	})
}

func TestNothingIsShownWhereNobodyLooks(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer file.Close()
	reader, pipe, err := os.Pipe()
	require.NoError(t, err)
	defer reader.Close()
	defer pipe.Close()
	var buffer bytes.Buffer
	line := func() string {
		t.Error("nobody wants to know")
		return "x"
	}
	require.False(t, terminal.Is(&buffer))
	terminal.Show(&buffer, line).Close()
	require.Empty(t, buffer.String())
	for _, f := range []*os.File{file, pipe} {
		require.False(t, terminal.Is(f))
		terminal.Show(f, line).Close()
	}
	info, err := file.Stat()
	require.NoError(t, err)
	require.Zero(t, info.Size())
}

func TestWidthOfWhatIsNoTerminal(t *testing.T) {
	t.Parallel()
	require.Zero(t, terminal.Width(&bytes.Buffer{}))
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	require.Zero(t, terminal.Width(f))
	require.NoError(t, f.Close())
}
