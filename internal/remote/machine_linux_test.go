package remote

import (
	"testing"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
)

// flavors are the machines that the tests run on.
var flavors = []string{"dash", "bash", "busybox"}

func remoteTarget(flavor string) nodetest.MakeTarget {
	return func(t *testing.T, dir string) node.Target {
		t.Helper()
		return New(newChroot(t, dir, flavor), Options{})
	}
}

func TestRemoteReading(t *testing.T) {
	for _, f := range flavors {
		t.Run(f, func(t *testing.T) { nodetest.Reading(t, remoteTarget(f)) })
	}
}

func TestRemoteApplying(t *testing.T) {
	for _, f := range flavors {
		t.Run(f, func(t *testing.T) { nodetest.Applying(t, remoteTarget(f)) })
	}
}

func TestRemoteFaults(t *testing.T) {
	for _, f := range flavors {
		t.Run(f, func(t *testing.T) { nodetest.Faults(t, remoteTarget(f)) })
	}
}

func TestRemoteEmptied(t *testing.T) {
	for _, f := range flavors {
		t.Run(f, func(t *testing.T) { nodetest.Emptied(t, remoteTarget(f)) })
	}
}

func TestRemoteLimits(t *testing.T) { nodetest.Limits(t, remoteTarget("dash")) }
