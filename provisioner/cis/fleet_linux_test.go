package cis

import (
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// toldAtBoot is what one file of the fleet's example has a machine do at first boot.
type toldAtBoot struct {
	file, config string
	enables      string
}

// cloudInit reads user data.
func cloudInit(t *testing.T, name string) toldAtBoot {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(data), "#cloud-config\n"))
	var d struct {
		WriteFiles []struct{ Path, Permissions, Content string } `yaml:"write_files"`
		RunCmd     [][]string                                    `yaml:"runcmd"`
	}
	require.NoError(t, yaml.Unmarshal(data, &d))
	require.Len(t, d.WriteFiles, 1)
	require.Equal(t, "0600", d.WriteFiles[0].Permissions)
	told := toldAtBoot{file: d.WriteFiles[0].Path, config: d.WriteFiles[0].Content}
	if len(d.RunCmd) > 0 {
		require.Equal(t, []string{"systemctl", "enable", "--now"}, d.RunCmd[0][:3])
		told.enables = d.RunCmd[0][3]
	}
	return told
}

// ignition reads a configuration of Ignition.
func ignition(t *testing.T, name string) toldAtBoot {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	var d struct {
		Ignition struct{ Version string }
		Storage  struct {
			Files []struct {
				Path     string
				Mode     int
				Contents struct{ Source string }
			}
		}
		Systemd struct {
			Units []struct {
				Name    string
				Enabled bool
			}
		}
	}
	require.NoError(t, json.Unmarshal(data, &d))
	require.Equal(t, "3.4.0", d.Ignition.Version)
	require.Len(t, d.Storage.Files, 1)
	require.Equal(t, 0o600, d.Storage.Files[0].Mode)
	require.Len(t, d.Systemd.Units, 1)
	require.True(t, d.Systemd.Units[0].Enabled)
	content, is := strings.CutPrefix(d.Storage.Files[0].Contents.Source, "data:,")
	require.True(t, is)
	config, err := url.PathUnescape(content)
	require.NoError(t, err)
	return toldAtBoot{file: d.Storage.Files[0].Path, config: config, enables: d.Systemd.Units[0].Name}
}

// bootPartition runs the service that reads k3s-node, in a view of its own.
func bootPartition(t *testing.T, text string) (told toldAtBoot, said string, err error) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: the script is run in a view of its own")
	}
	dir := t.TempDir()
	write(t, dir, "boot/firmware/k3s-node", text)
	write(t, dir, "bin/systemctl", "#!/bin/sh\necho systemctl \"$@\"\n")
	require.NoError(t, os.Chmod(filepath.Join(dir, "bin/systemctl"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "etc/k3s"), 0o755))
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `
		mount --bind "$1/boot" /boot && mount -t tmpfs tmpfs /etc && mkdir -p /etc/rancher/k3s && mount --bind "$1/etc/k3s" /etc/rancher/k3s &&
		PATH="$1/bin:$PATH" sh "$2"`, "sh", dir, filepath.Join(packertest.Root(), "example/fleet/boot-partition/k3s-node-role"))
	out, err := cmd.CombinedOutput()
	for _, name := range []string{"config.yaml", "agent.yaml"} {
		if data, err := os.ReadFile(filepath.Join(dir, "etc/k3s", name)); err == nil {
			told.file, told.config = path.Join(k3s.ConfigDir, name), string(data)
			assert.Equal(t, os.FileMode(0o600), modeOf(t, filepath.Join(dir, "etc/k3s", name)))
		}
	}
	if _, name, found := strings.Cut(string(out), "systemctl enable "); found {
		told.enables, _, _ = strings.Cut(name, "\n")
	}
	if err == nil {
		assert.NoFileExists(t, filepath.Join(dir, "boot/firmware/k3s-node"), "the token does not stay on the boot partition")
	}
	return told, string(out), err
}

// What the example of a fleet tells machines at first boot is what K3s reads, in the
// file of the role, and starts the service of the role.
func TestFleetFirstBoot(t *testing.T) {
	fleet := filepath.Join(packertest.Root(), "example/fleet")
	onBoot := func(t *testing.T, role string) toldAtBoot {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(fleet, "boot-partition/k3s-node"))
		require.NoError(t, err)
		told, said, err := bootPartition(t, strings.ReplaceAll(strings.Replace(string(data), "ROLE=agent", "ROLE="+role, 1), "\n", "\r\n"))
		require.NoError(t, err, said)
		return told
	}
	release, err := k3s.ParseRelease(release)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		role k3s.Role
		told func(*testing.T) toldAtBoot
		any  bool
		keys []string
	}{
		"cloud-init, first server":         {role: k3s.Server, told: func(t *testing.T) toldAtBoot { return cloudInit(t, fleet+"/cloud-init/first-server.yaml") }, keys: []string{"tls-san", "token"}},
		"cloud-init, server":               {role: k3s.Server, told: func(t *testing.T) toldAtBoot { return cloudInit(t, fleet+"/cloud-init/server.yaml") }, keys: []string{"server", "tls-san", "token"}},
		"cloud-init, agent":                {role: k3s.Agent, told: func(t *testing.T) toldAtBoot { return cloudInit(t, fleet+"/cloud-init/agent.yaml") }, keys: []string{"server", "token"}},
		"cloud-init, any as first server":  {role: k3s.Server, any: true, told: func(t *testing.T) toldAtBoot { return cloudInit(t, fleet+"/cloud-init/any-first-server.yaml") }, keys: []string{"cluster-init", "tls-san", "token"}},
		"cloud-init, any as server":        {role: k3s.Server, any: true, told: func(t *testing.T) toldAtBoot { return cloudInit(t, fleet+"/cloud-init/any-server.yaml") }, keys: []string{"server", "token"}},
		"cloud-init, any as agent":         {role: k3s.Agent, any: true, told: func(t *testing.T) toldAtBoot { return cloudInit(t, fleet+"/cloud-init/any-agent.yaml") }, keys: []string{"server", "token"}},
		"ignition, first server":           {role: k3s.Server, any: true, told: func(t *testing.T) toldAtBoot { return ignition(t, fleet+"/ignition/first-server.ign") }, keys: []string{"cluster-init", "token"}},
		"ignition, server":                 {role: k3s.Server, any: true, told: func(t *testing.T) toldAtBoot { return ignition(t, fleet+"/ignition/server.ign") }, keys: []string{"server", "token"}},
		"ignition, agent":                  {role: k3s.Agent, any: true, told: func(t *testing.T) toldAtBoot { return ignition(t, fleet+"/ignition/agent.ign") }, keys: []string{"server", "token"}},
		"boot partition, as first server":  {role: k3s.Server, any: true, told: func(t *testing.T) toldAtBoot { return onBoot(t, "first-server") }, keys: []string{"cluster-init", "token"}},
		"boot partition, as server":        {role: k3s.Server, any: true, told: func(t *testing.T) toldAtBoot { return onBoot(t, "server") }, keys: []string{"server", "token"}},
		"boot partition, as it is written": {role: k3s.Agent, any: true, told: func(t *testing.T) toldAtBoot { return onBoot(t, "agent") }, keys: []string{"server", "token"}},
	} {
		t.Run(name, func(t *testing.T) {
			told := c.told(t)
			file, enables := k3s.ConfigFile, ""
			if c.any {
				enables = c.role.ServiceName() + ".service"
				if c.role == k3s.Agent {
					file = k3s.ConfigDir + "/agent.yaml"
				}
			}
			assert.Equal(t, file, told.file)
			assert.Equal(t, enables, told.enables)
			n := node.New(k3s.Query(c.role, ""), []node.Entry{{Path: k3s.ConfigFile, Kind: node.KindFile, Mode: 0o600, Data: []byte(told.config), Size: int64(len(told.config))}})
			e, err := k3s.Resolve(n, release, c.role)
			require.NoError(t, err)
			assert.Empty(t, slices.DeleteFunc(e.Problems, func(p k3s.Problem) bool { return p.Consequence == k3s.Noted }))
			var keys []string
			for key := range e.Settings {
				keys = append(keys, key)
			}
			slices.Sort(keys)
			assert.Equal(t, c.keys, keys)
		})
	}
	for name, text := range map[string]string{"no role": "TOKEN=x\n", "another role": "ROLE=boss\nTOKEN=x\n", "no token": "ROLE=first-server\n", "no server": "ROLE=agent\nTOKEN=x\n"} {
		t.Run("boot partition, "+name, func(t *testing.T) {
			told, said, err := bootPartition(t, text)
			require.Error(t, err)
			assert.Contains(t, said, "/boot/firmware/k3s-node: ")
			assert.Empty(t, told)
		})
	}
}
