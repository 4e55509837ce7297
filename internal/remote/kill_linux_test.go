package remote

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// killer stands before a tool in the search path. It counts how often tools
// are called; at the call that is due it kills.
const killer = `#!/usr/bin/dash
set -C
n=1
until echo >/kill/call.$n; do n=$((n + 1)); done 2>/dev/null
set +C
tool=${0##*/}
real=/usr/bin/$tool
[ -x $real ] || real=/usr/sbin/$tool
read due how </kill/due
if [ "$n" = "$due" ]; then
	echo "$tool $*" >/kill/last
	case $how in
	shell) kill -9 $PPID ;;
	tool) exit 137 ;;
	late)
		$real "$@"
		kill -9 $PPID
		exit
		;;
	all)
		kill -9 -1
		exit 137
		;;
	esac
fi
exec $real "$@"
`

// tools are what a run calls.
const tools = "mawk base64 cat chmod chown cp env find grep head id ln mkdir mv od readlink rm rmdir setsid sha256sum sh sort stat sync tail tar timeout uniq wc"

// killable makes a machine on which the tool call number due does not end
// well.
func killable(t *testing.T, flavor string) (string, *chrootComm) {
	t.Helper()
	dir := t.TempDir()
	comm := newChroot(t, dir, flavor)
	for _, tool := range strings.Fields(tools) {
		nodetest.Lay(t, dir, "file /kill/"+tool+" 0755 "+killer)
	}
	comm.enter = "PATH=/kill:$PATH; export PATH"
	nodetest.Lay(t, dir, nodetest.FaultTree...)
	nodetest.Lay(t, dir, "file /aside/file 0644 x", "link /aside/link file")
	return dir, comm
}

// TestKilled kills the shell that runs each step (or everything at once) and
// looks at what is left.
func TestKilled(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("takes minutes: set PACKER_ACC=1")
	}
	for _, how := range []string{"tool", "shell", "late", "all"} {
		for _, way := range []string{wayStdin, wayUpload} {
			t.Run(how+" "+way, func(t *testing.T) { sweepKills(t, how, way) })
		}
	}
}

func sweepKills(t *testing.T, how, way string) {
	counts := map[string]int{}
	for due := 1; ; due++ {
		require.Less(t, due, 500)
		dir, comm := killable(t, "dash")
		comm.isolate = how == "all"
		set := func(text string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "kill/due"), []byte(text), 0o644))
			calls, err := filepath.Glob(filepath.Join(dir, "kill/call.*"))
			require.NoError(t, err)
			for _, call := range calls {
				require.NoError(t, os.Remove(call))
			}
		}
		set(fmt.Sprintf("%d %s\n", due, how))
		machine := New(comm, Options{})
		if way == wayUpload {
			machine.way = poured
		}
		// What is not written is not missed where it is not read back.
		q := append(node.Query{{Path: "/aside", Depth: 1}}, nodetest.FaultQuery...)
		got, err := machine.Apply(context.Background(), nodetest.FaultChange, q)
		// An answer that is damaged is not waited for to its end.
		machine.Settle(context.Background())
		last, readErr := os.ReadFile(filepath.Join(dir, "kill/last"))
		if readErr != nil {
			require.NoError(t, err)
			t.Logf("%d steps: %v", due-1, counts)
			return
		}
		found := nodetest.State(t, rootfs.At(dir))
		trace := fmt.Sprintf("step %d, %s: %v", due, strings.TrimSpace(string(last)), err)
		if how != "all" {
			// Whatever single process dies, another one finishes the job.
			assert.Contains(t, []string{"as before", "hardened"}, found, trace)
			assert.NotContains(t, nodetest.Snapshot(t, dir), node.StagingPrefix, "nothing is left: %s", trace)
			if err == nil {
				assert.Equal(t, "hardened", found, trace)
				there, err := rootfs.At(dir).Read(context.Background(), q)
				require.NoError(t, err)
				assert.Equal(t, there.Entries(), got.Node.Entries(), "nothing of the evidence is lost: %s", trace)
			}
		}
		counts[strings.SplitN(found, ":", 2)[0]]++

		set("0 none\n")
		out, err := New(comm, Options{}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
		require.NoError(t, err, "the next run ends; %s", trace)
		require.NotNil(t, out)
		require.Equal(t, "hardened", nodetest.State(t, rootfs.At(dir)), trace)
		nodetest.Hardened(t, dir, rootfs.At(dir))
		if t.Failed() {
			return
		}
		require.NoError(t, os.RemoveAll(dir))
	}
}
