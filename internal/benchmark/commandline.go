package benchmark

import (
	"fmt"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
	"github.com/k3s-cis/packer-plugin-k3s/internal/sysctl"
)

// kernelArguments are those by which a boot loader takes back what the disk says,
// and what K3s makes of each: the text is empty where it is no matter. The facts are
// systemd's (systemd(1), systemd-volatile-root.service(8), systemd-fstab-generator(8)),
// K3s's (pkg/cgroups) and the kubelet's (failCgroupV1, from v1.35).
var kernelArguments = map[string]func(x *examination, value string) (k3s.Consequence, string){
	"systemd.setenv": func(_ *examination, value string) (k3s.Consequence, string) {
		if !ofK3s(value) {
			return "", ""
		}
		name, _, _ := strings.Cut(value, "=")
		return k3s.Unreadable, "gives every service " + name + ", which is not judged: set it with Environment= in K3s's service"
	},
	"systemd.mask": func(x *examination, value string) (k3s.Consequence, string) {
		if strings.TrimSuffix(value, ".service")+".service" != x.serviceName() {
			return "", ""
		}
		return k3s.Fatal, "masks " + x.serviceName() + ", which will not start"
	},
	"systemd.volatile": func(_ *examination, value string) (k3s.Consequence, string) {
		if strings.EqualFold(value, "state") || truth(value) {
			return k3s.Unreadable, "puts an empty file system over what the image has for K3s, so that nothing of it is known: leave it out, or boot an overlay (systemd.volatile=overlay)"
		}
		return "", ""
	},
	"systemd.mount-extra": func(x *examination, value string) (k3s.Consequence, string) {
		fields := strings.Split(value, ":")
		if len(fields) < 2 {
			return "", ""
		}
		for _, p := range []string{x.configFile(), x.paths.expand("{data}")} {
			if node.Within(fields[1], p) {
				return k3s.Unreadable, "mounts a file system over " + p + ", of which nothing is known: mount it over what holds data alone"
			}
		}
		return "", ""
	},
	"systemd.unified_cgroup_hierarchy": func(x *examination, value string) (k3s.Consequence, string) {
		fails, _, set := x.in.Effective.Flag(k3s.Kubelet, "fail-cgroupv1")
		if truth(value) || !x.in.Effective.Release.AtLeast(1, 35) || set && same(fails, "false") {
			return "", ""
		}
		return k3s.Fatal, "boots with cgroups of the first version, on which the kubelet exits"
	},
	"cgroup_disable": func(_ *examination, value string) (k3s.Consequence, string) {
		if value != "memory" {
			return "", ""
		}
		return k3s.Fatal, "takes the memory cgroup away, without which K3s exits"
	},
}

// truth says whether systemd takes a kernel argument for true, with a value or without one.
func truth(value string) bool {
	on, _ := service.Boolean(value)
	return on || value == ""
}

// toldByLoader tells of kernel arguments that take back what is judged.
func (x *examination) toldByLoader() []k3s.Problem {
	parameters, err := x.kernel()
	if err != nil {
		return nil // node.kernel-parameters says so
	}
	var out []k3s.Problem
	for a := range parameters.Arguments() {
		judge := kernelArguments[strings.ReplaceAll(a.Name, "systemd.mount_extra", "systemd.mount-extra")]
		if judge == nil {
			continue
		}
		if consequence, text := judge(x, a.Value); text != "" {
			out = append(out, k3s.Problem{Consequence: consequence, Origin: originOf(a), Text: fmt.Sprintf("the kernel argument %s at %s %s", a.Name, originOf(a), text)})
		}
	}
	return out
}

func originOf(a sysctl.Argument) k3s.Origin { return k3s.Origin{Source: a.Path, Line: a.Line} }
