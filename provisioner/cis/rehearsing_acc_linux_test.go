package cis

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/launchertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/sshtest"
)

const rehearsingOverSSH = `
source "null" "node" {
  communicator         = "ssh"
  ssh_host             = "127.0.0.1"
  ssh_port             = %d
  ssh_username         = %q
  ssh_private_key_file = %q
}
build {
  sources = ["source.null.node"]
  provisioner "k3s-cis" {
    k3s_version = %q
    report_dir  = "report"
    rehearsal {
      agent    = false
      timeout  = "20s"
    }
    waiver {
      control = "node.hygiene.access"
      reason  = "the machine of the test keeps its user"
      owner   = "tests"
      expires = "2099-12-31"
    }
  }
}
`

// Packer itself rehearses the first start over SSH: what was deferred is seen, and
// what is seen to be wrong fails the build.
func TestAccRehearsalOverSSH(t *testing.T) {
	p := packertest.New(t, nil)
	root := sshtest.Base(t)
	launchertest.Install(t, root)
	bin := filepath.Join(root, "opt/bin")
	require.NoError(t, os.MkdirAll(bin, 0o755))
	require.NoError(t, os.Rename(filepath.Join(root, "usr/local/bin/k3s"), filepath.Join(bin, "k3s")))
	unit := "[Unit]\nDescription=k3s\n[Service]\nType=notify\nExecStart=/opt/bin/k3s server\n[Install]\nWantedBy=multi-user.target\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/systemd/system/k3s.service"), []byte(unit), 0o644))
	m, end := sshtest.Start(t, root)
	defer end()
	build := func() (packertest.Result, string) {
		dir := packertest.Write(t, fmt.Sprintf(rehearsingOverSSH, m.Port, sshtest.User, m.Key, release))
		r := p.Run(t, dir, "build", ".")
		report, _ := os.ReadFile(filepath.Join(dir, "report", "report.json"))
		return r, string(report)
	}

	r, report := build()
	require.Zero(t, r.ExitCode, r.Output)
	assert.Contains(t, r.Output, "Rehearsed the first start: K3s was up after")
	assert.Contains(t, r.Output, "of them by a rehearsed first start")
	assert.Contains(t, report, `"phase": "`+benchmark.Rehearsed+`"`)
	for _, left := range []string{"var/lib/rancher/k3s/server/tls", "var/lib/rancher/k3s/server/token", "etc/rancher/node"} {
		assert.NoFileExists(t, m.Path(left))
	}

	require.NoError(t, os.WriteFile(m.Path("etc/launcher/misbehave"), []byte("admit"), 0o644))
	r, report = build()
	require.NotZero(t, r.ExitCode)
	assert.Contains(t, report, "a privileged pod was admitted")
}

const rehearsingForever = `
source "null" "node" {
  communicator         = "ssh"
  ssh_host             = "127.0.0.1"
  ssh_port             = %d
  ssh_username         = "root"
  ssh_private_key_file = %q
}
build {
  sources = ["source.null.node"]
  provisioner "k3s-cis" {
    k3s_version = %q
    mode        = "check"
    report_dir  = "report"
    rehearsal {
      agent    = false
      timeout  = "60s"
    }
  }
}
`

// marked are the processes of this host that have a variable in their environment.
func marked(t *testing.T, variable string) (pids []int, commands []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, at := range all {
		environment, _ := os.ReadFile(at) // of one that has ended there is none
		if !strings.Contains(string(environment), variable) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(at)))
		require.NoError(t, err)
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(at), "cmdline"))
		pids, commands = append(pids, pid), append(commands, strings.ReplaceAll(string(command), "\x00", " "))
	}
	return pids, commands
}

// TestAccKilledWhileRehearsing kills Packer, and the plugin, at several moments of a
// rehearsal over SSH and of one in a tree: nothing runs on, here or there, and nothing
// stays mounted.
func TestAccKilledWhileRehearsing(t *testing.T) {
	p := packertest.New(t, nil)
	root := sshtest.Base(t)
	launchertest.OnSQLite.Lay(t, root)
	launchertest.Install(t, root, "hang", "forks")
	launchertest.OnSQLite.Move(t, root, "/opt/bin/k3s")
	m, end := sshtest.Start(t, root)
	defer end()
	tree := startableTree(t, "hang", "forks")
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "usr/bin"), 0o755)) // as every node has
	overSSH := packertest.Write(t, fmt.Sprintf(rehearsingForever, m.Port, m.Key, release))
	inTree := packertest.Write(t, fmt.Sprintf(plantedTemplate, tree, release, `mode = "check"
    rehearsal {
      timeout = "60s"
    }`))
	mark := "REHEARSAL_TEST=" + overSSH
	goesOn := func() string {
		_, here := marked(t, mark)
		_, there := m.Processes(t)
		return strings.Join(append(here, there...), "\n")
	}
	const moments = 20 // for each of the two
	for name, c := range map[string]struct{ dir, begun string }{
		"over SSH":  {overSSH, "program.sh first"},
		"in a tree": {inTree, "packer-k3s-rehearsal"},
	} {
		for i := range 2 * moments {
			cmd := p.Command(t.Context(), c.dir, "build", ".")
			cmd.Env = append(cmd.Env, mark)
			said, err := os.Create(filepath.Join(t.TempDir(), "said"))
			require.NoError(t, err)
			cmd.Stdout, cmd.Stderr = said, said
			require.NoError(t, cmd.Start())
			begun := assert.Eventually(t, func() bool {
				_, here := marked(t, mark)
				_, there := m.Processes(t)
				if c.dir == inTree { // whose first process has an environment of its own
					_, here = marked(t, "GOMEMLIMIT=256MiB")
				}
				return strings.Contains(strings.Join(append(here, there...), "\n"), c.begun)
			}, time.Minute, 10*time.Millisecond, "%s: it does not begin", name)
			if !begun {
				text, _ := os.ReadFile(said.Name())
				t.Fatalf("%s", text)
			}
			require.NoError(t, said.Close())
			time.Sleep(time.Duration(i/2) * 40 * time.Millisecond)
			pids, commands := marked(t, mark)
			what := "packer build" // which starts itself once more
			if i%2 == 1 {
				what = "packer-plugin-k3s"
			}
			killed := false
			for k, command := range commands {
				if strings.Contains(command, what) && (i%2 == 0 || strings.Contains(command, "provisioner")) {
					killed = syscall.Kill(pids[k], syscall.SIGKILL) == nil || killed
				}
			}
			require.True(t, killed, "%s: no %s in %v", name, what, commands)
			_ = cmd.Wait()
			assert.Eventually(t, func() bool { return goesOn() == "" }, 30*time.Second, 100*time.Millisecond, "%s: %s killed at moment %d", name, what, i/2)
			if t.Failed() {
				t.Fatal(goesOn())
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	assert.NotContains(t, string(mounts), tree)
	for _, dir := range []string{m.Path("/"), tree} {
		for _, left := range []string{"var/lib/rancher/k3s/server/tls", "var/lib/rancher/k3s/server/token", "etc/rancher/node", ".rehearsal", ".rehearsal-server"} {
			assert.NoFileExists(t, filepath.Join(dir, left))
			assert.NoDirExists(t, filepath.Join(dir, left))
		}
	}
	left, err := filepath.Glob(m.Path("/run/.k3s-cis*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}
