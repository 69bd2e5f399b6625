package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/terminal"
)

const profileLong = `profile keeps clusters under names, so that --profile NAME (-C NAME), or DUPLEX_PROFILE, is
all that a command needs to reach one:

  current: dev
  profiles:
    dev:
      brokers: [127.0.0.1:9092]
    prod:
      brokers: [kafka-1.example:9093, kafka-2.example:9093]
      tls: true
      sasl-username: ann
      read-only: true
      allow: ["redrive.billing.*"]

The keys are the names of the flags that say which cluster to talk to. What else is said
weighs more: flags most, then variables such as DUPLEX_BROKERS, then --config FILE, then
the profile. Two keys guard a cluster, and nothing that weighs more lifts them:
  read-only  commands that would change something in the cluster end with exit code 4
  allow      the topics that dead letters may be redriven to; * stands for anything

The file is DUPLEX_PROFILES_FILE, or duplex/profiles.yaml of XDG_CONFIG_HOME, or of
~/.config. One that others may write is refused, and one that has a password in it
(sasl-password) and that others may read. A password may as well be in
DUPLEX_SASL_PASSWORD, and a token in a file (sasl-token-file).`

const profileSetLong = `set makes a profile, or changes one: the settings that are named by flags, and no others.
Variables and --config are not looked at. Comments in the file stay.

A password on a command line can be seen by others: write sasl-password into the file
yourself, or leave it in DUPLEX_SASL_PASSWORD.

Exit codes: 0 stored, 1 the file cannot be written, 2 usage, or the file is not valid.`

const profileSetExamples = `  duplex profile set dev --brokers 127.0.0.1:9092
  duplex profile set prod --brokers kafka-1:9093 --tls --sasl-username ann --read-only
  duplex profile set prod --allow 'redrive.billing.*' --unset read-only`

type profileOptions struct {
	environ      []string
	json, none   bool
	cluster      *config.ClusterFlags
	allow, unset []string
}

func profileCommand(environ []string) (*cobra.Command, error) {
	root := command.Group(&cobra.Command{Use: "profile", Short: "Keep clusters under names", Long: profileLong})
	o := func() *profileOptions { return &profileOptions{environ: environ} }
	set, err := o().setCommand()
	root.AddCommand(o().lsCommand(), o().showCommand(), set, o().useCommand(), o().rmCommand())
	return root, err
}

func (o *profileOptions) body(cmd *cobra.Command, run func(cmd *cobra.Command, args []string, profiles *config.Profiles) error) *cobra.Command {
	config.AddFlags(cmd.Flags())
	cmd.RunE = command.Body(o.environ, func(cmd *cobra.Command, args []string) error {
		profiles, err := config.ReadProfiles(o.environ)
		if err != nil {
			return command.UsageError(err)
		}
		return run(cmd, args, profiles)
	})
	return cmd
}

func (o *profileOptions) lsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls", Short: "List the profiles", Args: cobra.NoArgs,
		Long: "ls lists the profiles; * stands before the one that is used where nobody names one.\n\nExit codes: 0 listed, 1 the settings of one are not valid, which is said, 2 the file is not valid.",
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return o.body(cmd, o.list)
}

func (o *profileOptions) showCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show [NAME]", Short: "Show the settings of a profile", Args: cobra.MaximumNArgs(1), ValidArgsFunction: o.complete,
		Long: "show prints the settings of a profile as YAML, of the current one without NAME; *** stands for a password.\n\nExit codes: 0 shown, 2 there is no such profile, or the file is not valid.",
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return o.body(cmd, o.show)
}

func (o *profileOptions) setCommand() (*cobra.Command, error) {
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Make or change a profile", Args: wants("NAME"), ValidArgsFunction: o.complete,
		Long: profileSetLong, Example: profileSetExamples,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&o.allow, config.AllowKey, nil, "`topics` that dead letters may be redriven to, * stands for anything; several with commas; they replace those of before")
	flags.StringSliceVar(&o.unset, "unset", nil, "take these `settings` away, by their flags' names; several with commas")
	var err error
	o.cluster, err = config.AddProfileFlags(flags)
	return o.body(cmd, o.set), errors.Join(err, completeCluster(cmd))
}

func (o *profileOptions) useCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "use NAME", Short: "Choose the profile that is used where nobody names one", ValidArgsFunction: o.complete,
		Long: "use makes NAME the current profile: commands use it without --profile. demo and compare do not: they use a cluster only where one is named.\n\nExit codes: 0 stored, 1 the file cannot be written, 2 there is no such profile, or the file is not valid.",
		Args: func(cmd *cobra.Command, args []string) error {
			if o.none {
				return cobra.NoArgs(cmd, args)
			}
			return wants("NAME")(cmd, args)
		},
	}
	cmd.Flags().BoolVar(&o.none, "none", false, "use none")
	return o.body(cmd, func(cmd *cobra.Command, args []string, profiles *config.Profiles) error {
		name := strings.Join(args, "")
		if err := profiles.Use(name); err != nil {
			return command.UsageError(err)
		}
		return o.write(cmd, profiles, cmp.Or(name, "no profile")+" is used now where nobody names one")
	})
}

func (o *profileOptions) rmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rm NAME", Short: "Remove a profile", Args: wants("NAME"), ValidArgsFunction: o.complete,
		Long: "rm takes a profile out of the file. The cluster is not asked.\n\nExit codes: 0 removed, 1 the file cannot be written, 2 there is no such profile, or the file is not valid.",
	}
	return o.body(cmd, func(cmd *cobra.Command, args []string, profiles *config.Profiles) error {
		said := "removed profile " + args[0]
		if profiles.Current() == args[0] {
			said += ", the current one: none is used now where nobody names one"
		}
		if err := profiles.Remove(args[0]); err != nil {
			return command.UsageError(err)
		}
		return o.write(cmd, profiles, said)
	})
}

func (o *profileOptions) write(cmd *cobra.Command, profiles *config.Profiles, said string) error {
	if err := profiles.Write(); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "duplex: %s (%s)\n", said, profiles.Path)
	return nil
}

// listed is a line of ls.
type listed struct {
	Name    string         `json:"name"`
	Current bool           `json:"current"`
	Set     map[string]any `json:"settings"`
}

func (o *profileOptions) list(cmd *cobra.Command, _ []string, profiles *config.Profiles) error {
	all, broken := []listed{}, []error(nil)
	for _, name := range profiles.Names() {
		p, err := profiles.Get(name)
		shown, maskErr := p.Shown()
		if err := errors.Join(err, maskErr); err != nil {
			broken = append(broken, err)
			continue
		}
		all = append(all, listed{Name: name, Current: name == profiles.Current(), Set: shown})
	}
	var err error
	switch {
	case o.json:
		err = printJSON(cmd.OutOrStdout(), all)
	case len(all) == 0:
		fmt.Fprintf(cmd.ErrOrStderr(), "duplex: no profiles in %s: make one with duplex profile set\n", cmp.Or(profiles.Path, "any file"))
	default:
		err = table(cmd.OutOrStdout(), "", func(row func(cells ...any)) {
			row("CURRENT", "NAME", "BROKERS", "READ-ONLY", "ALLOW")
			for _, p := range all {
				row(map[bool]string{true: "*", false: "-"}[p.Current], p.Name, words(p.Set["brokers"]), words(p.Set[config.ReadOnlyFlag]), words(p.Set[config.AllowKey]))
			}
		})
	}
	return errors.Join(append(broken, err)...)
}

// words is a setting on one line, - where there is none.
func words(value any) string {
	switch v := value.(type) {
	case nil:
		return "-"
	case []any:
		text := make([]string, len(v))
		for i, one := range v {
			text[i] = fmt.Sprint(one)
		}
		return terminal.Printable(cmp.Or(strings.Join(text, ","), "nothing"))
	case []string:
		return terminal.Printable(cmp.Or(strings.Join(v, ","), "nothing"))
	default:
		return terminal.Printable(fmt.Sprint(v))
	}
}

func (o *profileOptions) show(cmd *cobra.Command, args []string, profiles *config.Profiles) error {
	name := profiles.Current()
	if len(args) > 0 {
		name = args[0]
	}
	if name == "" {
		return command.UsageError(errors.New("profile: no profile is the current one: name one, or choose one with duplex profile use"))
	}
	p, err := profiles.Get(name)
	if err != nil {
		return command.UsageError(err)
	}
	if o.json {
		shown, err := p.Shown()
		return errors.Join(err, printJSON(cmd.OutOrStdout(), shown))
	}
	text, err := p.Print()
	if err != nil {
		return err
	}
	if _, err := cmd.OutOrStdout().Write(text); err != nil {
		return fmt.Errorf("profile: writing the settings: %w", err)
	}
	return nil
}

func (o *profileOptions) set(cmd *cobra.Command, args []string, profiles *config.Profiles) error {
	name := args[0]
	there := slices.Contains(profiles.Names(), name)
	changed, err := o.change(cmd.Flags(), profiles, name)
	unset, unsetErr := o.takeAway(cmd.Flags(), profiles, name)
	switch {
	case changed+unset == 0:
		unsetErr = errors.Join(unsetErr, errors.New("profile: nothing to set: name settings, such as --brokers"))
	case changed == 0 && !there:
		unsetErr = errors.Join(unsetErr, fmt.Errorf("--unset: there is no profile %q in %s", name, profiles.Path))
	default:
		_, getErr := profiles.Get(name)
		err = errors.Join(err, getErr)
	}
	cluster := o.cluster.Cluster()
	cluster.SASL = nil // the password may come from elsewhere
	if err := errors.Join(err, unsetErr, cluster.Validate()); err != nil {
		return command.UsageError(err)
	}
	return o.write(cmd, profiles, "stored profile "+name)
}

// change sets what the command line says.
func (o *profileOptions) change(flags *pflag.FlagSet, profiles *config.Profiles, name string) (changed int, err error) {
	flags.Visit(func(f *pflag.Flag) {
		if notSettings(f.Name) {
			return
		}
		var value any = f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = list.GetSlice()
		} else if f.Value.Type() == "bool" {
			value = f.Value.String() == "true"
		}
		err = errors.Join(err, profiles.Set(name, f.Name, value))
		changed++
	})
	return changed, err
}

// takeAway takes away what --unset names; a variable cannot ask for it.
func (o *profileOptions) takeAway(flags *pflag.FlagSet, profiles *config.Profiles, name string) (changed int, err error) {
	if !flags.Changed("unset") {
		return 0, nil
	}
	for _, key := range o.unset {
		switch {
		case flags.Lookup(key) == nil || notSettings(key):
			err = errors.Join(err, fmt.Errorf("--unset %s: a profile has no such setting", key))
		case flags.Changed(key):
			err = errors.Join(err, fmt.Errorf("--unset %s: not with --%[1]s", key))
		default:
			err = errors.Join(err, profiles.Set(name, key, nil))
			changed++
		}
	}
	return changed, err
}

// notSettings are the flags of set that say something else.
func notSettings(flag string) bool {
	return slices.Contains([]string{"unset", config.FileFlag, config.PrintFlag, "help"}, flag)
}

// complete has a shell complete the name of a profile.
func (o *profileOptions) complete(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	profiles, err := config.ReadProfiles(o.environ)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return profiles.Names(), cobra.ShellCompDirectiveNoFileComp
}
