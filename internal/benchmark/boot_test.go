package benchmark_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// What the disk holds proves nothing where boot removes it or writes it anew:
// no control that rests on it passes, and each says which line does that.
func TestUndoneAtBoot(t *testing.T) {
	hardened := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
	for _, c := range []struct {
		name, file, text string
		// controls rest on what is undone.
		controls []string
	}{
		{"config removed", "/etc/tmpfiles.d/x.conf", "r /etc/rancher/k3s/config.yaml\n", []string{"node.config.mode", "apiserver.audit-log-path", "node.k3s-starts", "netpol.all-namespaces"}},
		{"config written", "/etc/rc.local", "#!/bin/sh\nsed -i /secrets/d /etc/rancher/k3s/config.yaml\n", []string{"apiserver.audit-log-path", "node.k3s-starts"}},
		{"drop-in made", "/etc/tmpfiles.d/x.conf", "f /etc/rancher/k3s/config.yaml.d/99.yaml 0600 - - - disable-network-policy: true\n", []string{"apiserver.audit-log-path", "netpol.all-namespaces"}},
		{"manifests removed", "/etc/cron.d/x", "@reboot root rm -rf /var/lib/rancher/k3s/server/manifests\n", []string{"netpol.all-namespaces", "node.manifest-names"}},
		{"manifests aged", "/etc/tmpfiles.d/x.conf", "e /var/lib/rancher/k3s/server/manifests - - - 1d\n", []string{"netpol.all-namespaces"}},
		{"sysctl file removed", "/etc/rc.local", "#!/bin/sh\nrm -f /etc/sysctl.d/90-*.conf\n", []string{"node.kernel-parameters"}},
		{"data covered", "/etc/rc.local", "#!/bin/sh\nmount /dev/vdb /var/lib/rancher/k3s\n", []string{"netpol.all-namespaces", "node.server-dir.mode"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := hardened.clone()
			tr.file(c.file, 0o755, c.text)
			results := map[string]benchmark.Result{}
			for _, r := range benchmark.Evaluate(tr.input(t, "cis-2.1")) {
				results[r.Key] = r
			}
			for _, key := range c.controls {
				r, ok := results[key]
				if !assert.True(t, ok, key) {
					continue
				}
				assert.Contains(t, []benchmark.Status{benchmark.Error, benchmark.Fail}, r.Status, "%s: %s", key, r.Found)
				assert.Contains(t, r.Found, c.file, key)
			}
		})
	}
}
