package perf

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/sshtest"
)

// The names of the ways, as the table has them.
const (
	packerConnect = "Packer, connect only"
	ours          = "k3s-cis"
	oursSudo      = "k3s-cis, sudo -n"
	sshConnect    = "ssh, connect only"
	sshBytes      = "ssh, same bytes"
	fileShell     = "file + shell"
	ansible       = "Ansible"
)

// target is where a way connects to.
type target struct {
	port int
	key  string
	// dir is a directory of the run's own.
	dir string
}

// way is one way to do the work.
type way struct {
	name string
	// than names the way that only connects, with the same client.
	than string
	// works is true for a way that does the work.
	works bool
	// most limits how often a slow way runs at one delay; 0 does not.
	most int
	// command makes the process that is measured, ready to start.
	command func(t testing.TB, to target) *exec.Cmd
}

const nullSource = `
source "null" "node" {
  communicator         = "ssh"
  ssh_host             = "127.0.0.1"
  ssh_port             = %d
  ssh_username         = %q
  ssh_private_key_file = %q
}
build {
  sources = ["source.null.node"]
%s
}
`

// The machine's user becomes root without a password, as on most machines that
// Packer builds; here nothing seals that.
const hardening = `
  provisioner "k3s-cis" {
    k3s_version = %q
    role        = "server"
    report_dir  = "report"
    network_policies { manifests = [%s] }
    waiver {
      control = "node.hygiene.access"
      reason  = "the machine of the measurement keeps its user"
      owner   = "perf"
      expires = "2099-12-31"
    }
  }
`

// packerWay builds with Packer's null builder and provisioners.
func packerWay(p *packertest.Packer, user string, provisioners func(dir string) string) func(testing.TB, target) *exec.Cmd {
	return func(t testing.TB, to target) *exec.Cmd {
		t.Helper()
		text := fmt.Sprintf(nullSource, to.port, user, to.key, provisioners(to.dir))
		require.NoError(t, os.WriteFile(filepath.Join(to.dir, "test.pkr.hcl"), []byte(text), 0o600))
		return p.Command(t.Context(), to.dir, "build", ".")
	}
}

// hardenWith are the provisioners of ours, with manifests of the user's beside.
func hardenWith(manifests []string) func(string) string {
	quoted := make([]string, len(manifests))
	for i, m := range manifests {
		quoted[i] = fmt.Sprintf("%q", m)
	}
	return func(string) string { return fmt.Sprintf(hardening, release, strings.Join(quoted, ", ")) }
}

// fileShellProvisioners upload each file and install them all with one script.
func (w work) fileShellProvisioners(t testing.TB) func(string) string {
	return func(dir string) string {
		w.write(t, dir)
		var out, script strings.Builder
		script.WriteString("set -e\n")
		paths := ""
		for _, e := range w.dirs {
			fmt.Fprintf(&script, "install -d -m %o -o %d -g %d %s\n", e.Mode.Perm(), e.UID, e.GID, e.Path)
		}
		for i, e := range w.files {
			fmt.Fprintf(&out, "provisioner \"file\" {\n source = %q\n destination = \"/tmp/file-%d\"\n}\n", source(dir, i), i)
			fmt.Fprintf(&script, "install -m %o -o %d -g %d /tmp/file-%d %s\n", e.Mode.Perm(), e.UID, e.GID, i, e.Path)
			paths += " " + e.Path
		}
		fmt.Fprintf(&script, "rm /tmp/file-*\nsha256sum%s\nstat -c '%%a %%u %%g %%n'%s\n", paths, paths)
		file := filepath.Join(dir, "install.sh")
		require.NoError(t, os.WriteFile(file, []byte(script.String()), 0o600))
		fmt.Fprintf(&out, "provisioner \"shell\" {\n script = %q\n}\n", file)
		return out.String()
	}
}

// sshOptions leave out what a client does beyond the command.
func sshOptions(to target) []string {
	return []string{
		"-F", "/dev/null", "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UpdateHostKeys=no",
		"-o", "IdentityAgent=none", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", "-i", to.key, "-p", fmt.Sprint(to.port),
	}
}

// sshLogin ends as soon as it is logged in: what stays behind holds the
// connection until the machine ends.
func sshLogin(t testing.TB, to target) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), "ssh", append(sshOptions(to), "-f", "-N", "root@127.0.0.1")...)
}

// sshCopy sends and gets as many bytes as ours does.
func sshCopy(in, out int64) func(testing.TB, target) *exec.Cmd {
	return func(t testing.TB, to target) *exec.Cmd {
		t.Helper()
		file := filepath.Join(to.dir, "in")
		require.NoError(t, os.WriteFile(file, make([]byte, in), 0o600))
		stdin, err := os.Open(file)
		require.NoError(t, err)
		t.Cleanup(func() { _ = stdin.Close() })
		cmd := exec.CommandContext(t.Context(), "ssh", append(sshOptions(to), "root@127.0.0.1",
			fmt.Sprintf("cat >/dev/null && head -c %d /dev/zero", out))...)
		cmd.Stdin = stdin
		return cmd
	}
}

//go:embed testdata/playbook.yml
var playbook []byte

// ansibleConfig turns on what makes Ansible fast over a slow connection.
const ansibleConfig = `[defaults]
host_key_checking = False
interpreter_python = /usr/bin/python3
local_tmp = %[1]s/tmp
retry_files_enabled = False
[connection]
pipelining = True
[ssh_connection]
pipelining = True
ssh_args = -F /dev/null -o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile=/dev/null -o IdentityAgent=none -o UpdateHostKeys=no
control_path_dir = %[1]s/c
`

// ansibleItem is one directory or file in the playbook's variables.
type ansibleItem struct {
	Path   string `json:"path"`
	Mode   string `json:"mode"`
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Source string `json:"source,omitempty"`
	Digest string `json:"digest,omitempty"`
}

func (w work) ansible(t testing.TB, to target) *exec.Cmd {
	t.Helper()
	w.write(t, to.dir)
	item := func(e node.Entry) ansibleItem {
		return ansibleItem{Path: e.Path, Mode: fmt.Sprintf("%04o", e.Mode.Perm()), UID: e.UID, GID: e.GID}
	}
	var vars struct {
		Dirs  []ansibleItem `json:"dirs"`
		Files []ansibleItem `json:"files"`
	}
	for _, e := range w.dirs {
		vars.Dirs = append(vars.Dirs, item(e))
	}
	for i, e := range w.files {
		f, sum := item(e), sha256.Sum256(e.Data)
		f.Source, f.Digest = source(to.dir, i), hex.EncodeToString(sum[:])
		vars.Files = append(vars.Files, f)
	}
	data, err := json.Marshal(vars)
	require.NoError(t, err)
	short, err := os.MkdirTemp("", "b") //nolint:usetesting // a control socket's path may have few bytes, t.TempDir's has many
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	inventory := fmt.Sprintf("node ansible_host=127.0.0.1 ansible_port=%d ansible_user=root ansible_ssh_private_key_file=%s\n", to.port, to.key)
	for name, content := range map[string][]byte{
		"vars.json": data, "playbook.yml": playbook, "inventory": []byte(inventory),
		"ansible.cfg": fmt.Appendf(nil, ansibleConfig, short),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(to.dir, name), content, 0o600))
	}
	cmd := exec.CommandContext(t.Context(), "ansible-playbook", "-i", "inventory", "-e", "@vars.json", "playbook.yml")
	cmd.Dir = to.dir
	cmd.Env = append(os.Environ(), "ANSIBLE_CONFIG="+filepath.Join(to.dir, "ansible.cfg"), "ANSIBLE_HOME="+short, "HOME="+short, "ANSIBLE_NOCOLOR=1")
	return cmd
}

// allWays are the ways in the order of the table.
func allWays(t testing.TB, p *packertest.Packer, w work, in, out int64) []way {
	none := func(string) string { return "" }
	return []way{
		{packerConnect, packerConnect, false, 0, packerWay(p, "root", none)},
		{ours, packerConnect, true, 0, packerWay(p, "root", hardenWith(nil))},
		{oursSudo, packerConnect, true, 0, packerWay(p, sshtest.User, hardenWith(nil))},
		{fileShell, packerConnect, true, 3, packerWay(p, "root", w.fileShellProvisioners(t))},
		{sshConnect, sshConnect, false, 0, sshLogin},
		{sshBytes, sshConnect, false, 0, sshCopy(in, out)},
		{ansible, sshConnect, true, 1, w.ansible},
	}
}
