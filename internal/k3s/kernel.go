package k3s

import "slices"

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

// KernelParameters returns what the kubelet compares, all six exactly, before
// it starts when protect-kernel-defaults is set; it exits on any difference
// (Kubernetes: component-helpers/node/util/sysctl, setupKernelTunables).
func KernelParameters() []KernelParameter { return slices.Clone(kernelParameters) }
