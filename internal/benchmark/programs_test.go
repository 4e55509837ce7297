package benchmark_test

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// TestWhatTheServiceRuns: all that the service runs is to be root's, K3s is to
// be runnable and to run as root, and keys are followed through every flag.
func TestWhatTheServiceRuns(t *testing.T) {
	const unit = "/etc/systemd/system/k3s.service"
	const usual = "[Service]\nExecStart=/usr/local/bin/k3s server\n"
	of := func(tr *tree, p string, uid int, mode uint32) {
		tr.put(node.Entry{Path: p, Kind: node.KindFile, Mode: 0o777 & modeOf(mode), UID: uid, Data: []byte("x")})
	}
	for _, c := range []struct {
		name, control string
		breaks        func(*tree)
		fails         bool
	}{
		{"a script before, for everyone to write", "node.binary.mode", func(tr *tree) {
			tr.file(unit, 0o644, usual+"ExecStartPre=/opt/pre.sh\n")
			of(tr, "/opt/pre.sh", 0, 0o777)
		}, true},
		{"a script behind, of a user", "node.binary.mode", func(tr *tree) {
			tr.file(unit, 0o644, usual+"ExecStopPost=-/bin/sh /opt/post.sh\n")
			of(tr, "/opt/post.sh", 1000, 0o755)
		}, true},
		{"a script of root's", "node.binary.mode", func(tr *tree) {
			tr.file(unit, 0o644, usual+"ExecStartPre=-/sbin/modprobe overlay\nExecStartPre=/opt/pre.sh\n")
			of(tr, "/opt/pre.sh", 0, 0o755)
			of(tr, "/usr/local/bin/k3s", 0, 0o755)
		}, false},
		{"k3s that nobody may run", "node.k3s-starts", func(tr *tree) { of(tr, "/usr/local/bin/k3s", 0, 0o644) }, true},
		{"k3s beside one that nobody may run", "node.k3s-starts", func(tr *tree) {
			of(tr, "/usr/local/bin/k3s", 0, 0o755)
			of(tr, "/opt/bin/k3s", 0, 0o644)
		}, false},
		{"the one that the service starts", "node.k3s-starts", func(tr *tree) {
			tr.file(unit, 0o644, usual)
			of(tr, "/opt/bin/k3s", 0, 0o755)
			of(tr, "/usr/local/bin/k3s", 0, 0o644)
		}, true},
		{"a user's service", "node.k3s-starts", func(tr *tree) { tr.file(unit, 0o644, usual+"User=k3s\n") }, true},
		{"root's service", "node.k3s-starts", func(tr *tree) { tr.file(unit, 0o644, usual+"User=root\n") }, false},
		{"a key for a name", "node.hygiene.config-secrets", func(tr *tree) {
			tr.arg(t, k3s.APIServer, "tls-sni-cert-key=/opt/a.crt,/opt/a.key:k3s.example.org")
			tr.file("/opt/a.crt", 0o644, "x")
			tr.file("/opt/a.key", 0o600, "x")
		}, true},
		{"a key for a name, of a user", "node.admission-files.mode", func(tr *tree) {
			tr.arg(t, k3s.APIServer, "tls-sni-cert-key=/opt/a.crt,/opt/a.key")
			of(tr, "/opt/a.crt", 0, 0o644)
			of(tr, "/opt/a.key", 1000, 0o600)
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := server(t)
			c.breaks(tr)
			r := tr.result(t, c.control)
			assert.Equal(t, c.fails, r.Status == benchmark.Fail, "%s: %s", r.Status, r.Found)
		})
	}
}

func modeOf(m uint32) fs.FileMode { return fs.FileMode(m) }
