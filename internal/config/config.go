// Package config fills the flags of a command from a profile, a YAML file, the environment
// and the command line, in that order of rising weight.
//
// A flag's name is its name everywhere: --sasl-password, DUPLEX_SASL_PASSWORD,
// and the key sasl-password in a file or a profile.
package config

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

const (
	envPrefix = "DUPLEX_"

	// FileFlag names the YAML file.
	FileFlag = "config"
	// PrintFlag prints the effective settings.
	PrintFlag = "print-config"
)

// AddFlags adds --config and --print-config.
func AddFlags(flags *pflag.FlagSet) {
	flags.String(FileFlag, "", "read settings from this YAML `file`; its keys are the names of these flags")
	flags.Bool(PrintFlag, false, "print the effective settings as YAML, secrets masked, and exit")
}

// layer is one place that settings come from.
type layer struct {
	values *koanf.Koanf
	where  func(key string) string // for people: a variable's name, a file and a line
	typed  bool                    // lists are lists, not text with commas
}

// Load sets every flag that the command line left alone: from the environment, or else from
// the file, or else from the profile. The error names the variable, or the file and line,
// and what is wrong with it.
func Load(flags *pflag.FlagSet, environ []string) error {
	layers, err := layersOf(flags, environ)
	if layers == nil {
		return err
	}
	errs := []error{err}
	flags.VisitAll(func(f *pflag.Flag) {
		if settable(flags, f.Name) == nil {
			return
		}
		if f.Name == ReadOnlyFlag {
			errs = append(errs, setReadOnly(f, layers))
			return
		}
		if f.Changed || f.Name == ProfileFlag && f.Value.String() != "" {
			return
		}
		for _, l := range layers {
			if l.values.Exists(f.Name) {
				errs = append(errs, l.set(f))
				return
			}
		}
	})
	return errors.Join(errs...)
}

// layersOf are where settings come from, the weightiest first; none where they cannot be read.
func layersOf(flags *pflag.FlagSet, environ []string) ([]layer, error) {
	variables, err := fromEnvironment(environ)
	if err != nil {
		return nil, err
	}
	path, err := flags.GetString(FileFlag)
	if err != nil {
		return nil, err
	}
	if path == "" {
		path = variables.String(FileFlag)
	}
	layers := []layer{{values: variables, where: variable}}
	var errs []error
	if path != "" {
		settings := koanf.New("\x00")
		lines, err := fromFile(settings, path)
		if err != nil {
			return nil, err
		}
		for _, key := range settings.Keys() {
			if settable(flags, key) == nil {
				errs = append(errs, fmt.Errorf("config: reading %s%s: unknown key %q%s", path, at(lines, key), key, closest(flags, key)))
			}
		}
		layers = append(layers, layer{values: settings, where: func(key string) string { return path + at(lines, key) }, typed: true})
	}
	if flags.Lookup(ProfileFlag) != nil {
		profile, err := fromProfile(flags, environ, layers)
		errs = append(errs, err)
		if profile.values != nil {
			layers = append(layers, profile)
		}
	}
	return layers, errors.Join(errs...)
}

// set sets a flag that the layer has.
func (l layer) set(f *pflag.Flag) error {
	where := l.where(f.Name)
	note(f, where)
	if l.typed {
		where += ": " + f.Name
	}
	if err := set(f, l.values, l.typed); err != nil {
		return fmt.Errorf("config: reading %s: %w", where, err)
	}
	return nil
}

// setReadOnly: whoever says read-only is heard, and nobody can take it back in a lighter or in
// a weightier place.
func setReadOnly(f *pflag.Flag, layers []layer) error {
	var errs []error
	for _, l := range layers {
		if f.Value.String() == "true" || !l.values.Exists(f.Name) {
			continue
		}
		errs = append(errs, l.set(f))
	}
	return errors.Join(errs...)
}

const originAnnotation, namedOnly = "origin", "named-only"

// note remembers where a flag has its value from.
func note(f *pflag.Flag, where string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[originAnnotation] = []string{where}
}

// Origin says where a flag has its value from, once it is loaded: "--name", "DUPLEX_NAME", a
// file with the line, or "default".
func Origin(flags *pflag.FlagSet, name string) string {
	f := flags.Lookup(name)
	switch {
	case f == nil:
		return "nowhere"
	case len(f.Annotations[originAnnotation]) > 0:
		return f.Annotations[originAnnotation][0]
	case f.Changed:
		return "--" + name
	default:
		return "default"
	}
}

// settable returns the named flag if it is a setting, nil otherwise.
func settable(flags *pflag.FlagSet, name string) *pflag.Flag {
	if name == FileFlag || name == PrintFlag || name == "help" || name == "version" {
		return nil
	}
	return flags.Lookup(name)
}

func variable(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func fromEnvironment(environ []string) (*koanf.Koanf, error) {
	k := koanf.New("\x00")
	provider := env.Provider("\x00", env.Opt{
		Prefix: envPrefix,
		TransformFunc: func(key, value string) (string, any) {
			return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(key, envPrefix), "_", "-")), value
		},
		EnvironFunc: func() []string { return environ },
	})
	if err := k.Load(provider, nil); err != nil {
		return nil, fmt.Errorf("config: reading the environment: %w", err)
	}
	return k, nil
}

var topLevelKey = regexp.MustCompile(`^["']?([^\s"'#:][^"':]*)["']?\s*:`)

func fromFile(k *koanf.Koanf, path string) (lines map[string]int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("config: reading --%s: %w", FileFlag, err)
	}
	if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
		return nil, fmt.Errorf("config: reading %s: %w", path, err)
	}
	lines = map[string]int{}
	for i, line := range strings.Split(string(text), "\n") {
		if m := topLevelKey.FindStringSubmatch(line); m != nil {
			lines[strings.TrimSpace(m[1])] = i + 1
		}
	}
	return lines, nil
}

func at(lines map[string]int, key string) string {
	top, _, _ := strings.Cut(key, "\x00")
	if n := lines[top]; n > 0 {
		return fmt.Sprintf(", line %d", n)
	}
	return ""
}

func set(f *pflag.Flag, k *koanf.Koanf, typed bool) error {
	if list, ok := f.Value.(pflag.SliceValue); ok && typed {
		if _, ok := k.Get(f.Name).([]any); ok { // an empty list too: Print writes some
			return list.Replace(k.Strings(f.Name))
		}
	}
	switch v := k.Get(f.Name).(type) {
	case nil:
		return errors.New("is empty")
	case map[string]any: // not shown, nor is a list: it may be a secret
		return errors.New("want one value, got a mapping")
	case []any:
		return fmt.Errorf("want one value, got a list of %d", len(v))
	default:
		return f.Value.Set(fmt.Sprint(v))
	}
}

// closest is a hint at a flag whose name is nearly key.
func closest(flags *pflag.FlagSet, key string) string {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if settable(flags, f.Name) != nil && !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return meant(Nearest(key, slices.Values(names)))
}

func meant(near string) string {
	if near == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", near)
}

// mostTyped bounds what Nearest compares: nobody types more.
const mostTyped = 64

// Nearest is the one of words that somebody meant who typed word wrong; "" for none.
func Nearest(word string, words iter.Seq[string]) string {
	near, least := "", 3
	if len(word) > mostTyped {
		return ""
	}
	for w := range words {
		if d := distance(w, word); d < least && d < max(len(w), len(word)) {
			near, least = w, d
		}
	}
	return near
}

// distance is the number of insertions, deletions, replacements and swaps of neighbours from a
// to b.
func distance(a, b string) int {
	before, row := []int(nil), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

const secretAnnotation = "secret"

// MarkSecret has Print mask the named flag.
func MarkSecret(flags *pflag.FlagSet, name string) error {
	return flags.SetAnnotation(name, secretAnnotation, []string{"true"})
}

func isSecret(f *pflag.Flag) bool { return slices.Contains(f.Annotations[secretAnnotation], "true") }

// Print gives the effective settings as YAML that Load reads back, secrets aside.
func Print(flags *pflag.FlagSet) ([]byte, error) {
	settings := map[string]any{}
	flags.VisitAll(func(f *pflag.Flag) {
		if settable(flags, f.Name) == nil || f.Deprecated != "" {
			return
		}
		list, ok := f.Value.(pflag.SliceValue)
		switch {
		case isSecret(f) && f.Value.String() != "":
			settings[f.Name] = "***"
		case ok:
			settings[f.Name] = list.GetSlice()
		case f.Value.Type() == "bool":
			settings[f.Name] = f.Value.String() == "true"
		default:
			settings[f.Name] = f.Value.String()
		}
	})
	out, err := yaml.Parser().Marshal(settings)
	if err != nil {
		return nil, fmt.Errorf("config: printing the settings: %w", err)
	}
	return out, nil
}
