package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	profilesVariable = "DUPLEX_PROFILES_FILE"
	// mostProfiles bounds the file.
	mostProfiles = 1 << 20
	// forOthers and othersWrite are the bits of a mode that are not the owner's.
	forOthers, othersWrite = 0o077, 0o022
)

// Profiles are the named clusters of one file. Comments in it outlive changes.
type Profiles struct {
	// Path is the file's; "" where the environment has none.
	Path string

	root *yaml.Node // a mapping
}

// ProfilesPath is where the profiles are: DUPLEX_PROFILES_FILE, or duplex/profiles.yaml of
// XDG_CONFIG_HOME, or of $HOME/.config. It is "" where none of these is set.
func ProfilesPath(environ []string) string {
	found := map[string]string{}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		found[name] = value
	}
	switch {
	case found[profilesVariable] != "":
		return found[profilesVariable]
	case found["XDG_CONFIG_HOME"] != "":
		return filepath.Join(found["XDG_CONFIG_HOME"], "duplex", "profiles.yaml")
	case found["HOME"] != "":
		return filepath.Join(found["HOME"], ".config", "duplex", "profiles.yaml")
	default:
		return ""
	}
}

// ReadProfiles reads the file of profiles; one that is not there has none. A file that others
// may write is refused, and one with secrets that others may read.
func ReadProfiles(environ []string) (*Profiles, error) {
	p := &Profiles{Path: ProfilesPath(environ), root: &yaml.Node{Kind: yaml.MappingNode}}
	if p.Path == "" {
		return p, nil
	}
	text, mode, err := readFile(p.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("config: reading profiles: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("config: reading %s: %w", p.Path, err)
	}
	if len(document.Content) > 0 && document.Content[0].Tag != "!!null" {
		p.root = document.Content[0]
	}
	return p, errors.Join(p.checkMode(mode), p.check())
}

// readFile reads a file that is one: what opens and never ends, or waits for a writer, is
// refused unopened. It may be behind a symbolic link; what counts is the file itself.
func readFile(path string) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a file: %s", path, info.Mode().Type())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, 0, err
	}
	text, err := io.ReadAll(io.LimitReader(f, mostProfiles+1))
	if err == nil && len(text) > mostProfiles {
		err = fmt.Errorf("%s has more than %d bytes", path, mostProfiles)
	}
	return text, info.Mode(), err
}

// checkMode refuses a file that others can have us send our password with, or that shows it.
func (p *Profiles) checkMode(mode fs.FileMode) error {
	switch {
	case runtime.GOOS == "windows": // where these bits say nothing
		return nil
	case mode&othersWrite != 0:
		return fmt.Errorf("config: reading %s: others may write to it (mode %04o), and send you to a cluster of theirs: chmod 600 %[1]s", p.Path, mode.Perm())
	case mode&forOthers != 0 && p.holdsSecrets():
		return fmt.Errorf("config: reading %s: it has a password in it, and others may read it (mode %04o): chmod 600 %[1]s", p.Path, mode.Perm())
	default:
		return nil
	}
}

func (p *Profiles) holdsSecrets() bool {
	all := lookup(p.root, profilesKey)
	known, err := profileFlags()
	for i := 1; all != nil && err == nil && i < len(all.Content); i += 2 {
		profile := all.Content[i]
		for k := 0; k+1 < len(profile.Content); k += 2 {
			if f := known.Lookup(profile.Content[k].Value); f != nil && isSecret(f) && profile.Content[k+1].Value != "" {
				return true
			}
		}
	}
	return err != nil
}

// check looks at the outer form: profiles are looked at when they are used.
func (p *Profiles) check() error {
	if p.root.Kind != yaml.MappingNode {
		return fmt.Errorf("config: reading %s, line %d: want the keys %s and %s", p.Path, p.root.Line, currentKey, profilesKey)
	}
	var errs []error
	wrong := func(line int, format string, args ...any) {
		errs = append(errs, fmt.Errorf("config: reading %s, line %d: %w", p.Path, line, fmt.Errorf(format, args...)))
	}
	seen := map[string]bool{}
	for i := 0; i < len(p.root.Content); i += 2 {
		key, value := p.root.Content[i], p.root.Content[i+1]
		switch {
		case seen[key.Value]:
			wrong(key.Line, "key %q is there twice", key.Value)
		case key.Value == currentKey && value.Kind != yaml.ScalarNode:
			wrong(value.Line, "%s: want the name of a profile", currentKey)
		case key.Value == profilesKey && value.Kind == yaml.MappingNode:
			errs = append(errs, p.checkNames(value))
		case key.Value == profilesKey && value.Tag != "!!null":
			wrong(value.Line, "%s: want names of profiles with their settings", profilesKey)
		case key.Value != currentKey && key.Value != profilesKey:
			wrong(key.Line, "unknown key %.80q%s", key.Value, meant(Nearest(key.Value, slices.Values([]string{currentKey, profilesKey}))))
		}
		seen[key.Value] = true
	}
	return errors.Join(errs...)
}

func (p *Profiles) checkNames(all *yaml.Node) error {
	var errs []error
	seen := map[string]bool{}
	for i := 0; i < len(all.Content); i += 2 {
		name := all.Content[i]
		err := CheckProfileName(name.Value)
		if err == nil && seen[name.Value] {
			err = fmt.Errorf("profile %s is there twice", name.Value)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("config: reading %s, line %d: %w", p.Path, name.Line, err))
		}
		seen[name.Value] = true
	}
	return errors.Join(errs...)
}

// Use makes a profile the current one; "" makes none.
func (p *Profiles) Use(name string) error {
	if name == "" {
		drop(p.root, currentKey)
		return nil
	}
	if _, err := p.Get(name); err != nil {
		return err
	}
	return put(p.root, currentKey, name)
}

// Remove takes a profile out; where it is the current one, none is then.
func (p *Profiles) Remove(name string) error {
	all := lookup(p.root, profilesKey)
	if lookup(all, name) == nil {
		return p.unknown(name)
	}
	drop(all, name)
	if p.Current() == name {
		drop(p.root, currentKey)
	}
	return nil
}

// Set sets a setting of a profile, which need not be there yet; nil takes the setting away.
func (p *Profiles) Set(name, key string, value any) error {
	if err := CheckProfileName(name); err != nil {
		return err
	}
	profile := mapping(mapping(p.root, profilesKey), name)
	if value == nil {
		drop(profile, key)
		return nil
	}
	return put(profile, key, value)
}

// Write writes the file in one step, for its owner alone. It takes the place of the file that
// a symbolic link leads to, not of the link.
func (p *Profiles) Write() error {
	if p.Path == "" {
		return errors.New("config: writing profiles: neither HOME nor DUPLEX_PROFILES_FILE says where")
	}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(p.root), encoder.Close()); err != nil {
		return fmt.Errorf("config: writing %s: %w", p.Path, err)
	}
	target, err := filepath.EvalSymlinks(p.Path)
	if err != nil {
		target = p.Path
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return fmt.Errorf("config: writing profiles: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(target), ".profiles-*") // for its owner alone
	if err != nil {
		return fmt.Errorf("config: writing profiles: %w", err)
	}
	_, err = f.Write(text.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), target)
	}
	if err != nil {
		return fmt.Errorf("config: writing profiles: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// lookup is the value of a key of a mapping, nil without one.
func lookup(m *yaml.Node, key string) *yaml.Node {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

// mapping is the mapping at a key, made where there is none.
func mapping(m *yaml.Node, key string) *yaml.Node {
	if found := lookup(m, key); found != nil {
		if found.Kind != yaml.MappingNode {
			*found = yaml.Node{Kind: yaml.MappingNode}
		}
		if len(found.Content) == 0 {
			found.Style = 0 // not {}
		}
		return found
	}
	made := &yaml.Node{Kind: yaml.MappingNode}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, made)
	return made
}

func put(m *yaml.Node, key string, value any) error {
	var made yaml.Node
	if err := made.Encode(value); err != nil {
		return fmt.Errorf("config: setting %s: %w", key, err)
	}
	if found := lookup(m, key); found != nil {
		made.LineComment = found.LineComment
		*found = made
		return nil
	}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, &made)
	return nil
}

func drop(m *yaml.Node, key string) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content = slices.Delete(m.Content, i, i+2)
			return
		}
	}
}
