package k3s_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// TestWrappers: what another program starts as K3s is read as that program
// does, and otherwise known not to be known.
func TestWrappers(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "k3s")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\necho \"${K3S_CONFIG_FILE-} $*\"\n"), 0o755))
	for _, c := range []struct {
		command string
		unknown bool
	}{
		{"/usr/bin/env K3S_CONFIG_FILE=/opt/other.yaml K3S server", false},
		{"/usr/bin/env -i K3S server", false},
		{"/usr/bin/env - K3S_CONFIG_FILE=/b A=1 K3S server --debug", false},
		{"/usr/bin/env -u K3S_CONFIG_FILE K3S server", false},
		{"/usr/bin/env -uK3S_CONFIG_FILE K3S server", false},
		{"/usr/bin/env --unset=K3S_CONFIG_FILE K3S server", false},
		{"/usr/bin/env -iu A K3S_CONFIG_FILE=/c K3S server", false},
		{"/usr/bin/env --chdir=/ -- K3S_CONFIG_FILE=/d K3S server", false},
		{"/usr/bin/env K3S_CONFIG_FILE=/e env -u K3S_CONFIG_FILE nice K3S server", false},
		{"/usr/bin/env K3S_CONFIG_FILE= K3S server", false},
		{"/usr/bin/nice -n 5 K3S server", false},
		{"/usr/bin/nice -5 env K3S_CONFIG_FILE=/f K3S server", false},
		{"/usr/bin/nice --adjustment=5 K3S server", false},
		{"/usr/bin/ionice -c 3 K3S server", false},
		{"/usr/bin/ionice -c2 -n7 -t K3S server", false},
		{"/usr/bin/taskset -c 0 K3S server", false},
		{"/usr/bin/taskset 1 K3S server", false},
		{"/usr/bin/chrt -i 0 K3S server", false},
		{"/usr/bin/choom -n 0 -- K3S server", false},
		{"/usr/bin/setsid -w K3S server", false},
		{"/usr/bin/stdbuf -oL -e 0 K3S server", false},
		{"/usr/bin/nohup K3S server", false},
		// What starts is not known.
		{"/usr/bin/env -S K3S_CONFIG_FILE=/x K3S server", true},
		{"/bin/sh -c K3S server", true},
		{"/bin/sh /opt/start.sh K3S server", true},
		{"/bin/bash -c exec K3S server", true},
		{"/usr/bin/systemd-run --setenv=K3S_CONFIG_FILE=/x K3S server", true},
		{"/usr/bin/nsenter -t 1 -m K3S server", true},
		{"/usr/sbin/chroot /srv K3S server", true},
		{"/usr/bin/unshare -m K3S server", true},
		{"/opt/wrapper K3S server", true},
		{"/usr/local/bin/k3s-start.sh server", true},
	} {
		t.Run(c.command, func(t *testing.T) {
			e := resolve(t, "v1.36", k3s.Server, map[string]string{
				unitFile: "[Service]\nEnvironment=K3S_CONFIG_FILE=/unit\nExecStart=" + strings.ReplaceAll(c.command, "K3S ", "/usr/local/bin/k3s ") + "\n",
			})
			if c.unknown {
				assert.Contains(t, problems(e), "the command is not k3s itself")
				return
			}
			words := strings.Fields(strings.ReplaceAll(c.command, "K3S ", program+" "))
			if _, err := exec.LookPath(words[0]); err != nil {
				t.Skip(err)
			}
			cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
			cmd.Env = append(os.Environ(), "K3S_CONFIG_FILE=/unit")
			out, err := cmd.Output()
			require.NoError(t, err)
			config, arguments, _ := strings.Cut(strings.TrimSpace("."+string(out)), " ")
			if config = config[1:]; config == "" {
				config = k3s.ConfigFile
			}
			assert.Equal(t, config, e.ConfigFile)
			assert.NotContains(t, problems(e), "is not k3s itself")
			assert.Equal(t, strings.Contains(arguments, "--debug"), e.Bool("debug"))
		})
	}
}

// TestServiceWithFilesOfItsOwn: what the service sees elsewhere than the node
// has it is not judged by what the node has.
func TestServiceWithFilesOfItsOwn(t *testing.T) {
	for setting, known := range map[string]bool{
		"RootDirectory=/srv/root":                          false,
		"RootImage=/srv/k3s.img":                           false,
		"BindPaths=/opt/k3s:/etc/rancher/k3s":              false,
		"BindReadOnlyPaths=/opt/c:/etc/rancher/k3s/c":      false,
		"TemporaryFileSystem=/var/lib/rancher":             false,
		"RootDirectory=/srv/root\nRootDirectory=":          false, // taken back, but rarely enough
		"RootDirectory=":                                   true,
		"LimitNOFILE=1048576\nKillMode=process\nDelegate=": true,
		"ReadWritePaths=/var/lib/rancher":                  true,
	} {
		e := resolve(t, "v1.36", k3s.Server, map[string]string{unitFile: "[Service]\n" + setting + "\nExecStart=/usr/local/bin/k3s server\n"})
		if known {
			assert.NotContains(t, problems(e), "unreadable k3s.service", setting)
		} else {
			assert.Contains(t, problems(e), "gives the service other files than the node has", setting)
		}
	}
}
