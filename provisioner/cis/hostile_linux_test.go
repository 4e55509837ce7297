package cis

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hostileTree names the tree that a child of the test provisions.
const hostileTree = "K3S_CIS_HOSTILE_TREE"

// hostileMode names the mode in which it does.
const hostileMode = "K3S_CIS_HOSTILE_MODE"

// Limits of one provision, whatever the tree holds. Other work on the host takes
// time too: what is judged is the processor's for the provision alone, which caches
// and cores that are shared only ever make longer, so that the best of some runs
// counts. The time is for a provision that waits for something, which never ends.
const (
	hostileProcessor = 2 * time.Second
	hostileRuns      = 3
	hostileTime      = 3 * time.Minute
	hostileMemory    = 300 << 20
	hostileReports   = 10 << 20
	hostileOutput    = 500 << 10
)

// TestHostileTrees provisions trees made to exhaust or mislead, each in a
// process of its own, so that its memory can be told.
func TestHostileTrees(t *testing.T) {
	if tree := os.Getenv(hostileTree); tree != "" {
		provisionHostile(t, tree)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: the files of a node belong to root")
	}
	for _, c := range hostileTrees() {
		t.Run(c.name, func(t *testing.T) {
			if !c.quick && os.Getenv("PACKER_ACC") == "" {
				t.Skip("takes seconds: set PACKER_ACC=1")
			}
			tree := treeInMemory(t)
			require.NoError(t, os.MkdirAll(filepath.Join(tree, "etc/sysctl.d"), 0o755))
			write(t, tree, "usr/local/bin/k3s", "") // all that K3s reads is judged
			c.make(t, tree)
			for _, mode := range []string{modeCheck, modePlan} {
				out := provisionInChild(t, tree, mode)
				if mode == modeCheck {
					assert.Contains(t, out, c.says, "the message must name what is wrong")
				}
			}
		})
	}
}

// hostile is a tree that is made to exhaust or mislead.
type hostile struct {
	name string
	// says is what is named as wrong.
	says string
	// quick ones are tried without PACKER_ACC too.
	quick bool
	make  func(t *testing.T, tree string)
}

func hostileTrees() []hostile {
	const manifests, config = "var/lib/rancher/k3s/server/manifests", "etc/rancher/k3s/config.yaml"
	const quick, slow = true, false
	return []hostile{
		{"config.yaml of 1 GB", config, quick, func(t *testing.T, tree string) {
			write(t, tree, config, "")
			require.NoError(t, os.Truncate(filepath.Join(tree, config), 1<<30))
		}},
		{"100,000 manifests", "entries", slow, func(t *testing.T, tree string) {
			write(t, tree, manifests+"/0.yaml", "")
			for i := range 100_000 {
				require.NoError(t, os.WriteFile(filepath.Join(tree, manifests, fmt.Sprintf("m%d.yaml", i)), []byte("kind: X\n"), 0o600))
			}
		}},
		{"a loop of links", config, quick, func(t *testing.T, tree string) {
			write(t, tree, "etc/rancher/k3s/x", "")
			require.NoError(t, os.Symlink("config.yaml", filepath.Join(tree, "etc/rancher/k3s/other")))
			require.NoError(t, os.Symlink("other", filepath.Join(tree, config)))
		}},
		{"a link out of the tree", config, quick, func(t *testing.T, tree string) {
			write(t, tree, "etc/rancher/k3s/x", "")
			require.NoError(t, os.Symlink("../../../../../../../../etc/hostname", filepath.Join(tree, config)))
		}},
		{"a pipe that nobody writes to", config, quick, func(t *testing.T, tree string) {
			write(t, tree, "etc/rancher/k3s/x", "")
			require.NoError(t, syscall.Mkfifo(filepath.Join(tree, config), 0o600))
		}},
		{"an endless device", config, quick, func(t *testing.T, tree string) {
			write(t, tree, "etc/rancher/k3s/x", "")
			if err := syscall.Mknod(filepath.Join(tree, config), syscall.S_IFCHR|0o600, 1<<8|5); err != nil {
				t.Skip("devices cannot be made here")
			}
		}},
		{"a YAML bomb", config, quick, func(t *testing.T, tree string) {
			write(t, tree, config, bomb())
		}},
		{"a tree of 3,000 levels", " failed: ", quick, func(t *testing.T, tree string) { nest(t, filepath.Join(tree, manifests), 3_000) }},
		{"200,000 unknown keys", config, slow, func(t *testing.T, tree string) {
			write(t, tree, config, lots(200_000, "key-%d: 1\n"))
		}},
		{"70 MB of units", "64 MiB", slow, func(t *testing.T, tree string) {
			for i := range 18 {
				write(t, tree, fmt.Sprintf("etc/systemd/system/u%d.service", i), lots(150_000, "# k3s server %d, a line\n"))
			}
		}},
		{"60 MB of units", "", slow, func(t *testing.T, tree string) {
			for i := range 16 {
				write(t, tree, fmt.Sprintf("etc/systemd/system/u%d.service", i), "[Service]\n"+lots(150_000, "# k3s server %d, a line\n"))
			}
		}},
		{"60 MB of empty lines in units", "", slow, func(t *testing.T, tree string) {
			for i := range 16 {
				write(t, tree, fmt.Sprintf("etc/systemd/system/u%d.service", i), "[Service]\n#k3s\n"+strings.Repeat("\n", 3_900_000))
			}
		}},
		{"4,000 units that start K3s", "more than 64", quick, func(t *testing.T, tree string) {
			for i := range 4000 {
				write(t, tree, fmt.Sprintf("etc/systemd/system/u%d.service", i), "[Service]\nExecStart=/usr/local/bin/k3s server\n")
			}
		}},
		{"40 units of one environment file of 4 MB", "more than 2 MiB", slow, func(t *testing.T, tree string) {
			many(t, tree, "etc/systemd/system/u%d.service", 40, "[Service]\nEnvironment=A%d=\nEnvironmentFile=/etc/systemd/system/k3s.service.env\nExecStart=/usr/local/bin/k3s agent\n")
			write(t, tree, "etc/systemd/system/k3s.service.env", "A="+strings.Repeat("x", 4_000_000))
		}},
		{"60 units that replace 100,000 variables", "more than 2 MiB", slow, func(t *testing.T, tree string) {
			many(t, tree, "etc/systemd/system/u%d.service", 60, "[Service]\nEnvironment=B%d= A="+strings.Repeat("x", 500)+"\nExecStart=/usr/local/bin/k3s agent "+strings.Repeat("${A}", 10_000)+"\n")
		}},
		{"60 units and 20,000 drop-ins of all services", "more than 20000 entries", slow, func(t *testing.T, tree string) {
			many(t, tree, "etc/systemd/system/u%d.service", 60, "[Service]\nEnvironment=A%d=\nExecStart=/usr/local/bin/k3s agent\n")
			many(t, tree, "etc/systemd/system/service.d/%d.conf", 20_000, "[Service]\nEnvironment=A=%d\n")
		}},
		{"4,000 aliases", "aliases", slow, func(t *testing.T, tree string) {
			write(t, tree, "etc/systemd/system/k3s.service", "[Service]\nExecStart=/usr/local/bin/k3s server\n")
			for i := range 4000 {
				require.NoError(t, os.Symlink("k3s.service", filepath.Join(tree, fmt.Sprintf("etc/systemd/system/a%d.service", i))))
			}
		}},
		{"1,000 aliases of many dashes", "names", slow, func(t *testing.T, tree string) {
			write(t, tree, "etc/systemd/system/k3s.service", "[Service]\nExecStart=/usr/local/bin/k3s server\n")
			for i := range 1000 {
				require.NoError(t, os.Symlink("k3s.service", filepath.Join(tree, fmt.Sprintf("etc/systemd/system/a%s%d.service", strings.Repeat("-a", 110), i))))
			}
		}},
		{"a unit with one line of 4 MB", "", slow, func(t *testing.T, tree string) {
			write(t, tree, "etc/systemd/system/k3s.service", "[Service]\nExecStart=/usr/local/bin/k3s server"+strings.Repeat(" --node-label=a=b", 240_000)+"\n")
		}},
		{"a unit with 200,000 variables", "", slow, func(t *testing.T, tree string) {
			write(t, tree, "etc/systemd/system/k3s.service", "[Service]\n"+lots(100_000, "Environment=V%d=1\n")+"ExecStart=/usr/local/bin/k3s server $V1 $V2\n")
		}},
		{"a unit that replaces 100,000 variables", "", quick, func(t *testing.T, tree string) {
			write(t, tree, "etc/systemd/system/k3s.service", "[Service]\nEnvironment=A="+strings.Repeat("x", 100_000)+"\nExecStart=/usr/local/bin/k3s server "+strings.Repeat("${A}", 100_000)+"\n")
		}},
		{"a unit of 200,000 faults", "", slow, func(t *testing.T, tree string) {
			write(t, tree, "etc/systemd/system/k3s.service", "[Service]\nExecStart=/usr/local/bin/k3s server\n"+lots(200_000, "Environment=\"V%d\n"))
		}},
		{"20,000 drop-ins of the unit", "", slow, func(t *testing.T, tree string) {
			write(t, tree, "etc/systemd/system/k3s.service", "[Service]\nExecStart=/usr/local/bin/k3s server\n")
			many(t, tree, "etc/systemd/system/k3s.service.d/%d.conf", 20_000, "[Service]\nEnvironment=A=%d\n")
		}},
		{"environment files of 4 MB", "more than 2 MiB", slow, func(t *testing.T, tree string) {
			write(t, tree, "etc/systemd/system/k3s.service", "[Service]\nEnvironmentFile=/etc/systemd/system/k3s.service.env\nExecStart=/usr/local/bin/k3s server\n")
			write(t, tree, "etc/systemd/system/k3s.service.env", lots(250_000, "V%d=1\n"))
		}},
		{"one environment line of 4 MB", "", slow, func(t *testing.T, tree string) {
			write(t, tree, "etc/systemd/system/k3s.service", "[Service]\nEnvironmentFile=/etc/systemd/system/k3s.service.env\nExecStart=/usr/local/bin/k3s server\n")
			write(t, tree, "etc/systemd/system/k3s.service.env", "A="+strings.Repeat("\\\n", 1_900_000))
		}},
		{"20,000 drop-ins of config.yaml", "", slow, func(t *testing.T, tree string) {
			many(t, tree, "etc/rancher/k3s/config.yaml.d/%d.yaml", 20_000, "node-label+: [a%d=b]\n")
		}},
		{"20,000 unknown drop-ins of config.yaml", "", slow, func(t *testing.T, tree string) {
			many(t, tree, "etc/rancher/k3s/config.yaml.d/%d.yaml", 20_000, "key-%d: 1\n")
		}},
		{"a list of 300,000 arguments", "", slow, func(t *testing.T, tree string) {
			write(t, tree, config, "kube-apiserver-arg:\n"+lots(300_000, "- a%d=b\n"))
		}},
		{"a list of 300,000 kubelet arguments", "", slow, func(t *testing.T, tree string) {
			write(t, tree, config, "kubelet-arg:\n"+lots(300_000, "- a%d=b\n"))
		}},
		{"60 MB beside config.yaml", "searched for secrets", slow, func(t *testing.T, tree string) {
			for i := range 15 {
				write(t, tree, fmt.Sprintf("etc/rancher/k3s/other%d", i), lots(250_000, "a%d=password\n"))
			}
		}},
		{"3 MB of YAML beside config.yaml", "searched for secrets", slow, func(t *testing.T, tree string) {
			write(t, tree, "etc/rancher/k3s/other", lots(300_000, "a%d: b\n"))
		}},
		{"a line of 4 MB of parameters in config.yaml", "", slow, func(t *testing.T, tree string) {
			write(t, tree, config, "x: "+strings.Repeat("y=", 2_000_000)+"\n")
		}},
		{"300,000 labels", "", slow, func(t *testing.T, tree string) {
			write(t, tree, config, "node-label:\n"+lots(300_000, "- a%d=b\n"))
		}},
		{"300,000 duplicate keys", "", slow, func(t *testing.T, tree string) {
			write(t, tree, config, strings.Repeat("token: a\n", 300_000))
		}},
		{"a line of 4 MB in config.yaml", "", slow, func(t *testing.T, tree string) {
			write(t, tree, config, "x: "+strings.Repeat("y", 4_000_000)+"\n")
		}},
		{"nested lists in config.yaml", "", slow, func(t *testing.T, tree string) {
			write(t, tree, config, "x: "+strings.Repeat("[", 1_000_000))
		}},
		{"9,000 nested lists in config.yaml", "", slow, func(t *testing.T, tree string) {
			write(t, tree, config, "x: "+strings.Repeat("[", 9_000)+strings.Repeat("]", 9_000))
		}},
		{"nested blocks in config.yaml", "", slow, func(t *testing.T, tree string) {
			write(t, tree, config, "x:\n"+strings.Repeat("- ", 1_000_000))
		}},
		{"flat blocks of YAML 1 MB", "", slow, func(t *testing.T, tree string) {
			write(t, tree, config, strings.Repeat("? ", 1_000_000))
		}},
		{"anchors in config.yaml", "", slow, func(t *testing.T, tree string) {
			write(t, tree, config, lots(100_000, "k%[1]d: &a%[1]d x\n"))
		}},
		{"merge keys in config.yaml", "", slow, func(t *testing.T, tree string) {
			write(t, tree, config, "a: &a {"+strings.ReplaceAll(lots(5_000, "k%d: 1, "), "\n", "")+"}\n"+lots(5_000, "m%d: {<<: *a}\n"))
		}},
		{"40,000 kernel parameter files", "", slow, func(t *testing.T, tree string) {
			many(t, tree, "etc/sysctl.d/%d.conf", 40_000, "vm.a%d = 1\n")
		}},
		{"4 MB of kernel parameters", "", slow, func(t *testing.T, tree string) {
			write(t, tree, "etc/sysctl.d/99-z.conf", lots(250_000, "vm.a%d = 1\n"))
		}},
		{"4 MB of kernel parameter patterns", "", slow, func(t *testing.T, tree string) {
			write(t, tree, "etc/sysctl.d/99-z.conf", lots(250_000, "vm.*a%d* = 1\n"))
		}},
		{"one kernel parameter 300,000 times", "", slow, func(t *testing.T, tree string) {
			write(t, tree, "etc/sysctl.d/99-z.conf", strings.Repeat("vm.overcommit_memory = 0\n", 150_000))
		}},
		{"one pattern of 4 MB", "", slow, func(t *testing.T, tree string) {
			write(t, tree, "etc/sysctl.d/99-z.conf", "vm."+strings.Repeat("*a", 1_000_000)+" = 1\n")
		}},
		{"40,000 manifests", "", slow, func(t *testing.T, tree string) {
			many(t, tree, manifests+"/m%d.yaml", 40_000, "kind: X%d\n")
		}},
		{"40,000 manifests of secrets", "", slow, func(t *testing.T, tree string) {
			many(t, tree, manifests+"/m%d.yaml", 40_000, "apiVersion: v1\nkind: Pod\nmetadata: {name: p%d}\nspec: {containers: [{name: a, image: b, securityContext: {privileged: true}}]}\n")
		}},
		{"a manifest of 200,000 documents", "", slow, func(t *testing.T, tree string) {
			write(t, tree, manifests+"/m.yaml", lots(200_000, "---\nkind: X%d\n"))
		}},
		{"a manifest of 20,000 pods", "", slow, func(t *testing.T, tree string) {
			write(t, tree, manifests+"/m.yaml", lots(20_000, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p%d}\nspec: {containers: [{name: a, image: b, securityContext: {privileged: true}}]}\n"))
		}},
		{"60 MB of manifests", "", slow, func(t *testing.T, tree string) {
			for i := range 15 {
				write(t, tree, fmt.Sprintf(manifests+"/m%d.yaml", i), "kind: X\nx: [\n"+lots(400_000, "a%d,\n")+"]\n")
			}
		}},
		{"60 MB of manifests that may hold Secrets", "m10.yaml and more: over", slow, func(t *testing.T, tree string) {
			for i := range 15 {
				write(t, tree, fmt.Sprintf(manifests+"/m%d.yaml", i), "kind: Secret\nx: [\n"+lots(400_000, "a%d,\n")+"]\n")
			}
		}},
		{"a manifest of nested lists", "", quick, func(t *testing.T, tree string) {
			write(t, tree, manifests+"/m.json", strings.Repeat("[", 1_000_000))
		}},
		{"a manifest of 9,000 nested maps", "", slow, func(t *testing.T, tree string) {
			write(t, tree, manifests+"/m.json", `{"kind":"Pod","a":`+strings.Repeat(`{"a":`, 9_000)+"1"+strings.Repeat("}", 9_001))
		}},
		{"a YAML bomb as a manifest", "", slow, func(t *testing.T, tree string) {
			write(t, tree, manifests+"/m.yaml", "kind: Pod\n"+bomb())
		}},
		{"40,000 kubelet drop-ins", "more than 20000 entries", slow, func(t *testing.T, tree string) {
			many(t, tree, "var/lib/rancher/k3s/agent/etc/kubelet.conf.d/%d.conf", 40_000, "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: %d\n")
		}},
		{"an admission file of 4 MB", "", slow, func(t *testing.T, tree string) {
			write(t, tree, config, "kube-apiserver-arg: [admission-control-config-file=/etc/a.yaml, audit-policy-file=/etc/b.yaml]\n")
			write(t, tree, "etc/a.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"+lots(100_000, "- {name: A%d}\n"))
			write(t, tree, "etc/b.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n"+lots(100_000, "- {level: None, users: [a%d]}\n"))
		}},
		{"NUL bytes", config, quick, func(t *testing.T, tree string) { write(t, tree, config, "token-file: a\x00b\n") }},
		{"bytes that are no UTF-8", config, quick, func(t *testing.T, tree string) { write(t, tree, config, "token-file: \xff\xfe\n") }},
	}
}

// provisionInChild provisions tree in a process of its own, which must keep all
// limits, and returns what it said.
func provisionInChild(t *testing.T, tree, mode string) string {
	t.Helper()
	var processor time.Duration
	var out string
	for range hostileRuns {
		if processor, out = provisionOnce(t, tree, mode); raceDetector || processor < hostileProcessor {
			return out
		}
	}
	assert.Less(t, processor, hostileProcessor, "in each of %d runs", hostileRuns)
	return out
}

// provisionOnce returns how much of the processor's time one run took, and what it
// said.
func provisionOnce(t *testing.T, tree, mode string) (time.Duration, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hostileTime)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestHostileTrees$", "-test.v")
	child.Env = append(os.Environ(), hostileTree+"="+tree, hostileMode+"="+mode)
	child.Dir = t.TempDir()
	start := time.Now()
	out, err := child.CombinedOutput()
	took := time.Since(start)
	processor := child.ProcessState.UserTime() + child.ProcessState.SystemTime()
	peak := child.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	written := size(t, child.Dir)
	t.Logf("%s: %s, %d MB, processor %s, reports %d KB, said %d KB", mode, took.Round(time.Millisecond), peak>>20,
		processor.Round(time.Millisecond), written>>10, len(out)>>10)
	require.NoError(t, ctx.Err(), "does not end")
	require.NoError(t, err, "%.5000s", out)
	if !raceDetector {
		assert.Less(t, peak, int64(hostileMemory))
		assert.Less(t, written, int64(hostileReports))
		assert.Less(t, len(out), hostileOutput)
	}
	return processor, string(out)
}

// size is how many bytes the files below dir have.
func size(t *testing.T, dir string) int64 {
	t.Helper()
	total := int64(0)
	require.NoError(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	}))
	return total
}

// bomb is a few bytes of YAML that stand for 9^11 scalars.
func bomb() string {
	text := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'k'; c++ {
		text += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	return text
}

// lots is format n times with numbers in it.
func lots(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// many makes n files whose names and contents hold their numbers.
func many(t *testing.T, tree, name string, n int, content string) {
	t.Helper()
	write(t, tree, fmt.Sprintf(name, 0), fmt.Sprintf(content, 0))
	for i := range n {
		require.NoError(t, os.WriteFile(filepath.Join(tree, fmt.Sprintf(name, i)), []byte(fmt.Sprintf(content, i)), 0o600))
	}
}

// nest makes directories in each other, deeper than a path can say.
func nest(t *testing.T, dir string, levels int) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	at, err := os.OpenRoot(dir)
	require.NoError(t, err)
	for range levels {
		require.NoError(t, at.Mkdir("d", 0o755))
		next, err := at.OpenRoot("d")
		require.NoError(t, err)
		require.NoError(t, at.Close())
		at = next
	}
	require.NoError(t, at.Close())
}

// treeInMemory is a tree that many files are made in quickly.
func treeInMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hostile") //nolint:usetesting // 100,000 files take minutes on a busy disk
	if err != nil {
		return newTree(t)
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// provisionHostile provisions tree, and fails when checking that succeeds: none of
// the trees may be judged as if it could be read.
func provisionHostile(t *testing.T, tree string) {
	mode := os.Getenv(hostileMode)
	var p Provisioner
	require.NoError(t, p.Prepare(map[string]any{"k3s_version": release, "mode": mode}))
	ui := new(packersdk.MockUi)
	err := p.Provision(t.Context(), ui, nil, map[string]any{rootDirectoryKey: tree})
	if mode == modeCheck {
		require.Error(t, err)
	}
	t.Log(err, ui.ErrorMessage, ui.SayMessages)
}
