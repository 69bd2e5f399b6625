package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/terminal"
)

// confirm asks a person before something is done that cannot be undone. Where there is none,
// it refuses. op is what is about to be done.
func confirm(cmd *cobra.Command, op, question string) error {
	in := cmd.InOrStdin()
	if f, ok := in.(*os.File); !ok || !terminal.Is(f) {
		return &duplex.Error{Op: op, Codes: []duplex.Code{duplex.ErrRefused}, Hint: "look at what would change, and give --yes: there is nobody to ask"}
	}
	return confirmed(cmd.Context(), in, cmd.ErrOrStderr(), op, question)
}

// confirmed asks, and takes y or yes for a yes.
func confirmed(ctx context.Context, in io.Reader, out io.Writer, op, question string) error {
	fmt.Fprintf(out, "%s [y/N] ", question)
	answers := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(in, 100)).ReadString('\n') // an end is a no
		answers <- line
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case answer := <-answers:
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes":
			return nil
		}
		return &duplex.Error{Op: op, Codes: []duplex.Code{duplex.ErrRefused}, Hint: "nothing was changed"}
	}
}
