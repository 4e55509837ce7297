package kube_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube/apiservertest"
)

// TestAccPodSecurityPolicy starts the API server of v1.24 from what K3s would pass
// it on a node that was hardened from nothing, gives it the manifests that K3s
// would deploy, and asks for pods as somebody who may make them.
func TestAccPodSecurityPolicy(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("runs kube-apiserver; set PACKER_ACC=1")
	}
	r, err := k3s.ParseRelease("v1.24.17+k3s1")
	require.NoError(t, err)
	binary := apiservertest.Binary(t, "1.24")
	root, effective, manifests := bake(t, r, harden.Options{Release: r, Role: k3s.Server})
	server := apiservertest.StartStore(t).Start(t, binary, apiservertest.Node{
		Root: root, Args: effective.Args[k3s.APIServer], WorkingDirectory: k3s.LayoutOf(effective.DataDir).Server(),
	})
	server.Ready(t)

	kinds := map[string]int{}
	for _, o := range manifests {
		reply, err := server.Create(string(o.Raw))
		require.NoError(t, err)
		assert.Contains(t, []int{201, 409}, reply.Status, "%s:%d %s: %s", o.File, o.Line, o, reply.Message)
		kinds[o.Kind]++
	}
	assert.GreaterOrEqual(t, kinds["PodSecurityPolicy"], 2)
	created(t, server, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: pods}, rules: [{apiGroups: [''], resources: [pods], verbs: [create]}]}")
	created(t, server, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: pods}, "+
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: pods}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: someone}]}")

	someone := server.As("someone")
	const plain = "{runAsNonRoot: true, runAsUser: 1000, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}"
	require.Eventually(t, func() bool { // the API server hears of roles a moment later
		reply, err := someone.Create(pod("plain", "default", plain))
		return err == nil && reply.Status == 201
	}, 30*time.Second, 500*time.Millisecond)
	for name, context := range map[string]string{
		"privileged": "{privileged: true}",
		"escalating": "{runAsUser: 1000, allowPrivilegeEscalation: true}",
		"root":       "{runAsUser: 0}",
		"capable":    "{runAsUser: 1000, capabilities: {add: [NET_ADMIN]}}",
	} {
		reply, err := someone.Create(pod(name, "default", context))
		require.NoError(t, err)
		assert.Equal(t, 403, reply.Status, name)
		assert.Contains(t, reply.Message, "PodSecurityPolicy: unable to admit pod", name)
	}
}
