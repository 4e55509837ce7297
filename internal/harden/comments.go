package harden

import "bytes"

// header begins every file that the plan makes as a whole; by it a later plan
// knows the file for its own.
const header = "# Written by packer-plugin-k3s (provisioner k3s-cis)."

// What a plan says in a configuration file that it makes, and in one that was
// there.
const (
	configComment = "# K3s CIS hardening guide, \"Configuration for Kubernetes Components\"."
	addedComment  = "# Added by packer-plugin-k3s (provisioner k3s-cis) after the K3s CIS guide."
)

// ours says whether data is a file that a plan made as a whole.
func ours(data []byte) bool { return bytes.HasPrefix(data, []byte(header)) }
