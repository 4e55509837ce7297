package k3s

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// tightenTree is a node with a service that starts K3s.
func tightenTree(files map[string]string) *node.Node {
	var entries []node.Entry
	for name, text := range files {
		entries = append(entries, node.Entry{Path: name, Kind: node.KindFile, Mode: 0o755, Data: []byte(text), Size: int64(len(text))})
	}
	q := append(Query(Server, ""), Query(Server, "/data")...)
	return node.New(q, entries)
}

// A service tightens only what it is certain to.
func TestTightenedBy(t *testing.T) {
	const unit, dropIn = "/etc/systemd/system/k3s.service", "/etc/systemd/system/k3s.service.d/60-k3s-cis.conf"
	const script, settings = "/etc/init.d/k3s", "/etc/conf.d/k3s"
	started := "[Service]\nType=notify\nExecStart=/usr/local/bin/k3s server\n"
	usual := TightenUnit(LayoutOf(""))
	openRC := "#!/sbin/openrc-run\npidfile=/run/k3s.pid\ncommand=/usr/local/bin/k3s\ncommand_args=server\n"
	for name, c := range map[string]struct {
		files map[string]string
		dir   string
		match string
		mode  fs.FileMode
		by    string
	}{
		"drop-in":            {files: map[string]string{unit: started, dropIn: usual}, by: dropIn + ":2"},
		"subdirectory":       {files: map[string]string{unit: started, dropIn: usual}, dir: DefaultDataDir + "/server/tls/etcd", by: dropIn + ":2"},
		"kubeconfig":         {files: map[string]string{unit: started, dropIn: usual}, dir: DefaultDataDir + "/server/cred", match: "admin.kubeconfig", by: dropIn + ":3"},
		"the unit itself":    {files: map[string]string{unit: started + strings.TrimPrefix(usual, "[Service]\n")}, by: unit + ":4"},
		"no drop-in":         {files: map[string]string{unit: started}},
		"no service":         {files: map[string]string{dropIn: usual}},
		"reset later":        {files: map[string]string{unit: started, dropIn: usual, "/etc/systemd/system/k3s.service.d/99.conf": "[Service]\nExecStartPost=\n"}},
		"masked":             {files: map[string]string{unit: "", dropIn: usual}},
		"started too early":  {files: map[string]string{unit: strings.ReplaceAll(started, "notify", "exec"), dropIn: usual}},
		"another directory":  {files: map[string]string{unit: started, dropIn: TightenUnit(LayoutOf("/data"))}},
		"the data directory": {files: map[string]string{unit: strings.TrimSpace(started) + " --data-dir /data\n", dropIn: TightenUnit(LayoutOf("/data"))}, dir: "/data/server/tls", by: dropIn + ":2"},
		"another mode":       {files: map[string]string{unit: started, dropIn: strings.ReplaceAll(usual, "0600", "0644")}},
		"less than asked":    {files: map[string]string{unit: started, dropIn: usual}, mode: 0o400},
		"other files":        {files: map[string]string{unit: started, dropIn: usual}, match: "*.pem"},
		"all files":          {files: map[string]string{unit: started, dropIn: usual}, match: "*"},
		"no find":            {files: map[string]string{unit: started, dropIn: usual, FindProgram: "-"}},
		"another program":    {files: map[string]string{unit: started, dropIn: strings.ReplaceAll(usual, FindProgram, "/usr/bin/echo")}},
		"OpenRC":             {files: map[string]string{script: openRC, settings: "# ours\n" + TightenScript(LayoutOf(""))}, by: settings},
		"OpenRC without":     {files: map[string]string{script: openRC, settings: "# ours\n"}},
		"OpenRC, its own":    {files: map[string]string{script: openRC + "start_post() {\n\ttrue\n}\n", settings: TightenScript(LayoutOf(""))}},
		"OpenRC, more":       {files: map[string]string{script: openRC, settings: TightenScript(LayoutOf("")) + "start_post() { :; }\n"}},
		"OpenRC, before":     {files: map[string]string{script: openRC, settings: "return\n" + TightenScript(LayoutOf(""))}},
		"OpenRC, no pid":     {files: map[string]string{script: strings.ReplaceAll(openRC, "pidfile=", "x="), settings: TightenScript(LayoutOf(""))}},
	} {
		t.Run(name, func(t *testing.T) {
			switch c.files[FindProgram] {
			case "-":
				delete(c.files, FindProgram)
			default:
				c.files[FindProgram] = "find"
			}
			n := tightenTree(c.files)
			release, err := ParseRelease("v1.28.5+k3s1")
			require.NoError(t, err)
			e, err := Resolve(n, release, Server)
			require.NoError(t, err)
			dir, match, mode := c.dir, c.match, c.mode
			if dir == "" {
				dir = DefaultDataDir + "/server/tls"
			}
			if match == "" {
				match = "*.crt"
			}
			if mode == 0 {
				mode = 0o600
			}
			by, tightened := e.TightenedBy(n, dir, match, mode)
			assert.Equal(t, c.by != "", tightened)
			if c.by != "" {
				assert.Equal(t, c.by, by.String())
			}
		})
	}
}

// made are files as K3s makes them.
func made(t *testing.T) (Layout, map[string]fs.FileMode) {
	t.Helper()
	l := LayoutOf(t.TempDir())
	for name, mode := range map[string]fs.FileMode{
		"tls/client-ca.crt": 0o644, "tls/etcd/server-ca.crt": 0o644, "tls/client-ca.key": 0o600, "tls/dynamic-cert.json": 0o600,
		"cred/admin.kubeconfig": 0o644, "cred/passwd": 0o600,
	} {
		p := path.Join(l.Server(), name)
		require.NoError(t, os.MkdirAll(path.Dir(p), 0o755))
		require.NoError(t, os.WriteFile(p, []byte(name), mode))
	}
	return l, map[string]fs.FileMode{
		"tls": 0o755, "tls/etcd": 0o755, "cred": 0o755, "tls/client-ca.crt": 0o600, "tls/etcd/server-ca.crt": 0o600, "tls/client-ca.key": 0o600,
		"tls/dynamic-cert.json": 0o600, "cred/admin.kubeconfig": 0o600, "cred/passwd": 0o600,
	}
}

func modes(t *testing.T, l Layout) map[string]fs.FileMode {
	t.Helper()
	out := map[string]fs.FileMode{}
	require.NoError(t, filepath.WalkDir(l.Server(), func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == l.Server() {
			return err
		}
		info, err := d.Info()
		out[strings.TrimPrefix(p, l.Server()+"/")] = info.Mode().Perm()
		return err
	}))
	return out
}

// The commands do to files what they are said to do, and to nothing else.
func TestTightenUnit(t *testing.T) {
	l, want := made(t)
	commands := service.Commands(TightenUnit(l))
	require.Len(t, commands, 2)
	for _, c := range commands {
		out, err := exec.Command(c.Words[0], c.Words[1:]...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	assert.Equal(t, want, modes(t, l))
	assert.Empty(t, TightenUnit(LayoutOf("/srv/a b")))
}

// OpenRC's settings do the same for as long as the supervisor runs, without
// holding up the start.
func TestTightenScript(t *testing.T) {
	l, want := made(t)
	dir := t.TempDir()
	pidfile := filepath.Join(dir, "k3s.pid")
	require.NoError(t, os.WriteFile(pidfile, []byte("1\n"), 0o600))
	script := "pidfile=" + pidfile + "\nsleep() { command sleep 0.05; }\n" + TightenScript(l) + "start_post\necho $!\n"
	began := time.Now()
	cmd := exec.Command("sh", "-c", script)
	out, err := cmd.Output()
	require.NoError(t, err)
	assert.Less(t, time.Since(began), 5*time.Second)
	loop := "/proc/" + strings.TrimSpace(string(out))
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual(want, modes(t, l)) }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, os.WriteFile(path.Join(l.TLS(), "renewed.crt"), nil, 0o644))
	want["tls/renewed.crt"] = 0o600
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual(want, modes(t, l)) }, 10*time.Second, 10*time.Millisecond)
	assert.DirExists(t, loop)
	require.NoError(t, os.WriteFile(pidfile, []byte("2\n"), 0o600)) // another start has a loop of its own
	require.Eventually(t, func() bool {
		status, err := os.ReadFile(loop + "/stat")
		return err != nil || strings.Contains(string(status), ") Z ")
	}, 10*time.Second, 10*time.Millisecond)
}

// The supervisor writes its number after the service counts as started, and an
// earlier one's may be there by then.
func TestTightenScriptWaits(t *testing.T) {
	for name, before := range map[string]string{"no number": "", "an empty file": "\n", "of one that ended": "4194305\n"} {
		t.Run(name, func(t *testing.T) {
			l, want := made(t)
			pidfile := filepath.Join(t.TempDir(), "k3s.pid")
			if before != "" {
				require.NoError(t, os.WriteFile(pidfile, []byte(before), 0o600))
			}
			looked := pidfile + ".looked"
			// The first look comes before the number, and the second after it.
			script := "pidfile=" + pidfile + "\nsleep() { : >" + looked + "; until [ -e " + looked + ".too ]; do command sleep 0.05; done; }\n" + TightenScript(l) + "start_post\n"
			require.NoError(t, exec.Command("sh", "-c", script).Run())
			require.Eventually(t, func() bool { _, err := os.Stat(looked); return err == nil }, 10*time.Second, time.Millisecond)
			require.NoError(t, os.WriteFile(pidfile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600))
			require.NoError(t, os.WriteFile(looked+".too", nil, 0o600))
			require.Eventually(t, func() bool { return assert.ObjectsAreEqual(want, modes(t, l)) }, 10*time.Second, 10*time.Millisecond)
			require.NoError(t, os.Remove(pidfile)) // which ends it
		})
	}
}
