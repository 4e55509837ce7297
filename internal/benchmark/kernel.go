package benchmark

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// kernel wants kernel parameters to have exact values after every boot, and
// on a running machine now.
type kernel struct{ parameters []parameter }

type parameter struct{ name, value string }

func (kernel) picks(paths) node.Query { return node.SysctlQuery() }

func (k kernel) judge(x *examination) verdict {
	var want []string
	for _, p := range k.parameters {
		want = append(want, p.name+"="+p.value)
	}
	v := verdict{expected: strings.Join(want, ", ") + " after every boot"}
	boot, err := x.kernel()
	if err != nil {
		v.status, v.found, v.reason = Error, err.Error(), "the evidence is missing"
		return v
	}
	var wrong []string
	for _, p := range k.parameters {
		got, set := boot.Lookup(p.name)
		switch {
		case !set || got.Setting.Path == "" && len(got.Conflicts) == 0:
			wrong = append(wrong, p.name+" is not set by any file")
		case got.Setting.Value != p.value:
			wrong = append(wrong, fmt.Sprintf("%s=%s from %s", p.name, kernelValue(got.Setting.Value), got.Setting))
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
	if len(wrong) > 0 {
		v.status, v.found = Fail, few(wrong)
		return v
	}
	v.status, v.found = Pass, "all as wanted"
	return v
}

var numbers = regexp.MustCompile(`^[-0-9 \t]*$`)

// kernelValue shows a value of a kernel parameter, which is a number or several.
func kernelValue(value string) string {
	if !numbers.MatchString(value) {
		return safetext.Hidden
	}
	return value
}

func kernelEvidence(name string, s node.KernelSetting) Evidence {
	detail := name + "=" + kernelValue(s.Value)
	if s.Note != "" {
		detail += " (" + s.Note + ")"
	}
	return Evidence{s.Path, s.Line, detail}
}
