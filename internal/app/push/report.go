package push

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/terminal"
)

// maxReported bounds the lines of a report for each of its parts.
const maxReported = 200

// report writes a status for a person, in one piece.
func report(to io.Writer, program string, s *duplex.Status) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: group %q is %s\n", program, s.Name, s.Code)
	for _, p := range s.Problems[:min(len(s.Problems), maxReported)] {
		fmt.Fprintf(&b, "  %s: %s\n", p.Code, terminal.Printable(p.Detail))
	}
	if more := len(s.Problems) - maxReported; more > 0 {
		fmt.Fprintf(&b, "  and %d more problems\n", more)
	}
	b.WriteString(" ")
	for _, name := range slices.Sorted(maps.Keys(s.Counts)) {
		fmt.Fprintf(&b, " %s %d", name, s.Counts[name])
	}
	b.WriteString("\n")
	if len(s.Partitions) == 0 {
		b.WriteString("  no partitions\n")
	} else {
		reportPartitions(&b, s.Partitions)
	}
	_, _ = to.Write(b.Bytes()) // nobody is left to be told
}

func reportPartitions(to io.Writer, partitions []duplex.PartitionStatus) {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  PARTITION\tCOMMITTED\tWATERMARK\tREAD TO\tEND\tLAG\tLOADED\tRUNNING\tOLDEST\tLANES\tWAITING\t")
	for i := range partitions[:min(len(partitions), maxReported)] {
		p := &partitions[i]
		oldest, note := "-", ""
		if p.OldestRunning > 0 {
			oldest = p.OldestRunning.Round(time.Millisecond).String()
		}
		if p.Paused {
			note = "fetching paused"
		}
		fmt.Fprintf(table, "  %s/%d\t%s\t%d\t%d\t%s\t%s\t%d\t%d\t%s\t%d\t%d\t%s\n", p.Topic, p.Partition, known(p.Committed, p.Committed),
			p.Watermark, p.Frontier, known(p.End, p.End), known(p.Lag, p.End), p.Loaded, p.Running, oldest, p.Lanes, p.Waiting, note)
	}
	_ = table.Flush() // to is a buffer
	if more := len(partitions) - maxReported; more > 0 {
		fmt.Fprintf(to, "  and %d more partitions\n", more)
	}
}

// known is n, or - while by is −1: not known.
func known(n, by int64) string {
	if by < 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}
