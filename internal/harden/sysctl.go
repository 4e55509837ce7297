package harden

import (
	"fmt"
	"io/fs"
	"sort"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

const (
	sysctlFile     = "/etc/sysctl.d/90-kubelet.conf"
	moreSysctlFile = "/etc/sysctl.d/91-k3s-cis.conf"
)

// kubeletValue is what the kubelet wants of a parameter, "" when it does not care.
func kubeletValue(name string) string {
	for _, p := range k3s.KernelParameters() {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// sysctls plans the kernel parameters: the kubelet's in the guide's file, the
// user's in one of their own. Other parameters that the guide's file has on the
// node already, old, stay in it.
func sysctls(c *choices, old []byte) ([]node.Entry, map[string]string) {
	kernel := map[string]string{}
	var b strings.Builder
	b.WriteString(header + `
# K3s CIS hardening guide, "Set kernel parameters": the values that the kubelet
# compares before it starts when protect-kernel-defaults is set.
`)
	for _, p := range k3s.KernelParameters() {
		fmt.Fprintf(&b, "%s=%s\n", p.Name, p.Value)
		kernel[p.Name] = p.Value
	}
	if lines := otherParameters(old); len(lines) > 0 {
		b.WriteString("# Other parameters that this file had already.\n" + strings.Join(lines, "\n") + "\n")
	}
	out := []node.Entry{file(sysctlFile, 0o644, []byte(b.String()))}

	var names []string
	for name := range c.Sysctl {
		if kubeletValue(sysctlName(name)) == "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return out, kernel
	}
	sort.Strings(names)
	b.Reset()
	b.WriteString(header + "\n# Kernel parameters of the option sysctl.\n")
	for _, name := range names {
		value := strings.TrimSpace(c.Sysctl[name])
		fmt.Fprintf(&b, "%s=%s\n", name, value)
		kernel[sysctlName(name)] = value
	}
	return append(out, file(moreSysctlFile, 0o644, []byte(b.String()))), kernel
}

// otherParameters are the lines of a sysctl file that set what the kubelet does
// not care for. A leading "-" makes systemd-sysctl ignore errors.
func otherParameters(data []byte) []string {
	var out []string
	for _, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "-"), "=")
		if kubeletValue(sysctlName(strings.TrimSpace(name))) == "" {
			out = append(out, line)
		}
	}
	return out
}

// sysctlName is a parameter's name with dots. sysctl also takes slashes, when
// the first separator is one; dots are then part of a name.
func sysctlName(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '/' {
		return strings.NewReplacer("/", ".", ".", "/").Replace(name)
	}
	return name
}

func file(path string, mode uint32, data []byte) node.Entry {
	return node.Entry{Path: path, Kind: node.KindFile, Mode: fs.FileMode(mode), Data: data, Size: int64(len(data))}
}

func directory(path string, mode uint32) node.Entry {
	return node.Entry{Path: path, Kind: node.KindDirectory, Mode: fs.FileMode(mode)}
}
