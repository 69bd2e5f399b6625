package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/terminal"
)

const checksLong = `check is for monitoring: it looks at one thing, prints one line in the form of Nagios
plugins, with figures behind a |, and ends with an exit code of these:
  0 OK    1 WARNING    2 CRITICAL    3 UNKNOWN: it could not look, or was asked wrongly

--format json prints an object instead, --format prometheus what node_exporter's textfile
collector takes. The exit code is the same.`

// The states of checks are their exit codes.
const (
	checkOK = iota
	checkWarning
	checkCritical
	checkUnknown
)

func checkWord(state int) string {
	return []string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[state]
}

const (
	formatNagios     = "nagios"
	formatJSON       = "json"
	formatPrometheus = "prometheus"
)

// figure is one number of a check.
type figure struct {
	Name     string            `json:"name"`
	Value    int64             `json:"value"`
	Unit     string            `json:"unit,omitempty"` // s
	Warn     *int64            `json:"warn,omitempty"`
	Critical *int64            `json:"critical,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	help     string
	detail   bool // not for the one line
}

// outcome is what a check found.
type outcome struct {
	Check   string   `json:"check"`
	State   string   `json:"state"`
	Text    string   `json:"text"`
	Figures []figure `json:"figures"`

	code int
}

// worse raises the state. What is not known does not hide what is critical.
func (o *outcome) worse(state int) {
	if o.code != checkCritical && (state == checkCritical || state > o.code) {
		o.code = state
	}
}

// limits are the thresholds of a check.
type limits struct {
	format         string
	warn, critical int64
	age            time.Duration
}

func (l *limits) addFlags(flags *pflag.FlagSet, warn int64, of, aged string) {
	flags.SortFlags = false
	flags.Int64Var(&l.warn, "warn", warn, "WARNING if more than this `number` of "+of+"; -1 for never")
	flags.Int64Var(&l.critical, "critical", -1, "CRITICAL if more than this `number` of "+of+"; -1 for never")
	flags.DurationVar(&l.age, "age", 0, "CRITICAL if the oldest of "+aged+" is older (default: it is not looked at)")
	flags.StringVar(&l.format, "format", formatNagios, "nagios, json or prometheus")
}

func (l *limits) validate() error {
	errs := []error{command.OneOf("--format", l.format, formatNagios, formatJSON, formatPrometheus)}
	if l.warn < -1 || l.critical < -1 {
		errs = append(errs, fmt.Errorf("--warn %d, --critical %d: want numbers, or -1 for never", l.warn, l.critical))
	}
	if l.critical >= 0 && l.warn > l.critical {
		errs = append(errs, fmt.Errorf("--warn %d is more than --critical %d: it would never be said", l.warn, l.critical))
	}
	if l.age < 0 {
		errs = append(errs, fmt.Errorf("--age %s: must not be negative", l.age))
	}
	return errors.Join(errs...)
}

// judge compares a number with its thresholds.
func (l *limits) judge(n int64) int {
	switch {
	case l.critical >= 0 && n > l.critical:
		return checkCritical
	case l.warn >= 0 && n > l.warn:
		return checkWarning
	default:
		return checkOK
	}
}

func threshold(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

func checksCommand(environ []string) (*cobra.Command, error) {
	root := command.Group(&cobra.Command{Use: "check", Short: "Look at one thing, for monitoring", Long: checksLong})
	lag, lagErr := checkLagCommand(environ)
	dead, deadErr := checkDeadCommand(environ)
	root.AddCommand(lag, dead)
	return root, errors.Join(lagErr, deadErr)
}

// checking makes a command a check: whatever goes wrong, in what was asked too, is UNKNOWN, on
// standard output, since exit code 2 would say CRITICAL.
func checking(environ []string, cmd *cobra.Command, l *limits, look func(cmd *cobra.Command, args []string) (*outcome, error)) error {
	name := cmd.Name()
	unknown := func(cmd *cobra.Command, err error) error {
		if errors.Is(err, command.ErrInterrupted) {
			return err
		}
		text := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
		return l.print(cmd, &outcome{Check: name, Text: text, Figures: []figure{}, code: checkUnknown})
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return unknown(cmd, command.FlagError(cmd, err)) })
	args := cmd.Args
	cmd.Args = func(cmd *cobra.Command, given []string) error {
		if err := args(cmd, given); err != nil {
			return unknown(cmd, err)
		}
		return nil
	}
	body := command.Body(environ, func(cmd *cobra.Command, args []string) error {
		if err := l.validate(); err != nil {
			return err
		}
		found, err := look(cmd, args)
		if err != nil {
			return err
		}
		found.Check = name
		return l.print(cmd, found)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := body(cmd, args)
		if err == nil || printed(err) {
			return err
		}
		return unknown(cmd, err)
	}
	return cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{formatNagios, formatJSON, formatPrometheus}, cobra.ShellCompDirectiveNoFileComp))
}

// printed reports whether err is the exit code of a check that has said what it found.
func printed(err error) bool {
	for code := checkWarning; code <= checkUnknown; code++ {
		if errors.Is(err, command.Exit(code)) {
			return true
		}
	}
	return false
}

// print writes what a check found, and gives its exit code.
func (l *limits) print(cmd *cobra.Command, o *outcome) error {
	o.State = checkWord(o.code)
	out := cmd.OutOrStdout()
	var err error
	switch l.format {
	case formatJSON:
		err = json.NewEncoder(out).Encode(o)
	case formatPrometheus:
		_, err = fmt.Fprint(out, o.metrics())
	default:
		_, err = fmt.Fprintln(out, o.line())
	}
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "duplex: check: writing what was found:", err)
		return command.Exit(checkUnknown)
	}
	if o.code == checkOK {
		return nil
	}
	return command.Exit(o.code)
}

// line is the form of Nagios: a | in a name would begin the figures.
func (o *outcome) line() string {
	text := fmt.Sprintf("%s %s - %s", strings.ToUpper(o.Check), o.State, strings.ReplaceAll(terminal.Printable(o.Text), "|", "/"))
	var figures []string
	for _, f := range o.Figures {
		if f.detail {
			continue
		}
		figures = append(figures, fmt.Sprintf("%s=%d%s;%s;%s;0", f.Name, f.Value, f.Unit, orNothing(f.Warn), orNothing(f.Critical)))
	}
	if len(figures) == 0 {
		return text
	}
	return text + "|" + strings.Join(figures, " ")
}

func orNothing(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

// metrics is the text format of Prometheus.
func (o *outcome) metrics() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s %s - %s\n", strings.ToUpper(o.Check), o.State, terminal.Printable(o.Text))
	state := figure{Name: "state", Value: int64(o.code), Labels: map[string]string{"check": o.Check}, help: "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."}
	of := map[string]bool{}
	for _, f := range append(slices.Clone(o.Figures), state) {
		name := "duplex_check_" + f.Name
		if f.Name != "state" && f.Name != o.Check {
			name = "duplex_check_" + o.Check + "_" + f.Name
		}
		if f.Unit == "s" {
			name += "_seconds"
		}
		if !of[name] {
			fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %[1]s gauge\n", name, f.help)
		}
		of[name] = true
		fmt.Fprintf(&b, "%s%s %d\n", name, labels(f.Labels), f.Value)
	}
	return b.String()
}

func labels(of map[string]string) string {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var all []string
	for name, value := range of {
		all = append(all, fmt.Sprintf(`%s="%s"`, name, quote.Replace(terminal.Printable(value))))
	}
	slices.Sort(all)
	if len(all) == 0 {
		return ""
	}
	return "{" + strings.Join(all, ",") + "}"
}

// seconds is a time for people and for figures: whole seconds, none below zero.
func seconds(d time.Duration) int64 { return int64(max(d, 0) / time.Second) }

// inTime has ask ask a cluster that answers, for as long as a check may take.
func inTime(cmd *cobra.Command, cluster duplex.Cluster, timeout time.Duration, ask func(context.Context, duplex.Cluster, *kgo.Client) (*outcome, error)) (*outcome, error) {
	if timeout <= 0 {
		return nil, fmt.Errorf("--timeout %s: must be positive", timeout)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
	defer cancel()
	cluster.DialTimeout = min(cluster.DialTimeout, timeout)
	client, err := kafka.NewClient(cluster, nil)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := kafka.Reach(cmd.Context(), client, "check", timeout); err != nil {
		return nil, err
	}
	return ask(ctx, cluster, client)
}
