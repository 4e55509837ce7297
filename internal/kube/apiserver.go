package kube

import "github.com/k3s-cis/packer-plugin-k3s/internal/k3s"

// APIServer is what an API server is about to be started with.
type APIServer struct {
	Release k3s.Release
	// DataDir is K3s's data directory, from whose server directory relative
	// file names are read.
	DataDir string
	// Args is what the API server is passed, K3s's defaults included.
	Args     []k3s.Argument
	ReadFile ReadFile
	// PreloadedImages is where the node keeps images for use without a
	// registry; empty when it has none.
	PreloadedImages string
}

// CheckAPIServer returns everything that would keep the API server from
// starting, or its pods from running: CheckArguments, the admission and audit
// files its arguments name, and what plugins need of those files. What
// ReadFile does not know is a problem of consequence k3s.Unreadable.
func CheckAPIServer(s APIServer) []k3s.Problem {
	panic("not written yet")
}
