// Package node is a machine as data: files with mode, owner and bytes, and
// the kernel parameters of a running one. It reads that data from, and
// writes changes to, a root directory on this host or a machine behind a
// Packer communicator. It knows nothing of Kubernetes, CIS or the guide.
package node
