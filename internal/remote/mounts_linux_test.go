package remote

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// asContainer makes the root directory a mount of its own, as a container's is.
const asContainer = "mount --rbind . .; cd \"$PWD\"\n"

// What lies on a mount is refused before anything is changed; the rest is not.
func TestContainerMounts(t *testing.T) {
	change := node.Change{Write: []node.Entry{{Path: "/etc/rancher/k3s/config.yaml", Kind: node.KindFile, Mode: 0o600, Data: []byte("a: b\n")}}}
	query := node.Query{{Path: "/etc/rancher/k3s", Depth: 1, Content: true}, {Path: "/etc/rancher/k3s/config.yaml"}, {Path: "/it's a \\ path"}, {Path: "/etc/hostname", Content: true}, {Path: "/proc/cmdline"}}
	for name, test := range map[string]struct{ enter, want string }{
		"nothing":                             {"", ""},
		"elsewhere":                           {"mount -t tmpfs tmpfs srv", ""},
		"the engine's own file":               {"mount --bind etc/other etc/hostname", ""},
		"the parent":                          {"mount -t tmpfs tmpfs etc; mkdir -p etc/rancher/k3s", "/etc is mounted into the container, so that the image gets nothing of what is there, and /etc/hostname and 2 more"},
		"the directory":                       {"mount -t tmpfs tmpfs etc/rancher/k3s", "/etc/rancher/k3s is mounted into the container"},
		"the file":                            {"touch etc/rancher/k3s/config.yaml; mount --bind etc/other etc/rancher/k3s/config.yaml", "/etc/rancher/k3s/config.yaml is mounted"},
		"in a directory walked":               {"mkdir -p etc/rancher/k3s/more; mount -t tmpfs tmpfs etc/rancher/k3s/more", "/etc/rancher/k3s/more is mounted"},
		"deeper than is walked":               {"mkdir -p etc/rancher/k3s/more/x; mount -t tmpfs tmpfs etc/rancher/k3s/more/x", ""},
		"behind a directory link":             {"rm -rf etc/rancher/k3s; ln -s /srv etc/rancher/k3s; mount -t tmpfs tmpfs srv", "/srv is mounted into the container, so that the image gets nothing of what is there, and /etc/rancher/k3s and 1 more"},
		"behind a file link":                  {"mount -t tmpfs tmpfs srv; ln -sf /srv/c etc/rancher/k3s/config.yaml", "/srv is mounted into the container, so that the image gets nothing of what is there, and /etc/rancher/k3s/config.yaml cannot"},
		"behind a link in a directory walked": {"mount -t tmpfs tmpfs srv; touch srv/c; ln -sf /srv/c etc/rancher/k3s/other.yaml", "/srv is mounted into the container, so that the image gets nothing of what is there, and /etc/rancher/k3s/other.yaml cannot"},
		"behind two links":                    {"mount -t tmpfs tmpfs srv; touch srv/c; ln -sfn /srv opt; ln -sf /opt/c etc/rancher/k3s/other.yaml", "/srv is mounted"},
		"with odd characters":                 {"mkdir -p \"it's a \\\\ path\"; mount -t tmpfs tmpfs \"it's a \\\\ path\"", "/it's a \\ path is mounted"},
	} {
		for _, flavor := range []string{"dash", "busybox"} {
			t.Run(name+"/"+flavor, func(t *testing.T) {
				dir := t.TempDir()
				comm := newChroot(t, dir, flavor)
				comm.enter = asContainer + test.enter
				for _, d := range []string{"etc/rancher/k3s", "srv", "var/lib"} {
					require.NoError(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
				}
				for _, f := range []string{"etc/hostname", "etc/other"} {
					require.NoError(t, os.WriteFile(filepath.Join(dir, f), []byte("x\n"), 0o600))
				}
				m := New(comm, Options{Container: true})
				_, err := m.Apply(t.Context(), change, query)
				config := filepath.Join(dir, "etc/rancher/k3s/config.yaml")
				if test.want == "" {
					require.NoError(t, err)
					assert.FileExists(t, config)
					return
				}
				require.ErrorContains(t, err, test.want)
				_, err = m.Read(t.Context(), query[:3])
				require.ErrorContains(t, err, "cannot be hardened or judged", "reading proves nothing either")
				if !strings.Contains(name, "links") && !strings.Contains(name, "a link in") { // known only once it was walked
					data, _ := os.ReadFile(config)
					assert.Empty(t, data)
				}
			})
		}
	}
}

// A container that does not answer in full is not taken for one without mounts.
func TestContainerMountsUnknown(t *testing.T) {
	comm := newChroot(t, t.TempDir(), "dash")
	_, err := New(comm, Options{Container: true}).Read(t.Context(), node.Query{{Path: "/etc"}})
	require.ErrorContains(t, err, "does not say what its root file system is")

	comm = newChroot(t, t.TempDir(), "dash")
	comm.lie = true
	_, err = New(comm, Options{Container: true}).Read(t.Context(), node.Query{{Path: "/etc"}})
	require.ErrorContains(t, err, "no answer came back")
}

const mountsAnswer = "hello\nk3s-cis abc mounts 0\nm 1 0 0:1 / / rw - overlay overlay rw\nm 2 1 0:2 / /a\\040b rw - tmpfs tmpfs rw\np /a b/c\np //x\nk3s-cis abc mounts end\n"

func TestParseMounts(t *testing.T) {
	for _, out := range []string{mountsAnswer, strings.ReplaceAll(mountsAnswer, "\n", "\r\n")} {
		a, err := parseMounts(out, "abc")
		require.NoError(t, err)
		assert.Equal(t, &containerMounts{uid: 0, mounts: []string{"/", "/a b"}, real: []string{"/a b/c", "/x"}}, a)
	}
	for want, out := range map[string]string{
		"no answer":     strings.ReplaceAll(mountsAnswer, "abc", "abd"),
		"cut off":       strings.TrimSuffix(mountsAnswer, "mounts end\n"),
		"user \"zero\"": strings.Replace(mountsAnswer, "mounts 0", "mounts zero", 1),
		"line \"p x\"":  strings.Replace(mountsAnswer, "p //x", "p x", 1),
		"line \"m 2":    strings.Replace(mountsAnswer, " /a\\040b rw - tmpfs tmpfs rw", "", 1),
		"/proc is not":  strings.Replace(mountsAnswer, "/ / rw", "/ /b rw", 1),
	} {
		_, err := parseMounts(out, "abc")
		require.ErrorContains(t, err, want)
	}
}

// FuzzMounts gives whatever a container may print to the parser.
func FuzzMounts(f *testing.F) {
	f.Add(mountsAnswer)
	f.Add(strings.ReplaceAll(mountsAnswer, "\n", "\r\n"))
	f.Fuzz(func(t *testing.T, out string) {
		a, err := parseMounts(out, "abc")
		if err != nil {
			return
		}
		assert.Contains(t, a.mounts, "/")
		for _, p := range a.real {
			assert.True(t, strings.HasPrefix(p, "/"), p)
		}
	})
}
