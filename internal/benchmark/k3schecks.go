package benchmark

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/boot"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s/deploy"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// k3sCheck wants K3s to take the node's configuration as it is written.
type k3sCheck struct{ name string }

// k3sChecks are the questions and what a good answer says.
var k3sChecks = map[string]string{
	"starts":         "nothing on the node keeps K3s or a component of it from starting",
	"config-keys":    "K3s heeds everything that its configuration says",
	"manifest-names": "K3s deploys every manifest that is there, each under a name of its own",

	"network-policies": "K3s enforces network policies: neither disable-network-policy nor a flannel-backend of none",
}

func (d *decoder) k3s(n *yaml.Node) expectation {
	var c k3sCheck
	d.fields(n, "k3s", map[string]func(*yaml.Node){
		"check": func(n *yaml.Node) { c.name = d.oneOf(n, names(k3sChecks)...) },
	}, "check")
	return c
}

func (c k3sCheck) picks(p paths) node.Query {
	switch c.name {
	case "manifest-names":
		return manifestPicks(p)
	case "starts":
		q := node.Query{{Path: k3s.LayoutOf(p.data).Images(), Depth: 1}}
		return append(append(q, auditPolicy{}.picks(p)...), podSecurity{}.picks(p)...)
	}
	return nil
}

func (c k3sCheck) judge(x *examination) verdict {
	v := verdict{expected: k3sChecks[c.name]}
	if blocked := x.configuration(); blocked != nil {
		blocked.expected = v.expected
		return *blocked
	}
	problems, wanted := x.problems(), k3s.Fatal
	switch c.name {
	case "network-policies":
		return x.enforcesPolicies(v)
	case "config-keys":
		wanted = k3s.Ignored
	case "manifest-names":
		m := x.manifests()
		if m.problem != nil {
			return m.problem.verdict(v.expected)
		}
		if len(m.Files)+len(m.Problems) == 0 {
			v.status, v.found, v.reason = NotApplicable, "no manifest of the node's own", "the node has nothing of the kind"
			return v
		}
		problems, wanted = m.Problems, ""
	}
	var wrong, unread, later, noted []string
	for _, p := range problems {
		switch {
		case p.Consequence == k3s.Unknown && (c.name == "config-keys" || c.name == "starts" && x.in.Role == k3s.Agent):
			later = append(later, p.Text)
		case p.Consequence == k3s.Noted && c.name == "config-keys":
			noted = append(noted, p.Text)
		case p.Consequence == k3s.Unreadable && c.name == "starts":
			unread = append(unread, p.Text)
		case wanted == "" || p.Consequence == wanted:
			wrong = append(wrong, p.Text)
		default:
			continue
		}
		v.evidence = append(v.evidence, Evidence{Source: p.Origin.Source, Line: p.Origin.Line, Detail: p.Text})
	}
	switch {
	case len(wrong) > 0:
		v.status, v.found = Fail, few(wrong)
	case len(unread) > 0:
		v.status, v.found, v.reason = Error, few(unread), "the evidence is missing"
	case len(later) > 0:
		v.status, v.found, v.reason = Deferred, few(later), "K3s says at its first start which keys it does not know: look for \"Unknown flag\" in its log"
	default:
		v.status, v.found = Pass, "nothing found against it"
		v.evidence = append([]Evidence{{Source: x.in.Effective.ConfigFile, Detail: "read with its drop-ins, the service and its environment; " + v.found}}, v.evidence...)
		if len(noted) > 0 {
			v.found += "; to be noted: " + few(noted)
		}
	}
	if c.name == "starts" {
		return x.isFact(v)
	}
	if len(later) > 0 && len(wrong) == 0 {
		return x.toldKeys(v)
	}
	return v
}

// policyKeys are the K3s keys that decide who enforces network policies.
var policyKeys = []string{"disable-network-policy", "flannel-backend", "no-flannel"}

// enforcesPolicies judges whether K3s enforces network policies. A node with a
// network plugin of its own is for a person to look at: what that enforces does
// not stand in K3s's configuration.
func (x *examination) enforcesPolicies(v verdict) verdict {
	e := x.in.Effective
	v.evidence = x.settings(policyKeys...)
	switch {
	case e.Text("flannel-backend") == "none" || e.Bool("no-flannel"):
		v.status, v.found = Manual, "a network plugin of the node's own (flannel-backend: none)"
		v.reason = "whether the plugin enforces NetworkPolicy is not K3s's matter: look it up in the plugin's documentation, and try a denied connection on the first node"
	case e.Bool("disable-network-policy"):
		v.status, v.found = Fail, "disable-network-policy: true, and flannel by itself enforces no policies"
	default:
		v.status, v.found = Pass, "K3s's own policy controller runs beside flannel"
	}
	return v
}

// findProblems gathers what K3s's configuration and the files it names would
// make K3s do: from K3s's own rules, Kubernetes's loaders and the kubelet's
// demands on the kernel.
func (x *examination) findProblems() []k3s.Problem {
	e := x.in.Effective
	out := slices.Clone(e.Problems)
	for _, c := range components {
		args, runs := e.Args[c]
		switch {
		case !runs || c == k3s.Etcd:
		case c == k3s.APIServer:
			out = append(out, kube.CheckAPIServer(kube.APIServer{
				Release: e.Release, DataDir: e.DataDir, Args: args, ReadFile: x.readFile, PreloadedImages: x.preloaded(),
				Admission: x.loadAdmission, Audit: x.loadAudit,
			})...)
		default:
			out = append(out, kube.CheckArguments(e.Release, c, args)...)
		}
	}
	return slices.Concat(out, kube.CheckNode(e), x.missingFiles(), x.programProblems(), x.startedBeside(), x.toldByLoader(), x.kernelProblems())
}

// programProblems tells of K3s's program where nobody may run it: what the
// service starts, or the only one there where no service says.
func (x *examination) programProblems() []k3s.Problem {
	started := k3s.BinaryPaths()
	if s := x.in.Effective.Service; s != nil && len(s.Start) > 0 {
		started = []string{path.Clean(s.Start[0].Text)}
	}
	var out []k3s.Problem
	for _, p := range started {
		e, presence := x.node().Lookup(p)
		if presence != node.Present || e.Kind != node.KindFile {
			continue
		}
		if e.Mode&0o111 != 0 {
			return nil
		}
		out = append(out, k3s.Problem{Consequence: k3s.Fatal, Origin: k3s.Origin{Source: p}, Text: fmt.Sprintf("%s is %04o, which nobody may run, so that K3s does not start: chmod 755 %s", p, e.Mode.Perm(), p)})
	}
	return out
}

// missingFiles tells of files that arguments name and that are not there.
// Kubernetes's own loaders speak of the admission and the audit file.
func (x *examination) missingFiles() []k3s.Problem {
	var out []k3s.Problem
	for _, f := range namedFiles {
		value, from, _ := x.in.Effective.Flag(f.component, f.flag)
		if f.loaded || value == "" || !slices.ContainsFunc(from, func(a k3s.Argument) bool { return !a.Origin.Default }) {
			continue
		}
		if _, presence := x.node().Lookup(x.absolute(value)); presence == node.Absent {
			out = append(out, k3s.Problem{
				Consequence: k3s.Fatal, Origin: from[len(from)-1].Origin,
				Text: fmt.Sprintf("%s exits because %s, which --%s names, is missing", f.component, x.absolute(value), f.flag),
			})
		}
	}
	return out
}

// preloaded returns where the node keeps images for use without a registry.
func (x *examination) preloaded() string {
	dir := k3s.LayoutOf(x.paths.data).Images()
	if len(deploy.ImageArchives(x.node(), dir)) == 0 {
		return ""
	}
	return dir
}

// startedBeside tells where scripts and tables of the node start K3s, whose
// command lines are not those that are judged.
func (x *examination) startedBeside() []k3s.Problem {
	var out []k3s.Problem
	for _, call := range x.boot().Calls("k3s") {
		role := slices.IndexFunc(call.Args, func(w string) bool { return w == string(k3s.Server) || w == string(k3s.Agent) })
		if role != 0 && (role < 0 || !strings.HasPrefix(call.Args[0], "-")) || x.ofAService(call.Path) {
			continue
		}
		out = append(out, k3s.Problem{
			Consequence: k3s.Unreadable, Origin: k3s.Origin{Source: call.Path, Line: call.Line},
			Text: fmt.Sprintf("%s starts k3s %s, and what that runs with is not judged: start it as a service", call.Place, call.Args[role]),
		})
	}
	return append(out, x.serviceToCome()...)
}

// serviceToCome tells where boot gives K3s's service settings that no file of the
// image has.
func (x *examination) serviceToCome() []k3s.Problem {
	name := x.serviceName()
	problem := func(at boot.Place, format string, args ...any) k3s.Problem {
		return k3s.Problem{Consequence: k3s.Unreadable, Origin: k3s.Origin{Source: at.Path, Line: at.Line}, Text: at.String() + " " + fmt.Sprintf(format, args...)}
	}
	var out []k3s.Problem
	for _, u := range x.boot().Units() {
		if u.Name == name {
			out = append(out, problem(u.Place, "writes settings of %s at boot, which are not judged: bake a drop-in", name))
		}
	}
	for _, f := range x.boot().Texts() {
		line := 0
		for text := range bytes.Lines(namesInstaller(f.Data)) {
			line++
			if installs.Match(namesInstaller(text)) && !bytes.HasPrefix(bytes.TrimSpace(text), []byte("#")) {
				out = append(out, problem(boot.Place{Path: f.Path, Line: line}, "has K3s installed at boot with options of its own, which are not judged: install K3s into the image, and give options by config.yaml"))
			}
		}
	}
	for _, call := range x.boot().Calls("systemctl") {
		if slices.Contains(call.Args, "set-environment") && slices.ContainsFunc(call.Args, ofK3s) {
			out = append(out, problem(call.Place, "gives variables to every service at boot, which are not judged: set them with Environment= in the service"))
		}
	}
	return out
}

// installs matches a line that gives K3s's installer options for the service that it
// writes (install.sh).
var installs = regexp.MustCompile(`(?:\bINSTALL_K3S_EXEC=|get\.k3s\.io|install(?:-k3s)?\.sh|k3s-install(?:\.sh)?).*[\s"']--(?:kube|disable|data-dir|write-kubeconfig|secrets|protect|etcd-arg|flannel-backend|config|rootless)` +
	`|\bK3S_KUBECONFIG_MODE=.*\bsh\b`)

// namesInstaller is a text that has a word of installs; nothing of one that has none,
// as nearly all do, so that the pattern is not looked for in megabytes.
func namesInstaller(text []byte) []byte {
	for _, word := range []string{"install", "INSTALL_K3S_EXEC", "get.k3s.io", "K3S_KUBECONFIG_MODE"} {
		if bytes.Contains(text, []byte(word)) {
			return text
		}
	}
	return nil
}

// serviceName is that of the unit that starts K3s.
func (x *examination) serviceName() string {
	if s := x.in.Effective.Service; s != nil && path.Ext(s.Path) == ".service" {
		return path.Base(s.Path)
	}
	return x.in.Role.ServiceName() + ".service"
}

// ofK3s says whether a text assigns a variable that K3s takes options from.
func ofK3s(text string) bool { return strings.HasPrefix(text, "K3S_") && strings.Contains(text, "=") }

// ofAService says whether p is a file of a service, or one that K3s's service
// starts, which are judged as services are.
func (x *examination) ofAService(p string) bool {
	if slices.Contains([]string{".service", ".conf"}, path.Ext(p)) || path.Dir(p) == "/etc/init.d" {
		return true
	}
	s := x.in.Effective.Service
	return s != nil && slices.ContainsFunc(s.Start, func(w service.Word) bool { return path.Clean(w.Text) == p })
}

// kernelProblems tells of parameters at which the kubelet would exit. Those
// that no file sets are left out: the kernel's own value decides.
func (x *examination) kernelProblems() []k3s.Problem {
	protect, from, set := x.in.Effective.Flag(k3s.Kubelet, "protect-kernel-defaults")
	if !set || !same(protect, "true") {
		return nil
	}
	parameters, err := x.kernel()
	if err != nil {
		return nil // node.kernel-parameters says so
	}
	var out []k3s.Problem
	for _, want := range k3s.KernelParameters() {
		for _, w := range x.boot().Kernel(want.Name) {
			if w.Always && w.Known && w.Value != want.Value {
				out = append(out, k3s.Problem{
					Consequence: k3s.Fatal, Origin: k3s.Origin{Source: w.Path, Line: w.Line},
					Text: fmt.Sprintf("the kubelet exits because %s=%s at boot and protect-kernel-defaults (%s) wants %s", want.Name, kernelValue(w.Value), from[0].Origin, want.Value),
				})
			}
		}
		if p, ok := parameters.Lookup(want.Name); ok && p.Setting.Path != "" && p.Setting.Value != want.Value {
			out = append(out, k3s.Problem{
				Consequence: k3s.Fatal, Origin: k3s.Origin{Source: p.Setting.Path, Line: p.Setting.Line},
				Text: fmt.Sprintf("the kubelet exits because %s=%s at boot and protect-kernel-defaults (%s) wants %s", want.Name, kernelValue(p.Setting.Value), from[0].Origin, want.Value),
			})
		}
	}
	return out
}
