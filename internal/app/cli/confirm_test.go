package cli

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
)

func TestOnlyYesIsAYes(t *testing.T) {
	t.Parallel()
	for answer, yes := range map[string]bool{
		"y\n": true, "Yes\n": true, "\ty\r\n": true, "y": true, "": false, "\n": false, "n\n": false, "yesterday\n": false, "\x1b[2Jy\n": false,
		strings.Repeat("y", 1000) + "\n": false,
	} {
		var out strings.Builder
		err := confirmed(t.Context(), strings.NewReader(answer), &out, "group: seeking", "Move?")
		require.Equal(t, "Move? [y/N] ", out.String())
		if yes {
			require.NoError(t, err, "%q", answer)
		} else {
			require.ErrorIs(t, err, duplex.ErrRefused, "%q", answer)
		}
	}
}

func TestAQuestionEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrUnexpectedEOF)
	in, keyboard := io.Pipe()
	require.ErrorIs(t, confirmed(ctx, in, io.Discard, "x", "Move?"), io.ErrUnexpectedEOF)
	require.NoError(t, keyboard.Close())
}
