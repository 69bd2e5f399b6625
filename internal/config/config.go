// Package config fills the flags of a command from a YAML file, the environment
// and the command line, in that order of rising weight.
//
// A flag's name is its name everywhere: --sasl-password, DUPLEX_SASL_PASSWORD,
// and the key sasl-password in the file.
package config

import (
	"errors"
	"fmt"
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

// Load sets every flag that the command line left alone from the environment, or
// else from the file. The error names the variable, or the file and line, and
// what is wrong with it.
func Load(flags *pflag.FlagSet, environ []string) error {
	variables, err := fromEnvironment(environ)
	if err != nil {
		return err
	}
	path, err := flags.GetString(FileFlag)
	if err != nil {
		return err
	}
	if path == "" {
		path = variables.String(FileFlag)
	}
	settings, lines := koanf.New("\x00"), map[string]int{}
	if path != "" {
		if lines, err = fromFile(settings, path); err != nil {
			return err
		}
	}
	var errs []error
	for _, key := range settings.Keys() {
		if settable(flags, key) == nil {
			errs = append(errs, fmt.Errorf("config: reading %s%s: unknown key %q%s", path, at(lines, key), key, closest(flags, key)))
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || settable(flags, f.Name) == nil {
			return
		}
		switch {
		case variables.Exists(f.Name):
			if err := set(f, variables, false); err != nil {
				errs = append(errs, fmt.Errorf("config: reading %s: %w", variable(f.Name), err))
			}
		case settings.Exists(f.Name):
			if err := set(f, settings, true); err != nil {
				errs = append(errs, fmt.Errorf("config: reading %s%s: %s: %w", path, at(lines, f.Name), f.Name, err))
			}
		}
	})
	return errors.Join(errs...)
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
	var near string
	flags.VisitAll(func(f *pflag.Flag) {
		if settable(flags, f.Name) != nil && near == "" && distance(f.Name, key) <= 2 {
			near = f.Name
		}
	})
	if near == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", near)
}

// distance is the number of insertions, deletions and replacements from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, before+1, row[j]+1)
		}
	}
	return row[len(b)]
}

const secretAnnotation = "secret"

// MarkSecret has Print mask the named flag.
func MarkSecret(flags *pflag.FlagSet, name string) error {
	return flags.SetAnnotation(name, secretAnnotation, []string{"true"})
}

// Print gives the effective settings as YAML that Load reads back, secrets aside.
func Print(flags *pflag.FlagSet) ([]byte, error) {
	settings := map[string]any{}
	flags.VisitAll(func(f *pflag.Flag) {
		if settable(flags, f.Name) == nil || f.Deprecated != "" {
			return
		}
		list, ok := f.Value.(pflag.SliceValue)
		switch {
		case slices.Contains(f.Annotations[secretAnnotation], "true") && f.Value.String() != "":
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
