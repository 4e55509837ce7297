package kube

import "github.com/k3s-cis/packer-plugin-k3s/internal/k3s"

// Rejection is a workload that Pod Security Admission would not let run.
type Rejection struct {
	Object Object
	// Level is what the workload's namespace enforces.
	Level Level
	// Reasons are Kubernetes's own words, one for each failed check.
	Reasons []string
}

// Workloads judges pods and the pod templates in objects by the Pod Security
// library at what release r enforces: the namespace's own labels where objects
// hold that namespace, psa otherwise, exemptions passed over.
func Workloads(r k3s.Release, objects []Object, psa PodSecurity) []Rejection {
	panic("not written yet")
}
