package compare

import (
	"fmt"
	"io"
	"strings"
)

// The columns of the table on a terminal: together 100 wide.
const (
	nameWidth = 11
	cellWidth = 42
	gap       = "  "
)

// WriteTable writes the report for people, at most 100 characters wide.
func (r Report) WriteTable(out io.Writer) error {
	var b strings.Builder
	line := func(name, calls, events string) {
		b.WriteString(strings.TrimRight(pad(name, nameWidth)+gap+pad(calls, cellWidth)+gap+events, " ") + "\n")
	}
	line("", "AS CALLS", "AS EVENTS")
	for _, row := range r.Table {
		names, calls, events := wrap(strings.ToUpper(row.Name), nameWidth), wrap(row.Calls, cellWidth), wrap(row.Events, cellWidth)
		for i := range max(len(names), len(calls), len(events)) {
			line(at(names, i), at(calls, i), at(events, i))
		}
		for i, text := range wrap(row.So, 2*cellWidth+len(gap)-2) {
			line("", []string{"→ ", "  "}[min(i, 1)]+text, "")
		}
	}
	b.WriteString("WHICH\n")
	for _, text := range r.Choose {
		for i, text := range wrap(text, nameWidth+2*cellWidth+2*len(gap)-3) {
			b.WriteString([]string{" · ", "   "}[min(i, 1)] + text + "\n")
		}
	}
	b.WriteString(r.sums("\n"))
	_, err := io.WriteString(out, b.String())
	return err
}

// sums say that everything adds up, or what does not.
func (r Report) sums(end string) string {
	t := r.Totals
	said := []string{
		fmt.Sprintf("calls %s = answered %s + errors %s", count(t.Calls), count(t.Answered), count(t.Errors)),
		fmt.Sprintf("events %s = handled %s + dead letters %s + not stored %s", count(t.Events), count(t.Handled), count(t.Dead), count(t.NotStored)),
	}
	for _, text := range r.Broken {
		said = append(said, "BROKEN: "+text)
	}
	said = append(said, fmt.Sprintf("%s · %.0f s · figures of this run", r.Broker, r.Seconds))
	return strings.Join(said, end) + end
}

// WriteMarkdown writes the report as a table for a page.
func (r Report) WriteMarkdown(out io.Writer) error {
	var b strings.Builder
	b.WriteString("| | As calls | As events | So |\n|---|---|---|---|\n")
	for _, row := range r.Table {
		fmt.Fprintf(&b, "| **%s** | %s | %s | %s |\n", row.Name, row.Calls, row.Events, row.So)
	}
	b.WriteString("\n")
	for _, text := range r.Choose {
		b.WriteString("- " + text + "\n")
	}
	b.WriteString("\n" + r.sums("\n\n"))
	_, err := io.WriteString(out, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

// wrap breaks a text between words into lines of at most so many characters.
func wrap(text string, width int) (lines []string) {
	current := ""
	for _, word := range strings.Fields(text) {
		switch {
		case current == "":
			current = word
		case runes(current)+1+runes(word) <= width:
			current += " " + word
		default:
			lines, current = append(lines, current), word
		}
	}
	return append(lines, current)
}

func runes(text string) int { return len([]rune(text)) }

func pad(text string, width int) string { return text + strings.Repeat(" ", max(width-runes(text), 0)) }

// at is a line of a cell, empty below its last.
func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}
