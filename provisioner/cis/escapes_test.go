package cis

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// nasty drives a terminal, turns text round, overwrites a line and closes the
// markup of the reports.
const nasty = "\x1b[31m\x1b]0;t\x07\x9b\u009b2J\u202e\u2066\x7f\r\x08</code></script><img src=x onerror=alert(1)>`[x](javascript:1)`]]>\"'&"

// control lists the control characters of a text that a terminal would obey.
func control(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		for _, r := range strings.TrimSuffix(line, "\n") {
			if r < ' ' && r != '\t' || r >= 0x7f && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfffd {
				out = append(out, line)
				break
			}
		}
	}
	return out
}

// nastyTrees plant control characters and markup where a node has names and
// texts of its own.
var nastyTrees = map[string]func(t *testing.T, tree string){
	"nothing of the kind": func(*testing.T, string) {},
	"configuration": func(t *testing.T, tree string) {
		write(t, tree, planted, "node-name: \""+yamlEscaped+"\"\ndata-dir: \"/srv/"+yamlEscaped+"\"\nkubelet-arg: [\"v="+yamlEscaped+"\"]\nkube-apiserver-arg: [\"audit-log-path="+yamlEscaped+"\"]\n")
	},
	"broken configuration": func(t *testing.T, tree string) { write(t, tree, planted, "token: *"+nasty+"\n") },
	"keys":                 func(t *testing.T, tree string) { write(t, tree, planted, "\""+yamlEscaped+"\": x\n") },
	"names of files": func(t *testing.T, tree string) {
		name := strings.ReplaceAll(nasty, "/", "_")
		write(t, tree, "var/lib/rancher/k3s/server/manifests/"+name+".yaml", "a: b")
		write(t, tree, "etc/rancher/k3s/config.yaml.d/"+name+".yaml", "tokn: b")
		write(t, tree, "etc/rancher/k3s/config.yaml.d/"+name, "tokn: b")
		write(t, tree, "etc/sysctl.d/"+name+".conf", "kernel.panic = 1")
		write(t, tree, "var/lib/rancher/k3s/server/tls/"+name, "")
		write(t, tree, "etc/ssh/ssh_host_"+name+"_key", "")
	},
	"unit": func(t *testing.T, tree string) {
		write(t, tree, "etc/systemd/system/k3s.service", "[Service]\nEnvironment="+nasty+"\nExecStart=/usr/local/bin/k3s server --"+nasty+" "+nasty+"\n"+nasty+"="+nasty+"\n")
	},
	"name of a unit": func(t *testing.T, tree string) {
		write(t, tree, "etc/systemd/system/"+strings.ReplaceAll(nasty, "/", "_")+".service", "[Service]\nExecStart=/usr/local/bin/k3s server --token x\n")
	},
	"manifest": func(t *testing.T, tree string) {
		write(t, tree, "var/lib/rancher/k3s/server/manifests/a.yaml", "apiVersion: v1\nkind: \""+yamlEscaped+"\"\nmetadata: {name: \""+yamlEscaped+"\", labels: {\""+yamlEscaped+"\": \""+yamlEscaped+"\"}}\n")
	},
	"policy": func(t *testing.T, tree string) {
		write(t, tree, "etc/rancher/k3s/psa.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins: [{name: \""+yamlEscaped+"\", path: \""+yamlEscaped+"\"}]\n")
		write(t, tree, planted, "kube-apiserver-arg: [admission-control-config-file=/etc/rancher/k3s/psa.yaml]\n")
	},
	"kernel": func(t *testing.T, tree string) {
		write(t, tree, "etc/sysctl.d/99.conf", "kernel.panic = "+nasty+"\n"+nasty+" = 1\n")
		write(t, tree, "etc/kernel/cmdline", "sysctl.kernel.panic="+nasty+"\n")
	},
	"host name and machine-id": func(t *testing.T, tree string) {
		write(t, tree, "etc/hostname", nasty)
		write(t, tree, "etc/machine-id", nasty)
	},
	"link": func(t *testing.T, tree string) {
		require.NoError(t, os.MkdirAll(filepath.Join(tree, "etc/rancher/k3s"), fs.ModePerm))
		require.NoError(t, os.Symlink("/"+nasty, filepath.Join(tree, planted)))
	},
	"a line without an end": func(t *testing.T, tree string) {
		write(t, tree, "etc/hostname", strings.Repeat("x", 1<<20))
		write(t, tree, planted, "data-dir: /"+strings.Repeat("x", 1<<16)+"\n")
	},
	"version of the binary": func(t *testing.T, tree string) {
		write(t, tree, "usr/local/bin/k3s", "\x7fELF v1.33.4+k3s1"+nasty+"\x00")
	},
}

// yamlEscaped is nasty as YAML can hold it between quotes.
const yamlEscaped = `\e[31m\e]0;t\a\x9b2J\u202e\u2066\x7f\r\b<_code><_script><img src=x onerror=alert(1)>` + "`[x](javascript:1)`]]>\\\"'&"

// Nothing that a node holds drives a terminal or gets into the markup of a
// report.
func TestNothingDrivesATerminal(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: the files of a node belong to root")
	}
	for _, name := range slices.Sorted(maps.Keys(nastyTrees)) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tree := filepath.Join(dir, "tree")
			require.NoError(t, os.MkdirAll(filepath.Join(tree, "etc/sysctl.d"), fs.ModePerm))
			nastyTrees[name](t, tree)
			for _, mode := range []string{modeCheck, modePlan, modeApply} {
				for where, text := range spoken(t, dir, tree, map[string]any{"mode": mode}) {
					assert.Empty(t, control(text), "%s of %s", where, mode)
					for line := range strings.Lines(text) {
						if where == "log" || where == "error" {
							require.Less(t, len(line), 9000, "%s of %s", where, mode)
						}
					}
					switch where {
					case "report.html":
						assert.NotContains(t, text, "<img src=x", mode)
						assert.NotContains(t, text, "</script><img", mode)
					case "report.junit.xml":
						assert.Equal(t, strings.Count(text, "<![CDATA["), strings.Count(text, "]]>"), mode)
					case "report.md":
						assert.NotContains(t, text, "<img src=x", mode)
						assert.NotContains(t, text, " [x](javascript", mode)
						assert.NotContains(t, text, "`[x](javascript", mode)
					}
				}
			}
		})
	}
}

// What a machine writes to its standard error is said, but obeyed by nobody.
func TestMachinesWordsDriveNoTerminal(t *testing.T) {
	for _, status := range []int{0, 1, 127} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel() // each waits for the rest of the answer
			var said bytes.Buffer
			ui := &packersdk.BasicUi{Reader: strings.NewReader(""), Writer: &said, ErrorWriter: &said, PB: &packersdk.NoopProgressTracker{}}
			var p Provisioner
			require.NoError(t, p.Prepare(map[string]any{"k3s_version": release, "report_dir": t.TempDir()}))
			machine := &packersdk.MockCommunicator{StartStderr: "sudo: " + nasty + strings.Repeat("x", 1<<16) + "\n", StartStdout: nasty + "\n" + nasty, StartExitStatus: status}
			err := p.Provision(t.Context(), ui, machine, map[string]any{"ConnType": "ssh"})
			require.Error(t, err)
			assert.Empty(t, control(said.String()+err.Error()), status)
			for line := range strings.Lines(err.Error()) {
				assert.Less(t, len(line), 9000)
			}
		})
	}
}
