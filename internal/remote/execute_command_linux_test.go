package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	texttemplate "text/template"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// executeCommands are templates as people write them for shell provisioners.
// Where a password is piped in it is the one of the user pass.
var executeCommands = []struct {
	template string
	user     string
	// refused is what the error says where the template cannot work.
	refused string
}{
	// HashiCorp's documentation of the shell provisioner
	{template: "chmod +x {{ .Path }}; {{ .Vars }} {{ .Path }}", user: "root"},
	{template: "echo 'hunter2' | sudo -S sh -c '{{ .Vars }} {{ .Path }}'", user: "pass"},
	{template: "echo 'hunter2' | sudo -S env {{ .Vars }} {{ .Path }}", user: "pass"},
	{template: "{{.Vars}} sudo -E -S bash '{{.Path}}'", user: "ops"},
	{template: "chmod +x {{ .Path }}; {{ .Vars }} sudo -E sh '{{ .Path }}'", user: "ops"},
	// Vagrant boxes: bento and its many copies
	{template: "echo 'hunter2' | {{ .Vars }} sudo -S -E sh -eux '{{ .Path }}'", user: "pass"},
	{template: "echo 'hunter2' | sudo -S {{ .Vars }} sh -eux '{{ .Path }}'", user: "pass"},
	{template: "echo 'hunter2' | {{ .Vars }} sudo -S -E bash '{{ .Path }}'", user: "pass"},
	{template: "echo 'hunter2' | {{ .Vars }} sudo -E -S sh '{{ .Path }}'", user: "pass"},
	{template: "echo 'hunter2'|{{.Vars}} sudo -S -E bash '{{.Path}}'", user: "pass"},
	{template: "echo 'hunter2'|sudo -S sh '{{.Path}}'", user: "pass"},
	{template: "echo 'hunter2' | sudo -S bash {{.Path}}", user: "pass"},
	{template: "echo 'hunter2' | sudo -S bash -c '{{.Path}}'", user: "pass"},
	{template: "echo 'hunter2' | sudo -S bash -x {{ .Path }}", user: "pass"},
	{template: "echo 'hunter2' | {{ .Vars }} sudo -S bash -euxo pipefail '{{ .Path }}'", user: "pass"},
	{template: "echo hunter2 | {{ .Vars }} sudo -E -H -S bash '{{ .Path }}'", user: "pass"},
	{template: "{{.Vars}}echo 'hunter2' | sudo -S -E bash '{{.Path}}'", user: "pass"},
	{template: "echo 'hunter2' | sudo -S --preserve-env=HTTP_PROXY,HTTPS_PROXY bash -eux -o pipefail '{{ .Path }}'", user: "pass"},
	{template: "echo 'hunter2' | su -m root -c '{{ .Vars }} sh {{ .Path }}'", user: "pass", refused: "no answer came back"},
	{template: "sudo su -c '{{ .Vars }} {{ .Path }}'", user: "ops"},
	// cloud images, whose user needs no password
	{template: "sudo {{.Path}}", user: "ops"},
	{template: "sudo -E sh -eux '{{ .Path }}'", user: "ops"},
	{template: "{{ .Vars }} sudo -E /bin/bash -ex -o pipefail '{{ .Path }}'", user: "ops"},
	{template: "chmod +x {{ .Path }}; {{ .Vars }} sudo -E bash -euxo pipefail {{ .Path }}", user: "ops"},
	{template: "chmod +x {{ .Path }}; sudo -E sh -c '{{ .Vars }} {{ .Path }}'", user: "ops"},
	{template: "chmod +x {{ .Path }}; {{ .Vars }} sudo {{ .Path }} some-name", user: "ops"},
	{template: "sudo chmod +x {{.Path}}; {{.Vars}} sudo bash '{{.Path}}'", user: "ops"},
	{template: "chmod +x '{{ .Path }}'; sudo -n bash '{{ .Path }}'", user: "ops"},
	{template: "{{.Vars}} DEBIAN_FRONTEND='noninteractive' sudo -S -E '{{.Path}}'", user: "ops"},
	{template: "sudo -n BUILD_ID='7' bash '{{.Path}}'", user: "ops"},
	{template: "test -d /run && sudo -E -S sh '{{ .Path }}'", user: "ops"},
	{template: "sudo -H -u root bash -e {{ .Path }}", user: "ops"},
	{template: "sudo -i {{ .Path }}", user: "ops"},
	{template: "sudo bash < {{ .Path }}", user: "ops"},
	{template: "timeout 300 sudo -n sh -eu {{ .Path }}", user: "ops"},
	{template: "sudo sh -n {{ .Path }}", user: "ops", refused: "no answer came back"},
	// without sudo
	{template: "{{ .Vars }} bash '{{ .Path }}'", user: "root"},
	{template: "bash -c '{{ .Vars }} {{ .Path }}'", user: "root"},
	{template: "chmod +x {{ .Path }}; {{ .Vars }} bash -l {{ .Path }}", user: "root"},
	{template: "/bin/sh -x {{ .Path }}", user: "root"},
	{template: "doas sh -eu '{{ .Path }}'", user: "dora"},
	{template: "doas '{{ .Path }}'", user: "dora"},
	{template: "doas sh -c '{{.Vars}} {{.Path}}'", user: "dora"},
	{template: "{{ .Vars }} bash '{{ .Path }}'", user: "plain", refused: "execute_command does not give them"},
	{template: "echo 'wrong' | {{ .Vars }} sudo -S -E sh -eux '{{ .Path }}'", user: "pass", refused: "no answer came back"},
	{template: "echo 'hunter2' | sudo -S bash -r '{{ .Path }}'", user: "pass", refused: "restricted"},
}

// rendered is a template as Packer renders it.
func rendered(t *testing.T, text string) func(string) (string, error) {
	t.Helper()
	parsed, err := texttemplate.New("").Parse(text)
	require.NoError(t, err)
	return func(command string) (string, error) {
		var out strings.Builder
		err := parsed.Execute(&out, map[string]string{"Path": command, "Vars": ""})
		return out.String(), err
	}
}

// overhearing is a communicator that keeps what commands write to standard error.
type overhearing struct {
	packersdk.Communicator
	said *bytes.Buffer
}

func (o overhearing) Start(ctx context.Context, cmd *packersdk.RemoteCmd) error {
	if cmd.Stderr != nil {
		cmd.Stderr = io.MultiWriter(cmd.Stderr, o.said)
	}
	return o.Communicator.Start(ctx, cmd)
}

// TestExecuteCommands hardens a machine through each template, with a real
// server and Packer's own communicator.
func TestExecuteCommands(t *testing.T) {
	needAcc(t)
	require.GreaterOrEqual(t, len(executeCommands), 40)
	for _, shell := range []string{"dash", "bash"} {
		for _, c := range executeCommands {
			t.Run(shell+" "+c.user+" "+c.template, func(t *testing.T) {
				enter := "mount --bind /bin/" + shell + " usr/bin/sh"
				executes(t, enter, "", sshUser{name: c.user}, rendered(t, c.template), c.refused)
			})
		}
	}
}

// callersShells are settings that the shell which runs execute_command may have.
var callersShells = map[string]string{
	"options":   "export SHELLOPTS; set -euxaCf -o pipefail",
	"verbose":   "export SHELLOPTS; set -v",
	"posix":     "export SHELLOPTS; set -o posix -o noclobber",
	"BASHOPTS":  "export BASHOPTS; shopt -s failglob nullglob dotglob expand_aliases nocasematch xpg_echo lastpipe",
	"BASH_ENV":  "export BASH_ENV=/etc/hostile",
	"ENV":       "export ENV=/etc/hostile",
	"functions": "for f in test cd tar mkdir rm id grep find stat echo printf read command env trap head tail cat mv cp ln; do eval \"$f() { echo from a function; return 1; }\"; export -f $f; done",
	"CDPATH":    "export CDPATH=/:/tmp:/var",
	"IFS":       "export IFS=/",
	"tools":     "export GREP_OPTIONS=--invert-match TAR_OPTIONS=--verbose POSIXLY_CORRECT=1 LS_COLORS=x",
	"language":  "export LC_ALL=de_DE.UTF-8 LANG=xx LC_MESSAGES=tr_TR.UTF-8",
	"TMPDIR":    "export TMPDIR=/is/missing",
	"names":     "export work=/ base=/ nonce=x self=/etc/passwd header=1 mode=x group=y start=z seconds=0 clean=1 line=x drop=/etc q=1",
	"PS4":       "export SHELLOPTS PS4='$(echo from a prompt) '; set -x",
	"umask":     "umask 777",
	"traps":     "trap 'echo from a trap' EXIT ERR DEBUG; trap '' HUP TERM INT PIPE",
}

// TestCallersShell hardens a machine whose shells come with settings of their
// own. Packer's commands run in a shell of the connection's user; so does the
// way to root where nothing clears the environment.
func TestCallersShell(t *testing.T) {
	needAcc(t)
	hostile := "alias exec=false test=false cd=false\nset -eu\ntrap 'echo from a trap' EXIT DEBUG\ncd() { return 1; }\n"
	for _, name := range slices.Sorted(maps.Keys(callersShells)) {
		for _, template := range []string{"", "bash -ex {{ .Path }}", "sh -c '{{ .Path }}'"} {
			for _, shell := range []string{"dash", "bash"} {
				t.Run(name+" "+shell+" "+template, func(t *testing.T) {
					enter := "mount --bind /bin/" + shell + " usr/bin/sh; sed -i '1s,/bin/sh,/bin/bash,' etc/passwd; " +
						"printf %s " + quote(hostile) + " >etc/hostile; printf '%s\\n' " + quote(callersShells[name]) + " >root/.bashrc"
					var wrap func(string) (string, error)
					if template != "" {
						wrap = rendered(t, template)
					}
					executes(t, enter, "", sshUser{name: "root"}, wrap, "")
				})
			}
		}
	}
}

// TestClocks: a machine whose clock is far off, as of boards without a battery,
// is hardened and read as any other.
func TestClocks(t *testing.T) {
	needAcc(t)
	for _, clock := range []string{"1970-01-02 00:00:00", "2001-09-09 01:46:40", "2037-12-31 23:59:59", "2099-01-01 00:00:00"} {
		for _, shell := range []string{"dash", "bash"} {
			t.Run(shell+" "+clock, func(t *testing.T) {
				executes(t, "mount --bind /bin/"+shell+" usr/bin/sh", "", sshUser{name: "root"},
					rendered(t, "faketime '"+clock+"' sh '{{ .Path }}'"), "")
			})
		}
	}
}

// executes makes sure that a machine is hardened by way of wrap, or not touched
// where the error is to hold refused, and that nothing is left or told of what
// was sent.
func executes(t *testing.T, enter, config string, user sshUser, wrap func(string) (string, error), refused string) {
	t.Helper()
	dir := t.TempDir()
	nodetest.Lay(t, dir, nodetest.FaultTree...)
	m := newMachine(t, dir, enter, config)
	comm, err := m.connect(m.addr, user)
	require.NoError(t, err)
	var heard bytes.Buffer
	var said []string
	opt := Options{Wrap: wrap, Log: func(s string) { said = append(said, s) }}
	query := node.Query{{Path: "/etc/rancher", Depth: node.Deep, Content: true}, {Path: "/etc/sysctl.d", Depth: 1, Content: true}, {Path: "/var/lib", Depth: node.Deep}, {Path: "/z", Depth: node.Deep, Content: true}}
	out, err := New(overhearing{comm, &heard}, opt).Apply(context.Background(), nodetest.FaultChange, query)
	t.Log(strings.Join(said, "\n"), "\n", err)

	for _, secret := range []string{password, "protect-kernel-defaults"} {
		assert.NotContains(t, heard.String(), secret)
		assert.NotContains(t, fmt.Sprint(said, err), secret)
	}
	left, globErr := filepath.Glob(filepath.Join(dir, "tmp", "*"))
	require.NoError(t, globErr)
	assert.Empty(t, left)
	assert.False(t, staged(t, dir), "a staging directory is left")
	if refused != "" {
		require.ErrorContains(t, err, refused)
		require.Equal(t, "as before", nodetest.State(t, rootfs.At(dir)))
		return
	}
	require.NoError(t, err)
	require.Equal(t, "hardened", nodetest.State(t, rootfs.At(dir)))
	nodetest.Hardened(t, dir, rootfs.At(dir))
	fresh, err := rootfs.At(dir).Read(context.Background(), query)
	require.NoError(t, err)
	require.Equal(t, fresh.Entries(), out.Node.Entries(), "what came back is what is there")
}
