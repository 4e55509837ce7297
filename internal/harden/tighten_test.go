package harden

import (
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// TestTighten: files of the node's own get the modes that the check asks for,
// with the bytes they have, and each is said; what is narrow enough stays.
func TestTighten(t *testing.T) {
	const (
		manifest = "/var/lib/rancher/k3s/server/manifests/app.yaml"
		dropIn   = "/etc/rancher/k3s/config.yaml.d/10-a.yaml"
		unit     = "/etc/systemd/system/k3s.service"
	)
	for name, c := range map[string]struct {
		path string
		mode fs.FileMode
		uid  int
		text string
		want fs.FileMode // 0: not written
	}{
		"manifest":           {manifest, 0o644, 0, "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n", 0o600},
		"manifest of a user": {manifest, 0o600, 1000, "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n", 0o600},
		"narrow manifest":    {manifest, 0o600, 0, "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n", 0},
		"drop-in":            {dropIn, 0o644, 0, "debug: true\n", 0o600},
		"read-only drop-in":  {dropIn, 0o400, 0, "debug: true\n", 0},
		"beside drop-ins":    {"/etc/rancher/k3s/config.yaml.d/README", 0o644, 0, "hello\n", 0o600},
		"registries":         {k3s.RegistriesFile, 0o644, 0, "mirrors: {}\n", 0o600},
		"unit":               {unit, 0o666, 0, "[Service]\nExecStart=/usr/local/bin/k3s server\n", 0o644},
		"usual unit":         {unit, 0o644, 0, "[Service]\nExecStart=/usr/local/bin/k3s server\n", 0},
		"environment file":   {unit + ".env", 0o644, 0, "K3S_DEBUG=true\n", 0o600},
		"drop-in of a unit":  {unit + ".d/10.conf", 0o666, 0, "[Service]\nRestartSec=7\n", 0o644},
	} {
		t.Run(name, func(t *testing.T) {
			entries := []node.Entry{
				{Path: unit, Kind: node.KindFile, Mode: 0o644, Data: []byte("[Service]\nExecStart=/usr/local/bin/k3s server\n")},
				{Path: k3s.DropInDir(k3s.ConfigFile), Kind: node.KindDirectory, Mode: 0o755},
				{Path: unit + ".d", Kind: node.KindDirectory, Mode: 0o755},
				{Path: "/var/lib/rancher/k3s/server/manifests", Kind: node.KindDirectory, Mode: 0o700},
			}
			if c.path == unit {
				entries = entries[1:]
			}
			entries = append(entries, node.Entry{Path: c.path, Kind: node.KindFile, Mode: c.mode, UID: c.uid, GID: c.uid, Data: []byte(c.text), Size: int64(len(c.text))})
			o := newest(t)
			plan, err := Make(o, node.New(Query(o), entries))
			require.NoError(t, err)
			var got *node.Entry
			for _, e := range plan.Change.Write {
				if e.Path == c.path {
					got = &e
				}
			}
			if c.want == 0 {
				assert.Nil(t, got)
				return
			}
			require.NotNil(t, got)
			assert.Equal(t, c.want, got.Mode)
			assert.Zero(t, got.UID)
			assert.Equal(t, c.text, string(got.Data))
			assert.NotContains(t, plan.Change.Keep, c.path, "its content stays")
			notes := ""
			for _, n := range plan.Notes {
				notes += n + "\n"
			}
			assert.Contains(t, notes, c.path+" (was ")
		})
	}
	o := newest(t)
	plan, err := Make(o, nil)
	require.NoError(t, err)
	assert.Contains(t, plan.Change.Write, directory("/var/lib/rancher/k3s/agent", 0o700))
	assumes := false
	for _, a := range plan.Change.Preconditions {
		assumes = assumes || a.Path == k3s.RegistriesFile
	}
	assert.True(t, assumes, "a registries' file that is there makes a plan without the node stale")
}

// TestKubeletNamed: the file that kubelet-arg names is for root alone, and so is the
// copy that K3s would make for everybody, whoever names the file.
func TestKubeletNamed(t *testing.T) {
	const (
		named  = "/etc/rancher/kubelet.yaml"
		copied = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/10-cli-config.conf"
		text   = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 50\n"
	)
	for name, c := range map[string]struct {
		release, config string
		option          bool
		mode, wantNamed fs.FileMode // 0: not written
		copied          bool
	}{
		"the node names it":       {"v1.36.3+k3s1", "kubelet-arg: [config=" + named + "]\n", false, 0o644, 0o600, true},
		"narrow enough":           {"v1.36.3+k3s1", "kubelet-arg: [config=" + named + "]\n", false, 0o600, 0, true},
		"an option names it":      {"v1.36.3+k3s1", "", true, 0o644, 0o600, true},
		"K3s that copies no file": {"v1.30.4+k3s1", "kubelet-arg: [config=" + named + "]\n", false, 0o644, 0o600, false},
		"nobody names it":         {"v1.36.3+k3s1", "", false, 0o644, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := newest(t)
			o.Release, o.Benchmark = release(t, c.release), ""
			if c.option {
				o.Args = map[k3s.Component][]string{k3s.Kubelet: {"config=" + named}}
			}
			entries := []node.Entry{
				{Path: named, Kind: node.KindFile, Mode: c.mode, Data: []byte(text), Size: int64(len(text))},
				{Path: k3s.ConfigFile, Kind: node.KindFile, Mode: 0o600, Data: []byte(c.config), Size: int64(len(c.config))},
			}
			_, err := Make(o, node.New(Query(o), entries[1:]))
			query := Query(o)
			if c.config != "" || c.option {
				var missing *Incomplete
				require.ErrorAs(t, err, &missing, "what is named has to be read first")
				query = append(query, missing.Query...)
			}
			plan, err := Make(o, node.New(query, entries))
			require.NoError(t, err)
			written := map[string]node.Entry{}
			for _, e := range plan.Change.Write {
				written[e.Path] = e
			}
			assert.Equal(t, c.wantNamed, written[named].Mode)
			if !c.copied {
				assert.NotContains(t, written, copied)
				return
			}
			assert.Equal(t, fs.FileMode(0o600), written[copied].Mode)
			assert.Equal(t, text, string(written[copied].Data))
			assert.Equal(t, fs.FileMode(0o700), written[path.Dir(copied)].Mode)
		})
	}
	o := newest(t)
	o.Args = map[k3s.Component][]string{k3s.Kubelet: {"config=" + named}}
	_, err := Make(o, nil)
	assert.ErrorAs(t, err, new(*Incomplete), "a plan without the node knows nothing of the file")
}

// TestMadeAlready: what K3s made for everybody to read gets the mode that the check
// asks for now and not after the next start, and each is said; of keys nothing is
// read but their modes.
func TestMadeAlready(t *testing.T) {
	const (
		tls  = "/var/lib/rancher/k3s/server/tls"
		cred = "/var/lib/rancher/k3s/server/cred"
	)
	o := newest(t)
	for _, p := range Query(o) {
		assert.False(t, p.Content && (node.Within(tls, p.Path) || node.Within(cred, p.Path)), "%s is not read", p.Path)
	}
	made := func(name string, mode fs.FileMode) node.Entry {
		return node.Entry{Path: name, Kind: node.KindFile, Mode: mode, Size: 1}
	}
	link := made(tls+"/link.crt", 0o644)
	link.Target = "/srv/a.crt"
	entries := []node.Entry{
		{Path: tls, Kind: node.KindDirectory, Mode: 0o700},
		{Path: tls + "/etcd", Kind: node.KindDirectory, Mode: 0o700},
		made(tls+"/client-ca.crt", 0o644), made(tls+"/etcd/peer.crt", 0o664), made(tls+"/client-ca.key", 0o600), made(tls+"/narrow.crt", 0o400),
		made(cred+"/admin.kubeconfig", 0o644), made(cred+"/passwd", 0o644), link,
	}
	plan, err := Make(o, node.New(Query(o), entries))
	require.NoError(t, err)
	assert.Equal(t, map[string]fs.FileMode{
		tls + "/client-ca.crt": 0o600, tls + "/etcd/peer.crt": 0o600, cred + "/admin.kubeconfig": 0o600,
	}, plan.Change.Modes)
	notes := strings.Join(plan.Notes, "\n")
	for p := range plan.Change.Modes {
		assert.Contains(t, notes, p+" (was ")
	}
	diff := Diff(plan, node.New(Query(o), entries))
	assert.Contains(t, diff, tls+"/client-ca.crt: mode 0644 -> 0600\n")
	assert.NotContains(t, diff, "client-ca.key")

	o.Role = k3s.Agent
	plan, err = Make(o, node.New(Query(o), entries))
	require.NoError(t, err)
	assert.Empty(t, plan.Change.Modes, "an agent has no cluster's certificates")
}
