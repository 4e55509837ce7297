package k3s

import (
	"errors"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// mustHaveValue are API server arguments that K3s itself reads and crashes on
// when they stand there without a value (pkg/cli/server/server.go,
// getArgValueFromList).
var mustHaveValue = map[string]bool{
	"tls-min-version": true, "tls-cipher-suites": true, "authorization-config": true, "authentication-config": true,
}

// fatalArgument reports an argument that crashes K3s before the component
// sees it. Flags that a component does not know are not looked at here.
func (r *resolver) fatalArgument(c Component, a Argument, given bool) {
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
