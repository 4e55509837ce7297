package k3s

import (
	"errors"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// gone lists flags that a component no longer has from a minor on: those that
// old guides and posts still use (Kubernetes changelogs).
var gone = map[Component]map[string]int{
	APIServer: {
		"basic-auth-file": 19, "insecure-port": 24, "insecure-bind-address": 24, "port": 24, "address": 24,
	},
	ControllerManager: {"port": 24, "address": 24},
	Scheduler:         {"port": 24, "address": 24},
	Kubelet:           {"cni-bin-dir": 24, "cni-conf-dir": 24, "network-plugin": 24, "container-runtime": 27},
}

// mustHaveValue are API server arguments that K3s itself reads and crashes on
// when they stand there without a value (pkg/cli/server/server.go,
// getArgValueFromList).
var mustHaveValue = map[string]bool{
	"tls-min-version": true, "tls-cipher-suites": true, "authorization-config": true, "authentication-config": true,
}

// fatalArgument reports an argument that stops K3s.
func (r *resolver) fatalArgument(c Component, a Argument, given bool) {
	if minor, ok := gone[c][a.Name]; ok && r.release.AtLeast(1, minor) {
		r.problem(Fatal, a.Origin, "%s has no flag --%s from v1.%d on and exits: remove it from %s", c, a.Name, minor, argumentKeys[c])
	}
	if c == APIServer && !given && mustHaveValue[a.Name] {
		r.problem(Fatal, a.Origin, "%s has no value, and K3s crashes on it: write %s=VALUE", a.Name, a.Name)
	}
}

// unreadable reports that a service could not be read.
func (r *resolver) unreadable(err error) {
	var unknown *node.UnknownPathError
	if errors.As(err, &unknown) {
		r.unknown(node.Pick{Path: unknown.Path, Depth: 1, Content: true})
		return
	}
	r.problem(Unreadable, Origin{Source: r.role.ServiceName() + ".service"}, "%v", err)
}
