package cis

import (
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

type wipOptions struct {
	Wrap       func(string) (string, error)
	Timeout    time.Duration
	Log        func(string)
	KernelRead []string
	K3sVersion bool
}

func wipRemote(packersdk.Communicator, wipOptions) node.Target { return nil }

func wipInstalled(string) (k3s.Release, error) { return k3s.Release{}, nil }
func wipParse(s string) (k3s.Release, error)   { return k3s.ParseRelease(s) }
