package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/app/shell"
)

// mostEdited bounds what a command may give back for the letters of one transaction.
const mostEdited = 256 << 20

// editWith has a command edit letters: a line for each on its standard input, and as many,
// in the same order, on its standard output.
func editWith(line string, environ []string, stderr *shell.Lines) func(context.Context, []*dlq.Letter) error {
	return func(ctx context.Context, letters []*dlq.Letter) error {
		var in []byte
		var err error
		for _, l := range letters {
			if in, err = dlq.AppendLine(in, l); err != nil {
				return err
			}
		}
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		var out bounded
		ended, err := shell.Command{Line: line, Environ: environ, Stdin: in, Stdout: &out, Stderr: stderr}.Run(ctx, stop)
		switch {
		case err != nil:
			return fmt.Errorf("--edit: %w", err)
		case !ended.OK():
			return fmt.Errorf("--edit: %w", ended.Problem(ctx, stderr.End()))
		case ended.OutErr != nil:
			return fmt.Errorf("--edit: reading what the command gave back: %w", ended.OutErr)
		}
		return takeEdited(letters, out.Bytes())
	}
}

// takeEdited gives letters what a command made of them.
func takeEdited(letters []*dlq.Letter, out []byte) error {
	lines := bytes.Split(bytes.TrimRight(out, "\n"), []byte("\n"))
	if len(lines) != len(letters) || len(out) == 0 {
		n := len(lines)
		if len(out) == 0 {
			n = 0
		}
		return fmt.Errorf("--edit: the command gave back %d lines for %d letters: want one for each, in their order", n, len(letters))
	}
	for i, line := range lines {
		edited, err := dlq.ParseLine(line)
		if err != nil {
			return fmt.Errorf("--edit: line %d of what the command gave back: %w", i+1, err)
		}
		l := letters[i]
		if edited.Partition != l.Partition || edited.Offset != l.Offset {
			return fmt.Errorf("--edit: line %d of what the command gave back is the letter %d/%d, want %d/%d: lines keep their order", i+1, edited.Partition, edited.Offset, l.Partition, l.Offset)
		}
		l.Record.Key, l.Record.Value, l.Record.Headers = edited.Record.Key, edited.Record.Value, edited.Record.Headers
	}
	return nil
}

// bounded is a buffer that takes so much and no more.
type bounded struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > mostEdited {
		return 0, errors.New("it is more than 256 MiB")
	}
	return b.Buffer.Write(p) //nolint:wrapcheck // it never fails
}
