package k3s

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// splitCommand finds K3s in a service's command line and returns the words
// behind "server" or "agent".
func (r *resolver) splitCommand(s *service.Service) []service.Word {
	origin := Origin{Source: s.Path}
	if len(s.Start) > 0 {
		origin.Line = s.Start[0].Line
	}
	if r.openCommand(s.Start) {
		return nil
	}
	words, environment, known := unwrap(s.Start, s.Environment)
	if !known && r.command != "" {
		return r.declared(origin)
	}
	if !known {
		r.effective.Wrapper = origin
		r.problem(Unreadable, origin, "the command is not k3s itself, so what it runs cannot be judged: start k3s directly, or declare what is run, such as k3s_command = \"%s --config %s\"", r.role, ConfigFile)
		return nil
	}
	s.Environment = environment
	r.environment = environment
	if path.IsAbs(words[0].Text) {
		r.effective.Program = path.Clean(words[0].Text)
	}
	for i, w := range words[1:] {
		switch role := Role(w.Text); role {
		case Server, Agent:
			if role != r.role {
				r.problem(Unreadable, origin, "the service runs k3s %s, but the node is to be judged as %s: set role = %q", role, r.role, role)
			}
			return words[i+2:]
		}
	}
	r.problem(Unreadable, origin, "the command runs neither k3s server nor k3s agent")
	return nil
}

// Declared is the source of what the user says that a service runs.
const Declared = "k3s_command, as declared"

// Added is the source of words that are put behind those of a service.
const Added = "the command line, as added to"

// declared are the words behind "server" or "agent" of what the user says that
// the service runs.
func (r *resolver) declared(origin Origin) []service.Word {
	words := strings.Fields(r.command)
	if role := Role(words[0]); role != r.role {
		r.problem(Unreadable, origin, "k3s_command declares k3s %s, but the node is to be judged as %s: set role or k3s_command", role, r.role)
	}
	var out []service.Word
	for _, w := range words[1:] {
		out = append(out, service.Word{Text: w, Path: Declared})
	}
	r.problem(Noted, origin, "the command is not k3s itself; what it runs is as k3s_command declares")
	return out
}

// CheckCommand says what is wrong with what a user declares that a service runs.
func CheckCommand(command string) error {
	words := strings.Fields(command)
	switch {
	case len(words) == 0 || Role(words[0]) != Server && Role(words[0]) != Agent:
		return errors.New("begins with neither server nor agent: write what stands behind k3s, such as \"server --config /etc/rancher/k3s/config.yaml\"")
	case strings.ContainsAny(command, "\"'\\\\$`;|&<>\n\r"):
		return errors.New("holds what a shell would read otherwise than it stands there: write plain words")
	}
	return nil
}

// isK3s says whether a word of a command line names K3s's binary, which may
// carry its release in its name.
func isK3s(word string) bool {
	base := path.Base(word)
	return base == "k3s" || path.IsAbs(word) && strings.HasPrefix(base, "k3s") && path.Ext(base) != ".sh"
}

// configFileName finds the configuration file: the environment beats the
// command line, which beats the default.
func (r *resolver) configFileName(words []service.Word) (string, Origin) {
	for _, v := range r.environment {
		if v.Name == "K3S_CONFIG_FILE" && v.Value != "" {
			return v.Value, Origin{Source: v.Path, Line: v.Line}
		}
	}
	for i, w := range words {
		for _, flag := range []string{"--config", "-c"} {
			if w.Text == flag && i+1 < len(words) { // one that is not known is reported as the value of its key
				return words[i+1].Text, Origin{Source: w.Path, Line: w.Line}
			}
			if value, ok := strings.CutPrefix(w.Text, flag+"="); ok {
				return value, Origin{Source: w.Path, Line: w.Line}
			}
		}
	}
	return ConfigFile, Origin{}
}

// commandOptions reads the words behind "server" or "agent" as K3s's command
// line parser does: --name=value, --name value, -n value; booleans take a
// value only with "=".
func (r *resolver) commandOptions(words []service.Word) []option {
	var out []option
	for i := 0; i < len(words); i++ {
		w := words[i]
		origin := Origin{Source: w.Path, Line: w.Line}
		name, dashes := strings.CutPrefix(w.Text, "-")
		if !dashes || name == "" || name == "-" {
			r.problem(Unreadable, origin, "%q is not an option: K3s may stop reading its command line there; remove it, or write a value behind a =", r.hideWord(w.Text))
			continue
		}
		name = strings.TrimPrefix(name, "-")
		name, value, given := strings.Cut(name, "=")
		open := w.Open
		if open != "" && strings.Contains(name, "%") {
			r.open(origin, open)
			continue
		}
		key, known := FindKey(name)
		newer := !known && r.release.MayHaveKey(name, r.role)
		if newer && (given || i+1 == len(words) || strings.HasPrefix(words[i+1].Text, "-")) {
			r.problem(Unknown, origin, unknownKey, r.release, ShownKey(name))
			continue
		}
		if newer {
			r.problem(Unreadable, origin, "K3s %s is newer than the options known here, and whether the word behind --%s is its value is not known: write --%[2]s=VALUE", r.release, ShownKey(name))
			return out
		}
		if !known || !key.In(r.release, r.role) {
			r.problem(Fatal, origin, "K3s %s %s has no option --%s and exits%s", r.release, r.role, ShownKey(name), r.suggest(name))
			continue
		}
		if !given {
			switch {
			case key.Kind == Boolean:
				value = "true"
			case i+1 < len(words):
				i++
				value, open = words[i].Text, words[i].Open
				origin = Origin{Source: words[i].Path, Line: words[i].Line}
			default:
				r.problem(Fatal, origin, "--%s has no value, and K3s exits", name)
				continue
			}
		}
		out = append(out, option{name: name, values: []Value{{Text: value, Origin: origin, Open: open}}, origin: origin})
	}
	return out
}

// hideWord shows a stray word of the command line only when it is harmless.
func (r *resolver) hideWord(text string) string {
	if text == "true" || text == "false" || text == "" {
		return text
	}
	return "(hidden)"
}

// maxSuggestions is how many misspelt keys a similar one is looked for: each is
// compared with every key that there is.
const maxSuggestions = 100

func (r *resolver) suggest(name string) string {
	if r.suggested++; r.suggested > maxSuggestions {
		return ""
	}
	if near := Nearest(name, r.release, r.role); near != "" && near != name {
		return "; did you mean " + near + "?"
	}
	return ""
}

// unknownKey is what is said of a key that a newer release may know.
const unknownKey = "K3s %s is newer than the keys known here, so whether it has the key %s is not known: see K3s's documentation of that release"

// knownOptions drops the keys of configuration files that K3s does not know:
// a server warns and goes on, an agent exits.
func (r *resolver) knownOptions(options []option) []option {
	var out []option
	for _, o := range options {
		key, known := FindKey(o.name)
		if known && key.In(r.release, r.role) {
			out = append(out, o)
			continue
		}
		onlyServer := known && r.role == Agent && key.Only == Server
		switch {
		case !known && r.release.MayHaveKey(o.name, r.role):
			r.problem(Unknown, o.origin, unknownKey, r.release, ShownKey(o.name))
		case onlyServer:
			r.problem(Fatal, o.origin, "%s is for servers only, and an agent that finds it exits: remove it from agent images", o.name)
		case r.role == Agent:
			r.problem(Fatal, o.origin, "K3s %s agent has no key %s and exits%s", r.release, ShownKey(o.name), r.suggest(o.name))
		case !r.release.AtLeast(1, 23):
			r.problem(Fatal, o.origin, "K3s %s has no key %s: depending on the patch release it exits or drops the key%s", r.release, ShownKey(o.name), r.suggest(o.name))
		default:
			r.problem(Ignored, o.origin, "K3s %s has no key %s and drops it with a warning%s", r.release, ShownKey(o.name), r.suggest(o.name))
		}
	}
	return out
}

// settings folds options in their order into settings: lists append, of other
// keys the last one counts. The environment fills in what neither file nor
// command line gave.
func (r *resolver) settings(options []option) map[string]Setting {
	out := map[string]Setting{}
	for _, o := range options {
		key, _ := FindKey(o.name)
		old, had := out[key.Name]
		switch {
		case key.Kind == List:
			for _, v := range o.values {
				r.checkForm(key, v)
			}
			out[key.Name] = Setting{Values: append(old.Values, o.values...)}
			continue
		case len(o.values) == 0:
			continue
		}
		last := o.values[len(o.values)-1]
		if had && !equalValue(key, old.Values[0].Text, last.Text) {
			r.problem(Noted, old.Values[0].Origin, "%s is set to %s here and to %s at %s, which counts; remove one of them",
				key.Name, Redact(key.Name, old.Values[0].Text), Redact(key.Name, last.Text), last.Origin)
		}
		r.checkValue(key, last)
		out[key.Name] = Setting{Values: []Value{last}}
	}
	for _, v := range r.environment {
		for _, i := range variableIndex[v.Name] {
			key := keys[i]
			if v.Value == "" || !key.In(r.release, r.role) {
				continue
			}
			if _, had := out[key.Name]; had {
				continue
			}
			value := Value{v.Value, Origin{Source: v.Path, Line: v.Line}, v.Open}
			r.checkValue(key, value)
			out[key.Name] = Setting{Values: []Value{value}}
		}
	}
	return out
}

func equalValue(key Key, a, b string) bool {
	if key.Kind == Boolean {
		x, errX := strconv.ParseBool(a)
		y, errY := strconv.ParseBool(b)
		return errX == nil && errY == nil && x == y
	}
	return a == b
}

// checkValue reports a value that K3s's command line parser refuses.
func (r *resolver) checkValue(key Key, v Value) {
	if v.Open != "" {
		r.checkForm(key, v)
		return
	}
	if len(key.OneOf) > 0 && !slices.Contains(key.OneOf, v.Text) {
		r.problem(Fatal, v.Origin, "%s has a value that is none of %s, and K3s exits: write one of them", key.Name, strings.Join(key.OneOf, ", "))
	}
	switch {
	case !key.malformed(v.Text):
	case key.Kind == Boolean:
		r.problem(Fatal, v.Origin, "%s is not a boolean, and K3s exits: write true or false", key.Name)
	case key.Kind == Number:
		r.problem(Fatal, v.Origin, "%s is not a number, and K3s exits", key.Name)
		return
	}
	r.checkForm(key, v)
}

// checkForm reports a value that K3s itself cannot parse.
func (r *resolver) checkForm(key Key, v Value) {
	if v.Open != "" {
		if !mayBeOpen(key, v) {
			r.open(v.Origin, v.Open)
		}
		return
	}
	if form := key.Misformed(v.Text); form != "" && r.release.AtLeast(1, 23) { // older ones were not looked at
		r.problem(Fatal, v.Origin, "%s is not %s, and K3s exits", key.Name, form)
	}
	if key.Name == "flannel-backend" && slices.Contains(goneBackends, v.Text) && r.release.AtLeast(1, 27) {
		r.problem(Fatal, v.Origin, "%s: K3s has no backend %s since v1.27, and exits: write wireguard-native", key.Name, v.Text)
	}
}
