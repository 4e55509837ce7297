package cis

import (
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

// trial is one Provision on a tree.
type trial struct {
	err    error
	log    string
	report *report.Report
	dir    string
}

// try provisions tree; the reports go to a directory of their own.
func try(t *testing.T, tree string, raw map[string]any, data map[string]any) trial {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: the files of a node belong to root")
	}
	x := trial{dir: filepath.Join(t.TempDir(), "report")}
	options := map[string]any{"report_dir": x.dir, "packer_build_name": "node", "packer_builder_type": "k3s-image"}
	for k, v := range raw {
		options[k] = v
	}
	generated := map[string]any{rootDirectoryKey: tree}
	for k, v := range data {
		generated[k] = v
	}
	var p Provisioner
	require.NoError(t, p.Prepare(options))
	ui := new(packersdk.MockUi)
	x.err = p.Provision(t.Context(), ui, nil, generated)
	x.log = ui.ErrorMessage
	for _, said := range ui.SayMessages {
		x.log += said.Message + "\n"
	}
	if written, err := os.ReadFile(filepath.Join(x.dir, "report.json")); err == nil {
		r, err := report.LoadReport(written)
		require.NoError(t, err)
		x.report = &r
	}
	return x
}

// K3s reads drop-ins behind a link to their directory as any others, whether
// config.yaml, an agent's file or another one names them.
func TestDropInsBehindALink(t *testing.T) {
	const sets = "kubelet-arg+: [\"anonymous-auth=true\"]\n"
	for name, c := range map[string]struct{ file, command string }{
		"config.yaml":   {"/etc/rancher/k3s/config.yaml", ""},
		"another file":  {"/etc/rancher/k3s/own.yaml", " --config /etc/rancher/k3s/own.yaml"},
		"one elsewhere": {"/srv/k3s/own.yaml", " --config /srv/k3s/own.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			judged := func(linked bool) *report.Report {
				tree := newTree(t)
				write(t, tree, "/etc/systemd/system/k3s.service", "[Service]\nType=notify\nExecStart=/usr/local/bin/k3s server"+c.command+"\n")
				write(t, tree, c.file, "profile: cis\n")
				dropIns := c.file + ".d"
				if linked {
					dropIns = "/opt/drop-ins"
					require.NoError(t, os.MkdirAll(filepath.Join(tree, filepath.Dir(c.file)), 0o755))
					require.NoError(t, os.Symlink(dropIns, filepath.Join(tree, c.file+".d")))
				}
				write(t, tree, dropIns+"/50-x.yaml", sets)
				return try(t, tree, map[string]any{"k3s_version": release, "mode": "check"}, nil).report
			}
			plain, linked := judged(false), judged(true)
			require.NotNil(t, linked)
			assert.Equal(t, benchmark.Fail, status(t, linked, "4.2.1").Status, "%+v", status(t, linked, "4.2.1"))
			for i, r := range plain.Results {
				assert.Equal(t, r.Status, linked.Results[i].Status, "%s: %+v", r.ID, linked.Results[i])
			}
		})
	}
}

func newTree(t *testing.T) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, os.Mkdir(tree, 0o755))
	return tree
}

func write(t *testing.T, tree, name, content string) {
	t.Helper()
	file := filepath.Join(tree, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	if path.Base(name) == "k3s" {
		require.NoError(t, os.Chmod(file, 0o755)) // which would not start otherwise
	}
}

func status(t *testing.T, r *report.Report, id string) benchmark.Result {
	t.Helper()
	require.NotNil(t, r)
	for _, result := range r.Results {
		if result.ID == id {
			return result
		}
	}
	require.Fail(t, "the report has no control "+id)
	return benchmark.Result{}
}

const release = "v1.36.3+k3s1"

func TestReleaseComesFromTheBinary(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "usr/local/bin/k3s", "\x7fELF … v1.33.4+k3s1\x00 …")
	x := try(t, tree, nil, nil)
	require.NoError(t, x.err, x.log)
	assert.Equal(t, "v1.33.4+k3s1", x.report.K3sVersion)
	assert.Equal(t, "cis-1.12", x.report.Benchmark)
}

func TestReleaseThatTheBinaryContradictsIsRefused(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "usr/local/bin/k3s", "\x7fELF … v1.33.4+k3s1\x00 …")
	x := try(t, tree, map[string]any{"k3s_version": release}, nil)
	require.ErrorContains(t, x.err, "k3s_version is v1.36.3+k3s1 but the K3s binary in the image is v1.33.4+k3s1")
	assert.NoFileExists(t, filepath.Join(tree, "etc/rancher/k3s/config.yaml"))
}

func TestReleaseThatNobodyTellsIsRefused(t *testing.T) {
	x := try(t, newTree(t), nil, nil)
	require.ErrorContains(t, x.err, "k3s_version is not set and the image has no K3s binary")
}

func TestBinaryThatTellsNothingIsSaid(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "usr/local/bin/k3s", "#!/bin/sh\n")
	x := try(t, tree, map[string]any{"k3s_version": release}, nil)
	require.NoError(t, x.err, x.log)
	assert.Contains(t, x.log, "Warning: whether the K3s in the image is v1.36.3+k3s1 could not be verified")
}

func TestWaiverAcceptsAFailureAndTravels(t *testing.T) {
	tree := newTree(t)
	options := map[string]any{"k3s_version": release}
	require.NoError(t, try(t, tree, options, nil).err)
	require.NoError(t, os.Chmod(filepath.Join(tree, "var/lib/rancher/k3s/server/logs"), 0o755))

	options["mode"] = modeCheck
	x := try(t, tree, options, nil)
	require.ErrorContains(t, x.err, "node.audit-log-dir.mode")
	require.Equal(t, benchmark.Fail, status(t, x.report, "node.audit-log-dir.mode").Status)

	waiver := map[string]any{
		"control": "node.audit-log-dir.mode", "reason": "read by the log shipper", "owner": "ops",
		"expires": time.Now().AddDate(0, 1, 0).Format(time.DateOnly),
	}
	options["waiver"] = []map[string]any{waiver}
	x = try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	waived := status(t, x.report, "node.audit-log-dir.mode")
	assert.Equal(t, benchmark.Waived, waived.Status)
	require.NotNil(t, waived.Waiver)
	assert.Equal(t, "ops", waived.Waiver.Owner)

	waiver["build"] = "another"
	require.Error(t, try(t, tree, options, nil).err, "a waiver for another build accepts nothing here")
}

func TestWaiverThatNothingNeedsIsSaid(t *testing.T) {
	x := try(t, newTree(t), map[string]any{"k3s_version": release, "waiver": []map[string]any{{
		"control": "1.2.16", "reason": "r", "owner": "o", "expires": time.Now().AddDate(0, 1, 0).Format(time.DateOnly),
	}}}, nil)
	require.NoError(t, x.err, x.log)
	assert.Contains(t, x.log, "the waiver for 1.2.16 (o) is not needed")
}

func TestBaselineFailsOnARegression(t *testing.T) {
	tree := newTree(t)
	options := map[string]any{"k3s_version": release}
	before := try(t, tree, options, nil)
	require.NoError(t, before.err)

	options["baseline"] = filepath.Join(before.dir, "report.json")
	options["mode"] = modeCheck
	x := try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)

	require.NoError(t, os.Remove(filepath.Join(tree, "etc/rancher/k3s/audit.yaml")))
	options["waiver"] = []map[string]any{{
		"control": "3.2.1", "reason": "r", "owner": "o", "expires": time.Now().AddDate(0, 1, 0).Format(time.DateOnly),
	}}
	x = try(t, tree, options, nil)
	require.ErrorContains(t, x.err, "further from proven than in the baseline")
}

func TestReadOnlySourceIsOnlyChecked(t *testing.T) {
	tree := newTree(t)
	x := try(t, tree, map[string]any{"k3s_version": release}, map[string]any{rootReadOnlyKey: "true"})
	require.Error(t, x.err)
	assert.Contains(t, x.log, "checking only")
	entries, err := os.ReadDir(tree)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestDataDirectoryElsewhereIsFollowed(t *testing.T) {
	for name, options := range map[string]map[string]any{
		"by option":         {"k3s_version": release, "config": map[string]string{"data-dir": "/data/k3s"}},
		"by the image":      {"k3s_version": release},
		"by the image, old": {"k3s_version": "v1.28.9+k3s1"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := newTree(t)
			if options["config"] == nil {
				write(t, tree, "etc/rancher/k3s/config.yaml", "data-dir: /data/k3s\n")
			}
			x := try(t, tree, options, nil)
			require.NoError(t, x.err, x.log)
			assert.DirExists(t, filepath.Join(tree, "data/k3s/server/logs"))
			assert.NoDirExists(t, filepath.Join(tree, "var/lib/rancher"))
			assert.Equal(t, benchmark.Pass, status(t, x.report, "node.audit-log-dir.mode").Status)
		})
	}
}

func TestConflictNamesTheControlsAtStake(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "etc/rancher/k3s/config.yaml.d/99.yaml", "kube-apiserver-arg:\n- v=2\n")
	x := try(t, tree, map[string]any{"k3s_version": release}, nil)
	require.ErrorContains(t, x.err, "/etc/rancher/k3s/config.yaml.d/99.yaml:1")
	assert.ErrorContains(t, x.err, "1.2.16")
	assert.NoFileExists(t, filepath.Join(tree, "etc/rancher/k3s/config.yaml"))
	assert.Nil(t, x.report)
}

func TestReleaseNewerThanKnownWorksWithAWarning(t *testing.T) {
	x := try(t, newTree(t), map[string]any{"k3s_version": "v1.39.0+k3s1"}, nil)
	require.NoError(t, x.err, x.log)
	assert.Contains(t, x.log, "v1.37", "the newest known release line must be named")
	assert.Equal(t, "cis-2.1", x.report.Benchmark)
}

// A control of the user's own may look at anything; what it looks at is collected.
func TestOwnControlIsJudgedFromEvidence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "own.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
- key: site.motd
  title: The login banner is root's alone to change
  roles: [server, agent]
  expect:
    - file: {path: /srv/site/banner, mode: "0644", owner: root}
  remediation: chmod 0644 /srv/site/banner
`), 0o600))
	tree := newTree(t)
	write(t, tree, "srv/site/banner", "hello\n")
	options := map[string]any{"k3s_version": release, "controls": []string{file}}
	x := try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	assert.Equal(t, benchmark.Pass, status(t, x.report, "site.motd").Status)

	require.NoError(t, os.Chmod(filepath.Join(tree, "srv/site/banner"), 0o666))
	x = try(t, tree, options, nil)
	require.ErrorContains(t, x.err, "site.motd")
}

// TestLinkThroughAnothersDirectory: who owns a directory on the way of a link puts
// another configuration file in its place.
func TestLinkThroughAnothersDirectory(t *testing.T) {
	for owner, fails := range map[int]bool{0: false, 1000: true} {
		tree := newTree(t)
		options := map[string]any{"k3s_version": release}
		require.NoError(t, try(t, tree, options, nil).err)
		config, home := filepath.Join(tree, "etc/rancher/k3s/config.yaml"), filepath.Join(tree, "home/u")
		require.NoError(t, os.MkdirAll(home, 0o755))
		require.NoError(t, os.Rename(config, filepath.Join(home, "config.yaml")))
		require.NoError(t, os.Symlink("/home/u/config.yaml", config))
		require.NoError(t, os.Chown(home, owner, owner))
		options["mode"] = modeCheck
		x := try(t, tree, options, nil)
		assert.Equal(t, fails, x.err != nil, x.log)
		if fails {
			assert.Contains(t, status(t, x.report, "node.directories.mode").Found, "/home/u 0755 1000:1000")
		}
	}
}

// A certificate that K3s made at an earlier start is given the mode that the check
// asks for by the run that checks, and the run says so.
func TestMadeBeforeIsTightened(t *testing.T) {
	const crt = "var/lib/rancher/k3s/server/tls/client-ca.crt"
	tree := newTree(t)
	write(t, tree, "etc/systemd/system/k3s.service", "[Service]\nType=notify\nExecStart=/usr/local/bin/k3s server\n")
	write(t, tree, crt, "PEM")
	require.NoError(t, os.Chmod(filepath.Join(tree, crt), 0o644))
	require.NoError(t, os.Chmod(filepath.Join(tree, "var/lib/rancher/k3s/server"), 0o700))
	options := map[string]any{"k3s_version": "v1.28.5+k3s1", "mode": "check"}
	x := try(t, tree, options, nil)
	assert.Equal(t, benchmark.Fail, status(t, x.report, "1.1.20").Status)
	options["mode"] = "apply"
	x = try(t, tree, options, nil)
	require.Error(t, x.err, "the certificate is in the image all the same")
	assert.Equal(t, benchmark.Pass, status(t, x.report, "1.1.20").Status)
	assert.Equal(t, benchmark.Fail, status(t, x.report, "node.hygiene.server-tls").Status)
	assert.Contains(t, x.log, "\n  /"+crt+"\n", "it is among what has changed")
	assert.Contains(t, x.log, "/"+crt+" (was 0644, becomes 0600)")
}
