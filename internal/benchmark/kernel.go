package benchmark

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/boot"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
	"github.com/k3s-cis/packer-plugin-k3s/internal/sysctl"
)

// kernel wants kernel parameters to have exact values after every boot, and
// on a running machine now.
type kernel struct{ parameters []parameter }

type parameter struct{ name, value string }

func (kernel) picks(paths) node.Query {
	q := append(sysctl.Query(), boot.Query()...)
	for _, dir := range moduleDirectories {
		q = append(q, node.Pick{Path: dir, Depth: 1})
	}
	return q
}

// moduleDirectories have a directory for each kernel that is installed, named
// after its release.
var moduleDirectories = []string{"/lib/modules", "/usr/lib/modules"}

// Kernels are the releases of the kernels that are installed on a node, sorted;
// none where their modules were not looked at.
func Kernels(n *node.Node) []string {
	var out []string
	for _, dir := range moduleDirectories {
		for _, e := range n.Below(dir) {
			if e.Kind == node.KindDirectory && path.Dir(e.Path) == dir {
				out = append(out, path.Base(e.Path))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// linuxes are the releases of the kernels that the node may boot, each with the
// place that tells.
func (x *examination) linuxes() []Evidence {
	var out []Evidence
	for _, dir := range moduleDirectories {
		entries, problem := x.children(dir)
		if problem != "" {
			return nil
		}
		for _, e := range entries {
			if e.Kind == node.KindDirectory {
				out = append(out, Evidence{Source: e.Path, Detail: path.Base(e.Path)})
			}
		}
	}
	return out
}

// unset judges a parameter that no file sets: the kernel's own value holds
// then, which is known of the kernels that the node may boot.
func (x *examination) unset(p parameter) (proof []Evidence, wrong string) {
	linuxes := x.linuxes()
	releases := make([]string, len(linuxes))
	for i, e := range linuxes {
		releases[i] = e.Detail
	}
	if !slices.Contains(k3s.KernelParameters(), k3s.KernelParameter{Name: p.name, Value: p.value}) || !k3s.LinuxHas(p.name, releases) {
		return nil, p.name + " is not set by any file"
	}
	for _, e := range linuxes {
		proof = append(proof, Evidence{Source: e.Source, Detail: fmt.Sprintf("no file sets %s; Linux %s has %s by itself", p.name, e.Detail, p.value)})
	}
	return proof, ""
}

func (k kernel) judge(x *examination) verdict {
	var want []string
	for _, p := range k.parameters {
		want = append(want, p.name+"="+p.value)
	}
	v := verdict{expected: strings.Join(want, ", ") + " after every boot"}
	parameters, err := x.kernel()
	if err != nil {
		v.status, v.found, v.reason = Error, err.Error(), "the evidence is missing"
		return v
	}
	var wrong, unknown []string
	places := map[string]bool{}
	for _, e := range sysctl.Places(x.node()) {
		if places[e.Path] = true; changeable(e) {
			wrong = append(wrong, fmt.Sprintf("%s %s, which may set any parameter, is not root's alone to change", e.Path, describe(e)))
			v.evidence = append(v.evidence, Evidence{Source: e.Path, Detail: describe(e)})
		}
	}
	for _, p := range k.parameters {
		got, set := parameters.Lookup(p.name)
		w := x.writes(p)
		wrong, unknown, v.evidence = append(wrong, w.wrong...), append(unknown, w.unknown...), append(v.evidence, w.evidence...)
		switch {
		case !set && w.always:
		case !set || got.Setting.Path == "" && len(got.Conflicts) == 0:
			proof, fault := x.unset(p)
			v.evidence = append(v.evidence, proof...)
			if fault != "" {
				wrong = append(wrong, fault)
			}
		case got.Setting.Value != p.value:
			wrong = append(wrong, fmt.Sprintf("%s=%s from %s", p.name, kernelValue(got.Setting.Value), got.Setting))
		}
		if e, presence := x.node().Lookup(got.Setting.Path); presence == node.Present && !places[e.Path] && changeable(e) {
			wrong = append(wrong, fmt.Sprintf("%s %s, which sets %s, is not root's alone to change", e.Path, describe(e), p.name))
		}
		if got.Setting.Path != "" {
			v.evidence = append(v.evidence, kernelEvidence(p.name, got.Setting))
		}
		for _, c := range got.Conflicts {
			wrong = append(wrong, fmt.Sprintf("%s=%s from %s may win", p.name, kernelValue(c.Value), c))
			v.evidence = append(v.evidence, kernelEvidence(p.name, c))
		}
		if x.running() {
			now, known := x.node().Kernel[p.name]
			if !known {
				v.status, v.found, v.reason = Error, "the running kernel was not asked for "+p.name, "the evidence is missing"
				return v
			}
			if now != p.value {
				wrong = append(wrong, fmt.Sprintf("%s=%s in the running kernel", p.name, now))
			}
			v.evidence = append(v.evidence, Evidence{Source: "running kernel", Detail: p.name + "=" + now})
		}
	}
	if len(unknown) > 0 && len(wrong) == 0 {
		v.status, v.found, v.reason = Error, few(unknown), "a value that is only known when the command runs proves nothing"
		v.remediation = "Take the parameter out of what is named, and set it in /etc/sysctl.d alone."
		return v
	}
	if len(wrong) > 0 {
		masked := x.maskedParameters()
		v.status, v.found = Fail, few(append(masked, wrong...))
		if len(masked) > 0 {
			v.remediation = "Remove the link to /dev/null, and set in /etc/sysctl.d what is named."
		}
		return v
	}
	v.status, v.found = Pass, "all as wanted"
	return v
}

// bootWrites is what else than sysctl files writes to a parameter.
type bootWrites struct {
	wrong, unknown []string
	// always says that every boot writes the right value.
	always   bool
	evidence []Evidence
}

func (x *examination) writes(p parameter) bootWrites {
	var out bootWrites
	if err := x.boot().Err(); err != nil {
		out.unknown = append(out.unknown, err.Error())
	}
	for _, s := range x.boot().Kernel(p.name) {
		switch {
		case !s.Known:
			out.unknown = append(out.unknown, fmt.Sprintf("%s may be written by %s", p.name, s))
			out.evidence = append(out.evidence, Evidence{Source: s.Path, Line: s.Line, Detail: p.name + " is written here"})
			continue
		case s.Value != p.value:
			out.wrong = append(out.wrong, fmt.Sprintf("%s=%s written by %s", p.name, kernelValue(s.Value), s))
		default:
			out.always = out.always || s.Always
		}
		out.evidence = append(out.evidence, Evidence{Source: s.Path, Line: s.Line, Detail: p.name + "=" + kernelValue(s.Value) + " is written here"})
	}
	return out
}

// maskedParameters names the files of kernel parameters that a link to
// /dev/null switches off.
func (x *examination) maskedParameters() []string {
	var out []string
	for _, e := range x.node().Below("/etc/sysctl.d") {
		if service.Masked(e) {
			out = append(out, e.Path+" is masked by a link to /dev/null")
		}
	}
	return out
}

var numbers = regexp.MustCompile(`^[-0-9 \t]*$`)

// kernelValue shows a value of a kernel parameter, which is a number or several.
func kernelValue(value string) string {
	if !numbers.MatchString(value) {
		return safetext.Hidden
	}
	return value
}

func kernelEvidence(name string, s sysctl.Setting) Evidence {
	detail := name + "=" + kernelValue(s.Value)
	if s.Note != "" {
		detail += " (" + s.Note + ")"
	}
	return Evidence{Source: s.Path, Line: s.Line, Detail: detail}
}
