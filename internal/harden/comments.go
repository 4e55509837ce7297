package harden

import "bytes"

// header begins every file that the plan makes as a whole; by it a later plan
// knows the file for its own.
const header = "# Written by packer-plugin-k3s (provisioner k3s-cis)."

// What a plan says in a configuration file that it makes, and in one that was
// there.
const (
	configComment = "# K3s CIS hardening guide, \"Configuration for Kubernetes Components\"."
	dropInComment = configComment + `
# K3s reads this file behind config.yaml, whatever writes that one: a key with a +
# appends to the list there, and the last of several values of a flag counts.`
	addedComment = "# Added by packer-plugin-k3s (provisioner k3s-cis) after the K3s CIS guide."
)

// ours says whether data is a file that a plan made as a whole.
func ours(data []byte) bool { return bytes.HasPrefix(data, []byte(header)) }
