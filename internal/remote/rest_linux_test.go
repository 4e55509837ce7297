package remote

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
)

// restScript is a machine of its own, with its own processes and mounts, on which
// a program runs with what it started, and something that is none of its.
const restScript = `set -u
cd "$1"
. ./functions.sh
. ./plan.sh
children='' is_machine=yes
quit() { printf 'quit: %s\n' "$*"; exit 1; }
mkdir -p data/7f/bin 'run/k3s/a b\c' run/k3s/other run/theirs
mount -t tmpfs tmpfs 'run/k3s/a b\c'
mount -t tmpfs tmpfs 'run/k3s/a b\c'
mkdir 'run/k3s/a b\c/deeper'
mount -t tmpfs tmpfs 'run/k3s/a b\c/deeper'
mount -t tmpfs tmpfs run/theirs
cp /bin/sh data/7f/bin/containerd-shim
[ "$2" = idle ] || data/7f/bin/containerd-shim -c 'trap "" TERM; sh -c "sleep 1000; :" & sleep 1000; :' &
sleep 999 &
theirs=$!
sleep 0.3
[ "$2" != deleted ] || rm data/7f/bin/containerd-shim
( rest ) || exit
echo "running: $(find_running)"
kill -0 "$theirs" && echo 'theirs runs'
for process in /proc/[0-9]*; do
	[ "$(tr '\0' ' ' <"$process/cmdline")" != 'sleep 1000 ' ] || echo 'what it started runs'
done 2>/dev/null
sed 's/.* \(\/[^ ]*\) .* - tmpfs .*/\1/' /proc/self/mountinfo | grep "^$1/" 
`

func TestRest(t *testing.T) {
	nodetest.NeedRoot(t)
	for _, shell := range []string{"dash", "bash", "busybox sh"} {
		for name, c := range map[string]struct {
			stop bool
			want string
		}{
			"stopped": {true, "running: \ntheirs runs\nDIR/run/theirs\n"},
			"deleted": {true, "running: \ntheirs runs\nDIR/run/theirs\n"},
			"running": {false, "DIR/data/7f/bin/containerd-shim is running: stop it before"},
			"idle":    {false, `DIR/run/k3s/a b\c/deeper is mounted: stop it before`},
		} {
			t.Run(shell+" "+name, func(t *testing.T) {
				if _, err := exec.LookPath(strings.Fields(shell)[0]); err != nil {
					t.Skip("needs " + shell)
				}
				dir := t.TempDir()
				j := newJob(&node.Change{Rest: &node.Rest{
					Services: []string{"none-of-this-name"}, Programs: []string{dir + "/data/*/bin/*"}, Mounts: []string{dir + "/run/k3s/"},
					Stop: c.stop, Advice: "stop it before",
				}}, nil, Options{})
				require.NoError(t, os.WriteFile(filepath.Join(dir, "functions.sh"), scriptText(functionScripts...), 0o600))
				require.NoError(t, os.WriteFile(filepath.Join(dir, "plan.sh"), []byte(j.plan()), 0o600))
				cmd := exec.Command("unshare", append([]string{"-mpf", "--mount-proc", "--propagation", "private"}, append(strings.Fields(shell), "-c", restScript, "sh", dir, name)...)...)
				out, err := cmd.Output()
				want := strings.ReplaceAll(c.want, "DIR", dir)
				if c.stop {
					require.NoError(t, err, string(out))
					assert.Equal(t, want, string(out))
					return
				}
				require.Error(t, err)
				assert.Contains(t, string(out), want)
			})
		}
	}
}

// What is to be at rest is said in words that no shell takes for more.
func TestRestIsChecked(t *testing.T) {
	for _, r := range []node.Rest{
		{Services: []string{"k3s; reboot"}}, {Services: []string{"-x"}}, {Programs: []string{"bin/k3s"}}, {Mounts: []string{"/run/../k3s"}}, {Programs: []string{"/a\nb"}},
	} {
		assert.Error(t, node.Change{Rest: &r}.Check(), fmt.Sprint(r))
	}
	assert.Error(t, node.Change{Start: []string{"a b"}}.Check())
	assert.NoError(t, node.Change{Start: []string{"k3s-cis-seal"}, Rest: &node.Rest{Mounts: []string{"/run/k3s/"}, Programs: []string{"/a/*/b"}}}.Check())
}
