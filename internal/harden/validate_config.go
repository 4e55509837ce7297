package harden

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s/deploy"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

func (v *checker) networkPolicies() {
	n := v.o.NetworkPolicies
	for i, ns := range n.Namespaces {
		v.namespace(at("network_policies.namespaces", i), ns)
	}
	addOns := map[string]string{}
	for _, name := range planManifests {
		addOns[deploy.AddOn(name)] = "the plugin's own " + name
	}
	for i, f := range n.Manifests {
		option := at("network_policies.manifests", i)
		base := baseName(f.Name)
		if err := deploy.CheckManifestName(base); err != nil {
			v.wrong(option, "%s: %w", f.Name, err)
			continue
		}
		if other, ok := addOns[deploy.AddOn(base)]; ok {
			v.wrong(option, "%s: K3s would take it and %s for one manifest and delete the objects of the one when it deploys the other: give it another name", f.Name, other)
			continue
		}
		addOns[deploy.AddOn(base)] = f.Name
		objects, err := kube.LoadManifest(f.Name, f.Data)
		v.load(option, err)
		for _, x := range objects {
			if x.APIVersion == "v1" && x.Kind == "Secret" {
				v.wrong(option, "%s:%d: the Secret %s in the image would be in each of its copies, and in whoever's hands one is: create it in the cluster", x.File, x.Line, x.Name)
			}
		}
	}
}

// planManifests are the manifests of the plan's own.
var planManifests = []string{policiesManifest, morePoliciesManifest, accountsManifest, podPoliciesManifest}

// baseName is the last part of a path of the build host, whatever system it runs.
func baseName(name string) string { return path.Base(strings.ReplaceAll(name, `\`, "/")) }

var sysctlPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/@-]*$`)

func (v *checker) sysctl() {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(v.o.Sysctl)) {
		option := fmt.Sprintf("sysctl[%q]", name)
		value := v.o.Sysctl[name]
		if !sysctlPattern.MatchString(name) || !strings.ContainsAny(name, "./") || strings.Contains(name, "..") {
			v.wrong(option, "is not the name of a kernel parameter: write names such as net.ipv4.ip_forward")
			continue
		}
		if strings.TrimSpace(value) == "" || strings.ContainsAny(value, "\n\r\x00") {
			v.wrong(option, "%q is not a value: write one line", value)
			continue
		}
		dotted := sysctlName(name)
		if other, ok := seen[dotted]; ok {
			v.wrong(option, "is the same parameter as %q: leave one out", other)
		}
		seen[dotted] = name
		if desired := kubeletValue(dotted); desired != "" && strings.TrimSpace(value) != desired {
			v.wrong(option, "%s contradicts protect-kernel-defaults: the kubelet starts with %s alone; leave it out", value, desired)
		}
	}
}

func (v *checker) config() {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(v.o.Config)) {
		option := fmt.Sprintf("config[%q]", k3s.ShownKey(name))
		key := strings.TrimSuffix(name, "+")
		known, ok := k3s.FindKey(key)
		if !ok && v.released() && v.o.Release.MayHaveKey(key, v.o.Role) && !holdsSecretValue(key, v.o.Config[name]) {
			continue
		}
		if !ok {
			hint := "; if a newer patch release has it, say so with k3s_version"
			if v.released() {
				hint = ""
				if near := k3s.Nearest(key, v.o.Release, v.o.Role); near != "" {
					hint = fmt.Sprintf(": did you mean %s?", near)
				}
			}
			v.wrong(option, "K3s has no such key and would drop it%s", hint)
			continue
		}
		if other, twice := seen[known.Name]; twice {
			v.wrong(option, "is the same key as %q: leave one out", other)
		}
		seen[known.Name] = name
		switch {
		case known.Name == "config":
			v.wrong(option, "a configuration file cannot name another: leave it out")
		case holdsSecretValue(known.Name, v.o.Config[name]):
			hint := ""
			if file := k3s.SecretHint(known.Name); file != "" {
				hint = ", with " + file
			}
			v.wrong(option, "a secret in the image would be the same in each of its copies, and in whoever's hands one is: let first boot bring it%s", hint)
		case v.o.Role != "" && known.Only != "" && known.Only != v.o.Role:
			v.wrong(option, "only a K3s %s has this key, and the role is %s: leave it out", known.Only, v.o.Role)
		case v.released() && !known.In(v.o.Release, known.Only):
			v.wrong(option, "K3s %s does not have this key: leave it out", v.o.Release)
		default:
			v.value(option, known, v.o.Config[name])
		}
	}
}

// holdsSecretValue says whether a value of a key holds a secret, as a list or a
// map too.
func holdsSecretValue(key string, value any) bool {
	switch v := value.(type) {
	case nil:
		return false
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return holdsSecretValue(key, item) })
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), func(item any) bool { return holdsSecretValue(key, item) })
	}
	return k3s.HoldsSecret(key, textOf(value))
}

// value checks the type and the form of a key's value.
func (v *checker) value(option string, key k3s.Key, value any) {
	items, isList := listOf(value)
	if isList && key.Kind != k3s.List {
		v.wrong(option, "is a list, and the key takes one value")
		return
	}
	if isList && len(items) == 0 {
		v.wrong(option, "is empty: leave the key out")
	}
	for _, x := range rawItems(value) {
		switch x.(type) {
		case string, bool, int, int64, uint64, float64:
		default:
			v.wrong(option, "holds a %T: write a text, a number, true or false, or a list of these", x)
			return
		}
	}
	for _, text := range items {
		if strings.ContainsAny(text, "\n\r\x00") {
			v.wrong(option, "holds a line break: write one line")
			return
		}
	}
	for _, text := range items {
		if form := key.Misformed(text); form != "" && (key.Kind != k3s.Number || isNumber(text)) {
			v.wrong(option, "is not %s, and K3s would exit", form)
			return
		}
	}
	if isList {
		return
	}
	text := items[0]
	switch _, err := strconv.ParseBool(text); {
	case key.Kind == k3s.Boolean && err != nil:
		v.wrong(option, "is neither true nor false")
	case key.Kind == k3s.Number && !isNumber(text):
		v.wrong(option, "is not a number")
	case key.Name == "data-dir":
		v.absolute(option, text)
	}
}

func isNumber(s string) bool {
	_, err := strconv.ParseInt(s, 0, 64)
	return err == nil
}

func rawItems(v any) []any {
	if list, ok := v.([]any); ok {
		return list
	}
	if _, ok := v.([]string); ok {
		return nil
	}
	return []any{v}
}

var flagPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

// args checks the component arguments by their form, and by what the component
// of the release knows.
func (v *checker) args() {
	c := &choices{Options: v.o}
	byComponent := map[k3s.Component][]k3s.Argument{}
	for _, w := range c.userArgs() {
		if !flagPattern.MatchString(w.flag) {
			v.wrong(w.option, "%q is not a flag of %s: write items such as %q, without spaces or leading dashes", safetext.Name(w.flag), w.component, "v=2")
			continue
		}
		if strings.ContainsAny(w.value, "\n\r\x00") {
			v.wrong(w.option, "%s holds a line break: write one line", w.flag)
			continue
		}
		if v.o.Role == k3s.Agent && !agentMay(w.key) {
			v.wrong(w.option, "an agent runs no %s and does not start with this key: leave it out", w.component)
			continue
		}
		byComponent[w.component] = append(byComponent[w.component], k3s.Argument{Name: w.flag, Value: w.value, Origin: k3s.Origin{Source: w.option}})
	}
	if !v.released() {
		return
	}
	for _, comp := range components {
		for _, p := range kube.CheckArguments(v.o.Release, comp, byComponent[comp]) {
			v.wrong(p.Origin.Source, "%s", p.Text)
		}
	}
}
