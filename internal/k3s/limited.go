package k3s

import (
	"path"
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// stoppers are the settings of a unit with which K3s exits, by what it lacks then.
// What only an agent needs does not stop a server without one.
var stoppers = map[string]struct {
	lacks     string
	agentOnly bool
}{
	"DynamicUser":          {"it must run as root", true},
	"PrivateUsers":         {"it has no rights outside of a user namespace of its own", true},
	"PrivateNetwork":       {"it has no network but the loopback", false},
	"PrivateDevices":       {"the kubelet finds no /dev/kmsg", true},
	"ProtectControlGroups": {"the kubelet cannot make control groups", true},
}

// unclear are the settings of a unit that take from K3s what it may need, or give it
// variables that no file of the unit tells, by the value at which they do not.
var unclear = map[string]string{
	"CapabilityBoundingSet": "~", "SystemCallFilter": "~", "RestrictAddressFamilies": "~", "RestrictNamespaces": "no", "ProtectKernelTunables": "no", "PAMName": "",
}

// limited reports what the service's unit keeps from K3s that it cannot do without.
func (r *resolver) limited() {
	s := r.effective.Service
	if s == nil || r.effective.Bool("rootless") {
		return
	}
	agentless := r.role == Server && r.effective.Bool("disable-agent")
	for _, l := range s.Limits {
		stops, known := stoppers[l.Setting]
		on := l.On() || l.Setting == "ProtectControlGroups" && slices.Contains([]string{"private", "strict"}, l.Value) ||
			l.Setting == "PrivateUsers" && slices.Contains([]string{"self", "identity", "full"}, l.Value)
		if known && on && (!stops.agentOnly || !agentless) {
			r.problem(Fatal, Origin{Source: l.Path, Line: l.Line}, "%s=%s keeps K3s from starting, since %s: leave it out", l.Setting, l.Value, stops.lacks)
		}
	}
	for _, l := range s.Limits {
		plain, is := unclear[l.Setting]
		if on, said := service.Boolean(l.Value); is && l.Value != plain && (plain != "no" || on || !said) {
			r.problem(Unreadable, Origin{Source: l.Path, Line: l.Line}, "%s=%s changes what K3s is given when it starts, which is not judged: leave it out", l.Setting, l.Value)
		}
	}
	for _, p := range r.written(agentless) {
		if l, bound := boundBy(s.Limits, p); bound {
			r.problem(Fatal, Origin{Source: l.Path, Line: l.Line}, "%s=%s keeps K3s from writing to %s, and it does not start: leave it out, or add ReadWritePaths=%s", l.Setting, l.Value, p, p)
			return
		}
	}
	for _, l := range s.Limits {
		hidden := func(dir string) bool { return node.Within(dir, path.Clean(l.Value)) }
		if l.Setting == "InaccessiblePaths" && slices.ContainsFunc([]string{ConfigDir, r.effective.DataDir, path.Dir(r.effective.ConfigFile)}, hidden) {
			r.problem(Unreadable, Origin{Source: l.Path, Line: l.Line}, "%s=%s keeps K3s from files that the node has, so what it reads is not judged: leave it out", l.Setting, l.Value)
		}
	}
}

// written are directories that K3s writes to whenever it starts.
func (r *resolver) written(agentless bool) []string {
	layout := LayoutOf(r.effective.DataDir)
	out := []string{layout.Root(), RunDir}
	if r.role == Server {
		out = append(out, layout.Server(), layout.Manifests())
		if _, elsewhere := r.effective.Settings["write-kubeconfig"]; !elsewhere {
			out = append(out, ConfigDir)
		}
	}
	if !agentless {
		out = append(out, layout.Agent(), NodeDir, KubeletDir)
	}
	return out
}

// boundBy returns the limit that keeps a service from writing to dir: of several
// that are about it, that of the deepest path counts.
func boundBy(limits []service.Limit, dir string) (by service.Limit, bound bool) {
	depth := -1
	apply := func(l service.Limit, p string, binds bool) {
		p = path.Clean(p)
		if (p == "/" || node.Within(p, dir)) && len(p) > depth {
			depth, by, bound = len(p), l, binds
		}
	}
	for _, l := range limits {
		switch {
		case l.Setting == "ReadWritePaths":
			apply(l, l.Value, false)
		case l.Setting == "ReadOnlyPaths", l.Setting == "InaccessiblePaths":
			apply(l, l.Value, true)
		case l.Setting == "ProtectSystem" && l.Value == "strict":
			apply(l, "/", true)
		case l.Setting == "ProtectSystem" && l.Value == "full":
			apply(l, "/etc", true)
		}
	}
	return by, bound
}
