package harden

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
)

// desired is one thing that K3s's configuration is to say.
type desired struct {
	// key is the K3s key; flag names the component's flag when key is a list
	// of component arguments.
	key, flag string
	component k3s.Component
	value     string
	// option is the HCL option that asks for it, "" when the guide does.
	option string
	holds  func(found string) bool
	// list is for keys and flags that may stand several times: the value is one
	// item among others.
	list bool
	// union is for flags whose value is a comma list that must contain value's
	// items.
	union bool
}

// asker says who desires it, for messages.
func (w desired) asker() string {
	if w.option == "" {
		return "the guide"
	}
	return w.option
}

// text is the item as it stands in the configuration file.
func (w desired) text() string {
	if w.flag == "" {
		return w.value
	}
	return w.flag + "=" + w.value
}

// shown is a value for w fit for a message.
func (w desired) shown(value string) string {
	if w.flag == "" {
		return k3s.Redact(w.key, value)
	}
	return kube.Shown(w.component, w.flag, value)
}

// shownText is text fit for a message.
func (w desired) shownText() string {
	w.value = w.shown(w.value)
	return w.text()
}

// served says whether a value found on the node does what is desired.
func (w desired) served(found string) bool {
	if w.union {
		current := strings.Split(found, ",")
		for _, v := range strings.Split(w.value, ",") {
			if !slices.Contains(current, v) {
				return false
			}
		}
		return true
	}
	return equalValue(found, w.value) || w.option == "" && w.holds != nil && w.holds(found)
}

// desired turns the rules and the user's own keys and arguments into what the
// configuration must say, and warns where the user's contradict the guide.
func (c *choices) desired() (ws []desired, warnings []string) {
	args := c.userArgs()
	scalars, lists := c.userKeys()
	taken := map[string]bool{}
	for _, u := range rules {
		if !u.covers(c.Release) || c.Role == k3s.Agent && !agentMay(u.key()) {
			continue
		}
		w := desired{key: u.key(), component: u.component, value: u.value(c), holds: u.holds}
		if u.component != "" {
			w.flag = u.name
		}
		if u.option != nil {
			w.option = u.option(c.asked)
		}
		w.union = w.flag == "enable-admission-plugins"
		if w.value == "" && !w.union {
			continue // what the user says of it comes below
		}
		own := args
		if w.flag == "" {
			own = scalars
		}
		for _, a := range own {
			if a.key != w.key || a.flag != w.flag {
				continue
			}
			if w.union {
				w.value = union(w.value, a.value)
				w.option = a.option
				continue
			}
			if w.value != "" && !w.served(a.value) && (w.holds == nil || !w.holds(a.value)) {
				warnings = append(warnings, fmt.Sprintf("%s sets %s, where the guide wants %s; the check pass will judge it",
					a.option, a.text(), w.value))
			}
			w = a
		}
		if w.union && w.value != "" {
			w.value = union("NodeRestriction", w.value)
		}
		taken[w.key+" "+w.flag] = true
		if w.value != "" {
			ws = append(ws, w)
		}
	}
	for _, more := range [][]desired{args, scalars} {
		for _, a := range more {
			if a.list || !taken[a.key+" "+a.flag] {
				ws = append(ws, a)
			}
		}
	}
	return append(ws, lists...), warnings
}

// argOption is the HCL option that carries a component's arguments.
var argOption = map[k3s.Component]string{
	k3s.APIServer:         "kube_apiserver_args",
	k3s.ControllerManager: "kube_controller_manager_args",
	k3s.Scheduler:         "kube_scheduler_args",
	k3s.Kubelet:           "kubelet_args",
	k3s.KubeProxy:         "kube_proxy_args",
	k3s.Etcd:              "etcd_args",
}

// components in the order in which a configuration file shows their arguments.
var components = []k3s.Component{k3s.APIServer, k3s.ControllerManager, k3s.Scheduler, k3s.Kubelet, k3s.KubeProxy, k3s.Etcd}

// userArgs are the component arguments of the options, those in the config
// map first: K3s lets the later one win.
func (c *choices) userArgs() []desired {
	var out []desired
	for _, comp := range components {
		var items []desired
		take := func(option string, list []string) {
			for _, item := range list {
				a := parseArg(item)
				w := desired{key: k3s.ArgumentKey(comp), component: comp, flag: a.name, value: a.value, option: option}
				w.union = a.name == "enable-admission-plugins"
				items = append(items, w)
			}
		}
		for _, key := range []string{k3s.ArgumentKey(comp), k3s.ArgumentKey(comp) + "+"} { // as written, in Validate
			if v, ok := c.Config[key]; ok {
				list, _ := listOf(v)
				take("config."+key, list)
			}
		}
		take(argOption[comp], c.Args[comp])
		count := map[string]int{}
		for _, w := range items {
			count[w.flag]++
		}
		for i := range items {
			items[i].list = count[items[i].flag] > 1 && !items[i].union
		}
		out = append(out, items...)
	}
	return out
}

// userKeys are the other keys of the config map, sorted.
func (c *choices) userKeys() (scalars, lists []desired) {
	names := make([]string, 0, len(c.Config))
	for name := range c.Config {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		key := strings.TrimSuffix(name, "+")
		if isArgKey(key) {
			continue
		}
		items, isList := listOf(c.Config[name])
		for _, v := range items {
			w := desired{key: key, value: v, option: "config." + name, list: isList}
			if isList {
				lists = append(lists, w)
			} else {
				scalars = append(scalars, w)
			}
		}
	}
	return scalars, lists
}

func isArgKey(key string) bool {
	return slices.ContainsFunc(components, func(c k3s.Component) bool { return k3s.ArgumentKey(c) == key })
}

// listOf returns a configuration value as text items, and whether it is a list.
func listOf(v any) (items []string, isList bool) {
	switch v := v.(type) {
	case []string:
		return v, true
	case []any:
		for _, x := range v {
			items = append(items, textOf(x))
		}
		return items, true
	default:
		return []string{textOf(v)}, false
	}
}

func textOf(v any) string {
	if f, ok := v.(float64); ok && f == float64(int64(f)) {
		return fmt.Sprint(int64(f))
	}
	return fmt.Sprint(v)
}

// union joins two comma lists, first come first.
func union(a, b string) string {
	var out []string
	for _, v := range strings.Split(a+","+b, ",") {
		if v = strings.TrimSpace(v); v != "" && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return strings.Join(out, ",")
}
