package k3s

import "maps"

// kernelParameters are the values the kubelet compares when
// protect-kernel-defaults is set, exactly; it exits on any difference
// (Kubernetes: component-helpers/node/util/sysctl, setupKernelTunables).
var kernelParameters = map[string]string{
	"vm.overcommit_memory":      "1",
	"vm.panic_on_oom":           "0",
	"kernel.panic":              "10",
	"kernel.panic_on_oops":      "1",
	"kernel.keys.root_maxkeys":  "1000000",
	"kernel.keys.root_maxbytes": "25000000",
}

// KernelParameters returns the kernel parameters, sysctl names with dots, that
// a kubelet with protect-kernel-defaults needs, and their values.
func KernelParameters() map[string]string { return maps.Clone(kernelParameters) }
