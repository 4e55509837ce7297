package kube

import (
	"fmt"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// removedFlag is a flag that a component had once.
type removedFlag struct {
	component k3s.Component
	name      string
	// removed is the minor of Kubernetes 1 that has it no more.
	removed int
	// instead says what would be right.
	instead string
}

// removedFlags are the flags that stand in guides and posts for older releases.
var removedFlags = []removedFlag{
	{k3s.APIServer, "insecure-port", 24, "take it out, the insecure port is gone for good"},
	{k3s.APIServer, "insecure-bind-address", 24, "take it out, the insecure port is gone for good"},
	{k3s.APIServer, "address", 24, "write bind-address"},
	{k3s.APIServer, "port", 24, "take it out, the insecure port is gone for good"},
	{k3s.APIServer, "basic-auth-file", 19, "take it out, basic authentication is gone"},
	{k3s.APIServer, "kubelet-https", 22, "take it out, kubelets are always asked by HTTPS"},
	{k3s.APIServer, "experimental-encryption-provider-config", 30, "write encryption-provider-config"},
	{k3s.ControllerManager, "port", 24, "write secure-port"},
	{k3s.ControllerManager, "address", 24, "write bind-address"},
	{k3s.Scheduler, "port", 24, "write secure-port"},
	{k3s.Scheduler, "address", 24, "write bind-address"},
	{k3s.Kubelet, "container-runtime", 27, "take it out, there is only the remote runtime"},
	{k3s.Kubelet, "cni-bin-dir", 24, "take it out, the container runtime sets up the network"},
	{k3s.Kubelet, "cni-conf-dir", 24, "take it out, the container runtime sets up the network"},
	{k3s.Kubelet, "network-plugin", 24, "take it out, the container runtime sets up the network"},
	{k3s.Kubelet, "allow-privileged", 15, "take it out"},
	{k3s.Kubelet, "cadvisor-port", 12, "take it out"},
}

// checkFlag says why component c of release r would not take the flag, or "".
func checkFlag(r k3s.Release, c k3s.Component, a k3s.Argument) string {
	for _, f := range removedFlags {
		if f.component == c && f.name == a.Name && r.AtLeast(1, f.removed) {
			return fmt.Sprintf("unknown flag: --%s (Kubernetes v1.%d removed it from %s); %s", a.Name, f.removed, c, f.instead)
		}
	}
	return ""
}
