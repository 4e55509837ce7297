package node

import (
	"testing"
)

// flavors are the machines that the tests run on.
var flavors = []string{"dash", "bash", "busybox"}

func remoteTarget(flavor string) makeTarget {
	return func(t *testing.T, dir string) Target {
		t.Helper()
		return Remote(newChroot(t, dir, flavor), RemoteOptions{})
	}
}

func TestRemoteReading(t *testing.T) {
	for _, f := range flavors {
		t.Run(f, func(t *testing.T) { testReading(t, remoteTarget(f)) })
	}
}

func TestRemoteApplying(t *testing.T) {
	for _, f := range flavors {
		t.Run(f, func(t *testing.T) { testApplying(t, remoteTarget(f)) })
	}
}

func TestRemoteFaults(t *testing.T) {
	for _, f := range flavors {
		t.Run(f, func(t *testing.T) { testFaults(t, remoteTarget(f)) })
	}
}

func TestRemoteLimits(t *testing.T) { testLimits(t, remoteTarget("dash")) }
