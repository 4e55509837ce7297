package kube

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// PodCase is a pod's specification that Workloads and the real API server
// must agree on.
type PodCase struct {
	Name, Spec string
	// Restricted and Baseline say whether a namespace of that level takes it.
	Restricted, Baseline bool
}

const restrictedContext = "{runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}"

// PodCases are judged by TestWorkloads and, for real, by TestAccWorkloads.
var PodCases = []PodCase{
	{Name: "restricted", Spec: "{containers: [{name: c, image: i, securityContext: " + restrictedContext + "}]}", Restricted: true, Baseline: true},
	{Name: "nothing-said", Spec: "{containers: [{name: c, image: i}]}", Baseline: true},
	{Name: "privileged", Spec: "{containers: [{name: c, image: i, securityContext: {privileged: true}}]}"},
	{Name: "host-network", Spec: "{hostNetwork: true, containers: [{name: c, image: i, securityContext: " + restrictedContext + "}]}"},
	{Name: "host-path", Spec: "{volumes: [{name: v, hostPath: {path: /}}], containers: [{name: c, image: i, securityContext: " + restrictedContext + "}]}"},
	{Name: "init-container", Spec: "{initContainers: [{name: b, image: i, securityContext: {privileged: true}}], containers: [{name: c, image: i, securityContext: " + restrictedContext + "}]}"},
	{Name: "root", Spec: "{containers: [{name: c, image: i, securityContext: " + strings.Replace(restrictedContext, "runAsNonRoot: true", "runAsUser: 0, runAsNonRoot: false", 1) + "}]}", Baseline: true},
	{Name: "capability", Spec: "{containers: [{name: c, image: i, securityContext: {capabilities: {add: [SYS_ADMIN]}}}]}"},
	{Name: "sysctl", Spec: "{securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}, containers: [{name: c, image: i}]}"},
}

// Manifest returns the case as a pod in a namespace.
func (p PodCase) Manifest(namespace string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: %s}, spec: %s}", p.Name, namespace, p.Spec)
}

// objectsOf loads documents written as YAML in braces, which K3s would take for
// JSON.
func objectsOf(t *testing.T, manifest string) []Object {
	t.Helper()
	var objects []Object
	for document := range strings.SplitSeq(manifest, "---\n") {
		data, err := yaml.YAMLToJSON([]byte(document))
		require.NoError(t, err)
		found, err := LoadManifest("m.yaml", data)
		require.NoError(t, err)
		objects = append(objects, found...)
	}
	return objects
}

func enforcing(level string) PodSecurity { return PodSecurity{Enforce: Level{level, "latest"}} }

func TestWorkloads(t *testing.T) {
	for _, p := range PodCases {
		t.Run(p.Name, func(t *testing.T) {
			objects := objectsOf(t, p.Manifest("default"))
			assert.Equal(t, p.Restricted, len(Workloads(release(t, "1.36"), objects, enforcing("restricted"))) == 0)
			assert.Equal(t, p.Baseline, len(Workloads(release(t, "1.36"), objects, enforcing("baseline"))) == 0)
			assert.Empty(t, Workloads(release(t, "1.36"), objects, enforcing("privileged")))
		})
	}
}

func TestWorkloadsSayWhy(t *testing.T) {
	got := Workloads(release(t, "1.36"), objectsOf(t, PodCases[2].Manifest("ns")), enforcing("restricted"))
	require.Len(t, got, 1)
	assert.Equal(t, "Pod ns/privileged", got[0].Object.String())
	assert.Equal(t, Level{"restricted", "latest"}, got[0].Level)
	assert.Contains(t, got[0].Reasons, `privileged (container "c" must not set securityContext.privileged=true)`)
	assert.Contains(t, got[0].Reasons, `runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)`)
}

// TestWorkloadsTemplates finds the pods that controllers make.
func TestWorkloadsTemplates(t *testing.T) {
	const template = "template: {spec: {containers: [{name: c, image: i, securityContext: {privileged: true}}]}}"
	const selector = "selector: {matchLabels: {a: b}}, "
	for kind, head := range map[string]string{
		"Deployment":            "{apiVersion: apps/v1, spec: {" + selector + template + "}",
		"ReplicaSet":            "{apiVersion: apps/v1, spec: {" + selector + template + "}",
		"DaemonSet":             "{apiVersion: apps/v1, spec: {" + selector + template + "}",
		"StatefulSet":           "{apiVersion: apps/v1, spec: {" + selector + "serviceName: s, " + template + "}",
		"Job":                   "{apiVersion: batch/v1, spec: {" + template + "}",
		"CronJob":               "{apiVersion: batch/v1, spec: {schedule: '* * * * *', jobTemplate: {spec: {" + template + "}}}",
		"ReplicationController": "{apiVersion: v1, spec: {" + template + "}",
	} {
		manifest := fmt.Sprintf("%s, kind: %s, metadata: {name: w}}", head, kind)
		got := Workloads(release(t, "1.36"), objectsOf(t, manifest), enforcing("baseline"))
		if assert.Len(t, got, 1, kind) {
			assert.Equal(t, kind+" w", got[0].Object.String())
		}
	}
	assert.Empty(t, Workloads(release(t, "1.36"), objectsOf(t, "{apiVersion: v1, kind: ReplicationController, metadata: {name: w}, spec: {}}"), enforcing("baseline")))
}

func TestWorkloadsPassedOver(t *testing.T) {
	privileged := func(namespace string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: p%s}, spec: {runtimeClassName: kata, containers: [{name: c, image: i, securityContext: {privileged: true}}]}}", namespace)
	}
	deployment := "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: a}, spec: {selector: {matchLabels: {a: b}}, template: {spec: {containers: [{name: c, image: i, securityContext: {privileged: true}}]}}}}"
	namespace := func(labels string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {%s}}}\n---\n", labels)
	}
	for _, test := range []struct {
		name, minor, manifest string
		psa                   PodSecurity
		rejected              int
	}{
		{name: "no exemption", minor: "1.36", manifest: privileged(", namespace: a"), psa: enforcing("baseline"), rejected: 1},
		{name: "namespace", minor: "1.36", manifest: privileged(", namespace: a"), psa: PodSecurity{Enforce: Level{"baseline", "latest"}, Exempt: Exemptions{Namespaces: []string{"a"}}}},
		{name: "another namespace", minor: "1.36", manifest: privileged(", namespace: a"), psa: PodSecurity{Enforce: Level{"baseline", "latest"}, Exempt: Exemptions{Namespaces: []string{"b"}}}, rejected: 1},
		{name: "default namespace", minor: "1.36", manifest: privileged(""), psa: PodSecurity{Enforce: Level{"baseline", "latest"}, Exempt: Exemptions{Namespaces: []string{"default"}}}},
		{name: "runtime class", minor: "1.36", manifest: privileged(""), psa: PodSecurity{Enforce: Level{"baseline", "latest"}, Exempt: Exemptions{RuntimeClasses: []string{"kata"}}}},
		{name: "user that creates pods", minor: "1.36", manifest: privileged(""), psa: PodSecurity{Enforce: Level{"baseline", "latest"}, Exempt: Exemptions{Usernames: []string{"system:k3s-supervisor"}}}},
		{name: "controller that creates pods", minor: "1.36", manifest: deployment, psa: PodSecurity{Enforce: Level{"baseline", "latest"}, Exempt: Exemptions{Usernames: []string{"system:serviceaccount:kube-system:replicaset-controller"}}}},
		{name: "user that does not", minor: "1.36", manifest: deployment, psa: PodSecurity{Enforce: Level{"baseline", "latest"}, Exempt: Exemptions{Usernames: []string{"system:k3s-supervisor"}}}, rejected: 1},
		{name: "namespace's own level", minor: "1.36", manifest: namespace("pod-security.kubernetes.io/enforce: privileged") + deployment, psa: enforcing("restricted")},
		{name: "namespace's stricter level", minor: "1.36", manifest: namespace("pod-security.kubernetes.io/enforce: restricted") + deployment, psa: enforcing("privileged"), rejected: 1},
		{name: "namespace's level that is none", minor: "1.36", manifest: namespace("pod-security.kubernetes.io/enforce: none") + deployment, psa: enforcing("privileged"), rejected: 1},
		{name: "default that is none", minor: "1.36", manifest: deployment, psa: PodSecurity{}, rejected: 1},
		{name: "before Pod Security Admission", minor: "1.22", manifest: deployment, psa: enforcing("restricted")},
		{name: "first with Pod Security Admission", minor: "1.23", manifest: deployment, psa: enforcing("restricted"), rejected: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Len(t, Workloads(release(t, test.minor), objectsOf(t, test.manifest), test.psa), test.rejected)
		})
	}
}

// TestWorkloadsOfTheRelease judges by the standard of the release, not of the
// newest library: v1.27 made one sysctl safe.
func TestWorkloadsOfTheRelease(t *testing.T) {
	objects := objectsOf(t, "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {securityContext: {sysctls: [{name: net.ipv4.ip_local_reserved_ports, value: '1'}]}, containers: [{name: c, image: i}]}}")
	assert.Len(t, Workloads(release(t, "1.26"), objects, enforcing("baseline")), 1)
	assert.Empty(t, Workloads(release(t, "1.27"), objects, enforcing("baseline")))
	assert.Len(t, Workloads(release(t, "1.27"), objects, PodSecurity{Enforce: Level{"baseline", "v1.26"}}), 1)
}
