package report

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// With -update the golden files are written anew.
var update = flag.Bool("update", false, "write testdata anew")

// golden holds got against testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "write it with: go test ./internal/report -update")
	require.Equal(t, string(want), string(got), "%s is not what testdata says", name)
}

func fixtureMeta() Meta {
	return Meta{
		PluginVersion: "0.1.0",
		Created:       time.Date(2026, 11, 23, 9, 30, 0, 987, time.FixedZone("CET", 3600)),
		K3sVersion:    "v1.36.3+k3s1",
		Role:          "server",
		Benchmark:     "cis-2.1",
		BenchmarkName: benchmark.FullName("cis-2.1"),
		Node: Node{
			Build: "qemu.node", Datastore: "sqlite", Access: "ssh",
			Image: "node.qcow2", OS: "Debian GNU/Linux 12 (bookworm)", Kernels: []string{"6.1.0-31-amd64"}, Architecture: "amd64",
			Base: "debian-12-genericcloud-amd64.qcow2", BaseDigest: "sha256:" + strings.Repeat("0b", 32),
			Commit: strings.Repeat("c0", 20) + "-dirty", Run: "9e107d9d-372b-5d3e-8e1f-6f2d1a3f4c5b",
		},
		Judge: Judge{
			PluginDigest: strings.Repeat("a1", 32), CatalogueDigest: strings.Repeat("b2", 32),
			Options: map[string]string{"role": "server", "config.token": "(hidden)", "audit.max_age": "30"},
		},
		Drift: &DriftRecord{
			Since: time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC), Subject: []string{"K3s: v1.36.2+k3s1 before, v1.36.3+k3s1 now"},
			Changes: []DriftChange{
				{Kind: "worse", ID: "1.2.16", Key: "apiserver.audit-log-path", Title: "Audit log path set", From: benchmark.Pass, To: benchmark.Fail},
				{Kind: "new", ID: "acme.motd", Key: "acme.motd", Title: "Message of the day names the owner", To: benchmark.Pass},
			},
		},
	}
}

// fixture is a small report that has every status and every kind of control.
func fixture() Report { return New(fixtureMeta(), fixtureResults()) }

func fixtureResults() []benchmark.Result {
	return []benchmark.Result{
		{
			ID: "1.1.11", Key: "files.etcd-datadir.mode", Title: "etcd data directory: mode 700",
			Status: benchmark.NotApplicable, Section: "1.1", Expected: "mode 0700 or stricter",
			Reason: "the datastore is sqlite, there is no etcd",
		},
		{
			ID: "1.1.13", Key: "files.admin-kubeconfig.mode", Title: "Admin kubeconfig: mode",
			Status: benchmark.Deferred, Section: "1.1", Expected: "mode 0600 or stricter",
			Reason: "K3s writes the file at first boot with mode 0600 (write-kubeconfig-mode is not set)",
			Evidence: []benchmark.Evidence{
				{Source: "K3s v1.36 default", Detail: "write-kubeconfig-mode is 0600"},
			},
		},
		{
			ID: "1.2.9", Key: "apiserver.admission.eventratelimit", Title: "EventRateLimit admission on",
			Status: benchmark.Waived, Section: "1.2", Level: 2,
			Found:       "enable-admission-plugins=NodeRestriction",
			Expected:    "enable-admission-plugins has EventRateLimit",
			Remediation: "Add an event_rate_limit block.",
			Evidence: []benchmark.Evidence{
				{Source: "/etc/rancher/k3s/config.yaml", Line: 7, Detail: "kube-apiserver-arg: enable-admission-plugins=NodeRestriction"},
			},
			Waiver: &benchmark.Waiver{
				Control: "1.2.9", Reason: "One team per cluster, limits are set at the ingress.",
				Owner: "platform@example.com", Expires: time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC), Role: "server",
			},
		},
		{
			ID: "1.2.16", Key: "apiserver.audit-log-path", Title: "Audit log path set",
			Status: benchmark.Fail, Section: "1.2",
			Found:       "audit-log-path is not set",
			Expected:    "audit-log-path is an absolute path",
			Remediation: "Remove kube-apiserver-arg from /etc/rancher/k3s/config.yaml.d/99.yaml, or write it as kube-apiserver-arg+ so that it adds to the list instead of replacing it.",
			Evidence: []benchmark.Evidence{
				{Source: "/etc/rancher/k3s/config.yaml.d/99.yaml", Line: 3, Detail: "kube-apiserver-arg: [profiling=false]"},
				{Source: "/etc/rancher/k3s/config.yaml", Line: 7, Detail: "kube-apiserver-arg replaced by 99.yaml"},
			},
		},
		{
			ID: "1.2.21", Key: "apiserver.sa-lookup", Title: "Service account token lookup on",
			Status: benchmark.Pass, Section: "1.2",
			Found: "service-account-lookup is true", Expected: "service-account-lookup is not false",
			Evidence: []benchmark.Evidence{
				{Source: "K3s v1.36 default", Detail: "service-account-lookup=true"},
			},
		},
		{
			ID: "3.2.1", Key: "controlplane.audit-policy", Title: "An audit policy exists",
			Status: benchmark.Error, Section: "3.2",
			Expected:    "a policy that kube-apiserver accepts",
			Reason:      "/var/lib/rancher/k3s/server/audit.yaml: line 4: unknown field \"rulez\"",
			Remediation: "Fix audit.yaml or leave out audit.policy_file.",
			Evidence: []benchmark.Evidence{
				{Source: "/var/lib/rancher/k3s/server/audit.yaml", Line: 4, Detail: "rulez:"},
			},
		},
		{
			ID: "4.2.6", Key: "kubelet.protect-kernel-defaults", Title: "Kubelet stops on wrong kernel settings",
			Status: benchmark.Pass, Section: "4.2",
			Found: "protect-kernel-defaults is true", Expected: "protect-kernel-defaults is true",
			Evidence: []benchmark.Evidence{
				{Source: "/etc/rancher/k3s/config.yaml", Line: 1, Detail: "protect-kernel-defaults: true"},
			},
		},
		{
			ID: "5.1.1", Key: "rbac.cluster-admin", Title: "cluster-admin bound sparingly",
			Status: benchmark.Manual, Section: "5.1", Expected: "only who needs it is bound to cluster-admin",
			Reason: "CIS leaves this to a person; it lives in the running cluster",
			Attestation: &benchmark.Attestation{
				Control: "5.1.1", Statement: "The bindings were reviewed.", By: "Jo Smith",
				When: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC),
			},
			Remediation: "Review the ClusterRoleBindings of cluster-admin.",
		},
		{
			ID: "node.k3s-starts", Key: "node.k3s-starts", Title: "K3s starts with what is on the node",
			Status: benchmark.Pass, Section: "node",
			Found: "nothing keeps K3s from starting", Expected: "nothing on the node keeps K3s from starting",
			Evidence: []benchmark.Evidence{{Source: "/etc/rancher/k3s/config.yaml", Detail: "read"}},
		},
		{
			ID: "node.hygiene.machine-id", Key: "node.hygiene.machine-id", Title: "No machine id in the image",
			Status: benchmark.Pass, Section: "node.hygiene",
			Found: "/etc/machine-id is empty", Expected: "/etc/machine-id is empty or absent",
			Evidence: []benchmark.Evidence{{Source: "/etc/machine-id", Detail: "0 bytes"}},
		},
		{
			ID: "node.hygiene.ssh-host-keys", Key: "node.hygiene.ssh-host-keys", Title: "No SSH host keys in the image",
			Status: benchmark.Fail, Section: "node.hygiene",
			Found: "1 host key", Expected: "no file matches /etc/ssh/ssh_host_*_key",
			Remediation: "rm /etc/ssh/ssh_host_*_key*",
			Evidence:    []benchmark.Evidence{{Source: "/etc/ssh/ssh_host_ed25519_key", Detail: "present, 411 bytes"}},
		},
		{
			ID: "acme.motd", Key: "acme.motd", Title: "Message of the day names the owner",
			Status: benchmark.Pass,
			Found:  "Property of ACME", Expected: "contains ACME",
			Evidence: []benchmark.Evidence{{Source: "/etc/motd", Line: 1, Detail: "Property of ACME"}},
		},
	}
}
