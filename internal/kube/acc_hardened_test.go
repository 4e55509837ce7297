package kube_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s/deploy"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube/apiservertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// TestAccHardened starts the API server from what K3s would pass it on a node
// that was hardened from nothing.
func TestAccHardened(t *testing.T) {
	each(t, func(t *testing.T, r k3s.Release, binary string) {
		root, effective, manifests := bake(t, r, harden.Options{
			Release: r, Role: k3s.Server,
			EventRateLimit: []harden.RateLimit{{Type: "Server", QPS: 1, Burst: 30}},
		})
		server := apiservertest.StartStore(t).Start(t, binary, apiservertest.Node{
			Root: root, Args: effective.Args[k3s.APIServer], WorkingDirectory: k3s.LayoutOf(effective.DataDir).Server(),
		})
		server.Ready(t)

		for _, ns := range []string{"default", "kube-system"} {
			created(t, server, fmt.Sprintf("{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: %s}}", ns))
		}
		t.Run("privileged pod refused", func(t *testing.T) {
			reply, err := server.Create(pod("privileged", "default", "{privileged: true}"))
			require.NoError(t, err)
			assert.Equal(t, 403, reply.Status)
			assert.Contains(t, reply.Message, `violates PodSecurity "restricted:latest": privileged`)
		})
		t.Run("restricted pod admitted", func(t *testing.T) {
			created(t, server, pod("restricted", "default",
				"{runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}"))
		})
		t.Run("privileged pod in an exempt namespace admitted", func(t *testing.T) {
			created(t, server, pod("privileged", "kube-system", "{privileged: true}"))
		})
		t.Run("audit log", func(t *testing.T) {
			log := filepath.Join(root, k3s.LayoutOf(effective.DataDir).Logs(), "audit.log")
			info, err := os.Stat(log)
			require.NoError(t, err)
			assert.Equal(t, fs.FileMode(0o600), info.Mode())
			data, err := os.ReadFile(log)
			require.NoError(t, err)
			assert.Contains(t, string(data), `"requestURI":"/api/v1/namespaces/default/pods"`)
		})
		t.Run("manifests accepted", func(t *testing.T) {
			kinds := map[string]int{}
			for _, o := range manifests {
				reply, err := server.DryRun(string(o.Raw))
				require.NoError(t, err)
				assert.Contains(t, []int{200, 201}, reply.Status, "%s:%d %s: %s", o.File, o.Line, o, reply.Message)
				kinds[o.Kind]++
			}
			assert.GreaterOrEqual(t, kinds["NetworkPolicy"], 3)
			assert.GreaterOrEqual(t, kinds["ServiceAccount"], 3)
		})
		t.Run("events limited", func(t *testing.T) { assert.True(t, flooded(t, server)) })
	})
}

// TestAccUnlimited says that the flood of TestAccHardened is only refused
// where limits were asked for.
func TestAccUnlimited(t *testing.T) {
	each(t, func(t *testing.T, r k3s.Release, binary string) {
		root, effective, _ := bake(t, r, harden.Options{Release: r, Role: k3s.Server})
		server := apiservertest.StartStore(t).Start(t, binary, apiservertest.Node{
			Root: root, Args: effective.Args[k3s.APIServer], WorkingDirectory: k3s.LayoutOf(effective.DataDir).Server(),
		})
		server.Ready(t)
		assert.False(t, flooded(t, server))
	})
}

// bake hardens an empty tree and returns what K3s would run with on it.
func bake(t *testing.T, r k3s.Release, o harden.Options) (root string, effective *k3s.Effective, objects []kube.Object) {
	t.Helper()
	root = t.TempDir()
	plan, err := harden.Make(o, nil)
	require.NoError(t, err)
	query := harden.Query(o)
	outcome, err := rootfs.At(root).Apply(t.Context(), plan.Change, query)
	require.NoError(t, err)
	require.False(t, outcome.Stale)
	effective, err = k3s.Resolve(outcome.Node, r, o.Role)
	require.NoError(t, err)
	require.Empty(t, effective.Problems)

	dir := k3s.LayoutOf(effective.DataDir).Manifests()
	m, err := deploy.ReadManifests(r, dir, outcome.Node.Below(dir), deploy.Disables(effective))
	require.NoError(t, err)
	require.Empty(t, m.Problems)
	require.Empty(t, kube.CheckAPIServer(kube.APIServer{
		Release: r, DataDir: effective.DataDir, Args: effective.Args[k3s.APIServer],
		ReadFile: func(p string) ([]byte, error) { return os.ReadFile(filepath.Join(root, p)) },
	}))
	return root, effective, m.Objects
}

func created(t *testing.T, server *apiservertest.Server, manifest string) {
	t.Helper()
	reply, err := server.Create(manifest)
	require.NoError(t, err)
	require.Equal(t, 201, reply.Status, "%s", reply.Message)
}

func pod(name, namespace, securityContext string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: %s}, spec: {containers: [{name: c, image: c, securityContext: %s}]}}",
		name, namespace, securityContext)
}

// flooded creates sixty events and says whether one of them was refused as
// too many.
func flooded(t *testing.T, server *apiservertest.Server) bool {
	t.Helper()
	for i := range 60 {
		reply, err := server.Create(fmt.Sprintf(`{apiVersion: v1, kind: Event, metadata: {name: e%d, namespace: default},
			involvedObject: {kind: Pod, namespace: default, name: p}, reason: Flood, message: m, type: Normal, firstTimestamp: %q}`,
			i, time.Now().UTC().Format(time.RFC3339)))
		require.NoError(t, err)
		if reply.Status == 429 && strings.Contains(reply.Message, "limit reached") {
			return true
		}
		require.Equal(t, 201, reply.Status, "%s", reply.Message)
	}
	return false
}
