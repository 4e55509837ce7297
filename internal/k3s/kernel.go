package k3s

import (
	"fmt"
	"slices"
)

// KernelParameter is a kernel parameter, its name with dots, and its value.
type KernelParameter struct{ Name, Value string }

// kernelParameters in the order of the guide, which lists the first four.
var kernelParameters = []KernelParameter{
	{"vm.panic_on_oom", "0"},
	{"vm.overcommit_memory", "1"},
	{"kernel.panic", "10"},
	{"kernel.panic_on_oops", "1"},
	{"kernel.keys.root_maxkeys", "1000000"},
	{"kernel.keys.root_maxbytes", "25000000"},
}

// linuxDefaults are the values among them that Linux has by itself, whatever it
// was built with, and the release from which on it does (Linux:
// security/keys/key.c since v3.18; mm/oom_kill.c).
var linuxDefaults = map[string][2]int{
	"vm.panic_on_oom":           {2, 6},
	"kernel.keys.root_maxkeys":  {3, 18},
	"kernel.keys.root_maxbytes": {3, 18},
}

// LinuxHas says whether every one of the Linux releases (such as 6.1.0-13-amd64)
// has by itself the value that the kubelet wants of a kernel parameter; false
// for no release, and for one that cannot be read.
func LinuxHas(parameter string, releases []string) bool {
	from, known := linuxDefaults[parameter]
	for _, r := range releases {
		var major, minor int
		if n, _ := fmt.Sscanf(r, "%d.%d", &major, &minor); n != 2 {
			return false
		}
		known = known && (major > from[0] || major == from[0] && minor >= from[1])
	}
	return known && len(releases) > 0
}

// KernelParameters returns what the kubelet compares, all six exactly, before
// it starts when protect-kernel-defaults is set; it exits on any difference
// (Kubernetes: component-helpers/node/util/sysctl, setupKernelTunables).
func KernelParameters() []KernelParameter { return slices.Clone(kernelParameters) }
