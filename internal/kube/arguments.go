package kube

import "github.com/k3s-cis/packer-plugin-k3s/internal/k3s"

// CheckArguments returns what in args makes component c of release r exit:
// flags it does not know, values it cannot parse, admission plugins it does
// not have. args are in the order in which the component gets them.
func CheckArguments(r k3s.Release, c k3s.Component, args []k3s.Argument) []k3s.Problem {
	panic("not written yet")
}
