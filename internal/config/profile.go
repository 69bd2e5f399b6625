package config

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

const (
	// ProfileFlag names the profile to use.
	ProfileFlag = "profile"
	// ReadOnlyFlag refuses commands that write.
	ReadOnlyFlag = "read-only"
	// AllowKey is the key of the topics that records may be redriven to. It is a profile's
	// alone: a guard that a flag lifts is none.
	AllowKey = "allow"

	currentKey, profilesKey = "current", "profiles"
)

// Profile is a named cluster: settings of [AddClusterFlags], by their flags' names.
type Profile struct {
	Name string
	// Settings are as they stand in the file.
	Settings map[string]any
	// Allow are globs of the topics that records may be redriven to; nil allows all.
	Allow []string

	file  string
	lines map[string]int
}

var profileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckProfileName says why a profile cannot have the name.
func CheckProfileName(name string) error {
	if !profileName.MatchString(name) {
		return fmt.Errorf("profile %.80q: want 1 to 64 of a-z A-Z 0-9 . _ -, beginning with a letter or a digit", name)
	}
	return nil
}

// Names are the profiles of the file, sorted.
func (p *Profiles) Names() []string {
	var names []string
	all := lookup(p.root, profilesKey)
	for i := 0; all != nil && i < len(all.Content); i += 2 {
		names = append(names, all.Content[i].Value)
	}
	slices.Sort(names)
	return names
}

// Current is the profile that is used where nobody names one; "" for none.
func (p *Profiles) Current() string {
	if current := lookup(p.root, currentKey); current != nil {
		return current.Value
	}
	return ""
}

// Get gives a profile. The error names what is wrong in it, with the line.
func (p *Profiles) Get(name string) (Profile, error) {
	node := lookup(lookup(p.root, profilesKey), name)
	if node == nil {
		return Profile{}, p.unknown(name)
	}
	found := Profile{Name: name, file: p.Path, lines: map[string]int{}}
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return found, nil
	}
	if node.Kind != yaml.MappingNode {
		return found, fmt.Errorf("config: reading %s, line %d: profile %s: want settings, such as brokers: [a:9092]", p.Path, node.Line, name)
	}
	if err := node.Decode(&found.Settings); err != nil {
		return found, fmt.Errorf("config: reading %s: profile %s: %w", p.Path, name, err)
	}
	known, err := profileFlags()
	if err != nil {
		return found, err
	}
	var errs []error
	for i := 0; i < len(node.Content); i += 2 {
		key := node.Content[i]
		found.lines[key.Value] = key.Line
		if _, used := found.Settings[key.Value]; used && key.Value != AllowKey && settable(known, key.Value) == nil {
			errs = append(errs, fmt.Errorf("config: reading %s: unknown key %q%s", found.where(key.Value), key.Value, closest(known, key.Value)))
		}
	}
	errs = append(errs, found.takeAllow())
	return found, errors.Join(errs...)
}

// Shown are all settings, secrets masked.
func (p Profile) Shown() (map[string]any, error) {
	known, err := profileFlags()
	shown := map[string]any{}
	for key, value := range p.Settings {
		if f := known.Lookup(key); f != nil && isSecret(f) {
			value = "***"
		}
		shown[key] = value
	}
	if p.Allow != nil {
		shown[AllowKey] = p.Allow
	}
	return shown, err
}

// Print gives all settings as YAML, secrets masked.
func (p Profile) Print() ([]byte, error) {
	shown, err := p.Shown()
	if err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(shown)
	if err != nil {
		return nil, fmt.Errorf("config: printing profile %s: %w", p.Name, err)
	}
	return text, nil
}

// where says where a setting stands.
func (p Profile) where(key string) string {
	return fmt.Sprintf("%s, line %d: profile %s", p.file, p.lines[key], p.Name)
}

// takeAllow moves the globs out of the settings.
func (p *Profile) takeAllow() error {
	value, ok := p.Settings[AllowKey]
	if !ok {
		return nil
	}
	delete(p.Settings, AllowKey)
	list, ok := value.([]any)
	if !ok {
		return fmt.Errorf("config: reading %s: %s: want a list of topics, such as [\"retry.*\"]", p.where(AllowKey), AllowKey)
	}
	p.Allow = []string{}
	for _, one := range list {
		glob, ok := one.(string)
		if _, err := path.Match(glob, ""); err != nil || !ok || glob == "" {
			return fmt.Errorf("config: reading %s: %s: %q is no topic, and no pattern of * ? [a-z]", p.where(AllowKey), AllowKey, fmt.Sprint(one))
		}
		p.Allow = append(p.Allow, glob)
	}
	return nil
}

func (p *Profiles) unknown(name string) error {
	names := p.Names()
	switch near := Nearest(name, slices.Values(names)); {
	case p.Path == "":
		return fmt.Errorf("config: using profile %.80q: there is no file of profiles: neither HOME nor DUPLEX_PROFILES_FILE is set", name)
	case len(names) == 0:
		return fmt.Errorf("config: using profile %.80q: there is none in %s: make it with duplex profile set", name, p.Path)
	case near != "":
		return fmt.Errorf("config: using profile %.80q: it is not in %s, did you mean %q?", name, p.Path, near)
	default:
		return fmt.Errorf("config: using profile %.80q: it is not in %s, which has %s", name, p.Path, strings.Join(names, ", "))
	}
}

// profileFlags are the settings that a profile may have.
func profileFlags() (*pflag.FlagSet, error) {
	flags := pflag.NewFlagSet(profilesKey, pflag.ContinueOnError)
	_, err := AddProfileFlags(flags)
	return flags, err
}

// fromProfile gives the settings of the profile that is asked for by the command line, the
// layers above, or the file of profiles itself.
func fromProfile(flags *pflag.FlagSet, environ []string, above []layer) (layer, error) {
	f := flags.Lookup(ProfileFlag)
	name, asked := f.Value.String(), f.Changed
	for i := 0; i < len(above) && !asked; i++ {
		if above[i].values.Exists(ProfileFlag) {
			name, asked = above[i].values.String(ProfileFlag), true
		}
	}
	if asked && name == "" {
		return layer{}, nil // none is wanted
	}
	if _, named := f.Annotations[namedOnly]; named && !asked {
		return layer{}, nil
	}
	profiles, err := ReadProfiles(environ)
	if err != nil {
		return layer{}, err
	}
	if !asked {
		if name = profiles.Current(); name == "" {
			return layer{}, nil
		}
		note(f, profiles.Path)
	}
	p, err := profiles.Get(name)
	if err != nil {
		return layer{}, err
	}
	if p.Allow != nil {
		err = flags.SetAnnotation(ProfileFlag, AllowKey, p.Allow)
	}
	values := koanf.New("\x00")
	return layer{values: values, where: p.where, typed: true}, errors.Join(err, f.Value.Set(name), values.Load(settings(p.Settings), nil))
}

// settings is a koanf.Provider of what was read already.
type settings map[string]any

// Read implements koanf.Provider.
func (s settings) Read() (map[string]any, error) { return maps.Clone(s), nil }

// ReadBytes implements koanf.Provider.
func (settings) ReadBytes() ([]byte, error) { return nil, errors.ErrUnsupported }
