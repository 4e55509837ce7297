package k3s_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// FuzzConfig holds that whatever the files say, every value that counts has a
// place it comes from, and no key gets in that K3s does not know.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("token-file: /a\nnode-label+: [a, &x b]\n"), []byte("node-label: *x\n"), []byte("--v=2 $X"), false)
	f.Add([]byte("a: &a [x]\nb: *a\n<<: {c: d}\n"), []byte("---\n? [a]\n: b\n"), []byte("'"), true)
	f.Fuzz(func(t *testing.T, config, dropIn, words []byte, agent bool) {
		role := k3s.Server
		if agent {
			role = k3s.Agent
		}
		service := "/etc/systemd/system/" + role.ServiceName() + ".service"
		e := resolve(t, "v1.36", role, map[string]string{
			mainFile: string(config), dropIns + "a.yaml": string(dropIn),
			service: "[Service]\nExecStart=/usr/local/bin/k3s " + string(role) + " " + string(words) + "\n",
		})
		for name, s := range e.Settings {
			key, known := k3s.FindKey(name)
			require.True(t, known && key.In(e.Release, role), name)
			for _, v := range s.Values {
				require.NotEmpty(t, v.Origin.Source)
				require.False(t, v.Origin.Default)
			}
		}
		for c, args := range e.Args {
			for _, a := range args {
				require.NotEmpty(t, a.Name)
				require.NotEmpty(t, a.Origin.Source)
				_, _, set := e.Flag(c, strings.ReplaceAll(a.Name, "_", "-"))
				require.True(t, set)
			}
		}
	})
}

// FuzzKubeletFile holds that only fields that stand in the file become flags.
func FuzzKubeletFile(f *testing.F) {
	f.Add([]byte(kubeletHeader + "podPidsLimit: 1\nevictionHard: {a: b}\n"))
	f.Add([]byte("#\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const file = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50.conf"
		e := resolve(t, "v1.36", k3s.Agent, map[string]string{file: string(data)})
		for _, a := range e.Args[k3s.Kubelet] {
			if a.Origin.Source == file {
				require.LessOrEqual(t, a.Origin.Line, bytes.Count(data, []byte("\n"))+1)
			}
		}
	})
}

func FuzzRelease(f *testing.F) {
	f.Add("v1.36.3+k3s1")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := k3s.ParseRelease(s)
		if err != nil {
			return
		}
		again, err := k3s.ParseRelease(r.String())
		require.NoError(t, err)
		require.Equal(t, r, again)
		require.NotEmpty(t, r.Range().Name)
	})
}

// TestHostileInput: input made to exhaust the reader ends quickly, with a
// problem that says so.
func TestHostileInput(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 10), ","))
	}
	for name, text := range map[string]string{
		"aliases that expand":  bomb + "node-label: *j\n",
		"deep nesting":         "node-label: " + strings.Repeat("[", 200_000),
		"deep flow mapping":    strings.Repeat("{a: ", 100_000),
		"an endless scalar":    "token-file: \"" + strings.Repeat("x", node.MaxFileSize-20),
		"deep block structure": deep(3000),
	} {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			e := resolve(t, "v1.36", k3s.Server, map[string]string{mainFile: text})
			assert.NotEmpty(t, e.Problems)
			assert.Less(t, time.Since(started), time.Minute)
		})
	}
}

func deep(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestRanges(t *testing.T) {
	for version, want := range map[string]string{
		"v1.17": "up to v1.20", "v1.20": "up to v1.20", "v1.21": "v1.21 to v1.24", "v1.24": "v1.21 to v1.24",
		"v1.25": "v1.25 to v1.28", "v1.28": "v1.25 to v1.28", "v1.29": "v1.29 and newer", "v1.99": "v1.29 and newer",
		"v2.1": "v1.29 and newer",
	} {
		assert.Equal(t, want, release(t, version).Range().Name, version)
	}
	for i, r := range k3s.Ranges() {
		if i > 0 {
			assert.Equal(t, k3s.Ranges()[i-1].Last+1, r.First, "no gap, no overlap")
		}
	}
	warning, err := release(t, "v1.38").Supported()
	require.NoError(t, err)
	assert.Contains(t, warning, "newer than the newest release line known here, v1.37")
	warning, err = release(t, "v1.37").Supported()
	require.NoError(t, err)
	assert.Empty(t, warning)
	_, err = release(t, "v1.16").Supported()
	require.Error(t, err)
	assert.False(t, release(t, "v1.32.3+k3s1").ChoosesEncryptionProvider())
	assert.True(t, release(t, "v1.32.4+k3s1").ChoosesEncryptionProvider())
	assert.True(t, release(t, "v1.34.0+k3s1").ChoosesEncryptionProvider())
	assert.False(t, release(t, "v1.29.15+k3s1").ChoosesEncryptionProvider())
}

func BenchmarkResolve(b *testing.B) {
	r := release(b, "v1.36")
	n := tree(k3s.Server, map[string]string{
		mainFile: "cluster-init: true\n" + guideConfig, dropIns + "a.yaml": "node-label: [a=1]\n", unitFile: unit("--node-label b=2"), envFile: "K3S_TOKEN_FILE=/a\n",
		"/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50.conf": kubeletHeader + "podPidsLimit: 1\n",
	})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k3s.Resolve(n, r, k3s.Server); err != nil {
			b.Fatal(err)
		}
	}
}
