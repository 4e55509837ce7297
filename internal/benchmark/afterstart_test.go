package benchmark_test

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// What K3s makes too open is deferred where the service is known to tighten it
// after each start, and left to a person where it is not.
func TestTightenedAfterStart(t *testing.T) {
	for name, c := range map[string]struct {
		release, benchmark string
		manual             []string
	}{
		"certificates":             {"v1.28.5+k3s1", "cis-1.8", []string{"files.pki-cert.mode"}},
		"certificates, kubeconfig": {"v1.26.3+k3s1", "cis-1.24", []string{"files.pki-cert.mode", "files.admin-kubeconfig.mode", "files.scheduler-kubeconfig.mode", "files.kcm-kubeconfig.mode"}},
		"wide enough":              {"v1.36.3+k3s1", "cis-2.1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			tr := hardened(t, c.release, k3s.Server, c.benchmark)
			delete(tr.entries, "/etc/systemd/system/k3s.service.d/60-k3s-cis.conf")
			tr.file("/etc/systemd/system/k3s.service", 0o644, "[Service]\nType=notify\nExecStart=/usr/local/bin/k3s server\n")
			tr.file(k3s.FindProgram, 0o755, "find")
			by := func(want benchmark.Status) {
				for _, r := range benchmark.Evaluate(tr.input(t, c.benchmark)) {
					for _, key := range c.manual {
						if r.Key == key {
							assert.Equal(t, want, r.Status, key)
						}
					}
				}
			}
			by(benchmark.Manual)
			plan, err := harden.Make(harden.Options{Release: tr.release, Role: tr.role, Benchmark: c.benchmark}, tr.node(harden.Query(harden.Options{Release: tr.release, Role: tr.role})))
			require.NoError(t, err)
			for _, e := range plan.Change.Write {
				tr.put(e)
			}
			assert.Contains(t, tr.entries, "/etc/systemd/system/k3s.service.d/60-k3s-cis.conf")
			by(benchmark.Deferred)
		})
	}
}

// What is too open already stays so until the service has started again.
func TestOpenBeforeTheNextStart(t *testing.T) {
	const key = "files.pki-cert.mode"
	tr := hardened(t, "v1.28.5+k3s1", k3s.Server, "cis-1.8")
	tr.file("/etc/systemd/system/k3s.service", 0o644, "[Service]\nType=notify\nExecStart=/usr/local/bin/k3s server\n")
	tr.file(k3s.FindProgram, 0o755, "find")
	tr.file("/etc/systemd/system/k3s.service.d/60-k3s-cis.conf", 0o644, k3s.TightenUnit(k3s.LayoutOf("")))
	for mode, want := range map[fs.FileMode]benchmark.Status{0o644: benchmark.Fail, 0o600: benchmark.Pass} {
		tr.file("/var/lib/rancher/k3s/server/tls/client-ca.crt", mode, "x")
		found := false
		for _, r := range benchmark.Evaluate(tr.input(t, "cis-1.8")) {
			if r.Key == key {
				found = true
				assert.Equal(t, want, r.Status, "%v: %s", mode, r.Found)
			}
		}
		assert.True(t, found)
	}
}
