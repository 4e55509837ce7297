package kube_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube/apiservertest"
)

// acceptance are the API servers that the acceptance tests run, by minor.
var acceptance = map[string]string{"1.34": "v1.34.3+k3s1", "1.37": "v1.37.2+k3s1"}

func each(t *testing.T, test func(t *testing.T, r k3s.Release, binary string)) {
	t.Helper()
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("runs kube-apiserver; set PACKER_ACC=1")
	}
	for minor, tag := range acceptance {
		r, err := k3s.ParseRelease(tag)
		require.NoError(t, err)
		binary := apiservertest.Binary(t, minor)
		t.Run(minor, func(t *testing.T) { test(t, r, binary) })
	}
}

// TestAccTrials says that kube-apiserver starts with, and is ended by, exactly
// what TestTrials says this package lets pass and refuses.
func TestAccTrials(t *testing.T) {
	each(t, func(t *testing.T, r k3s.Release, binary string) {
		store := apiservertest.StartStore(t)
		for _, trial := range kube.Trials {
			if !trial.In(r) {
				continue
			}
			t.Run(trial.Name, func(t *testing.T) {
				t.Parallel()
				root := t.TempDir()
				for name, data := range trial.Content() {
					lay(t, root, name, data)
				}
				server := store.Start(t, binary, apiservertest.Node{Root: root, Args: trial.Arguments()})
				if !trial.Refused() {
					server.Ready(t)
					server.Stop()
					return
				}
				require.Error(t, server.Err)
				assert.True(t, server.Ended(), "%v", server.Err)
				// The log escapes quotes in what it says of the error.
				assert.Contains(t, strings.ReplaceAll(server.Output(), `\"`, `"`), trial.Says+trial.Theirs)
			})
		}
	})
}

func lay(t *testing.T, root, name, data string) {
	t.Helper()
	file := filepath.Join(root, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(data), 0o600))
}

// plain starts the API server with K3s's defaults of no consequence here and
// the trial that changes nothing.
func plain(t *testing.T, binary string) *apiservertest.Server {
	t.Helper()
	root := t.TempDir()
	good := kube.Trials[0]
	for name, data := range good.Content() {
		lay(t, root, name, data)
	}
	server := apiservertest.StartStore(t).Start(t, binary, apiservertest.Node{Root: root, Args: good.Arguments()})
	server.Ready(t)
	return server
}

// TestAccDocuments says that the API server accepts what TestDocuments
// accepts, and nothing else.
func TestAccDocuments(t *testing.T) {
	each(t, func(t *testing.T, _ k3s.Release, binary string) {
		server := plain(t, binary)
		for _, d := range kube.Documents {
			reply, err := server.DryRun(d.Text)
			require.NoError(t, err, d.Name)
			if d.Refused == "" {
				assert.Less(t, reply.Status, 300, "%s: %s", d.Name, reply.Message)
			} else {
				assert.GreaterOrEqual(t, reply.Status, 400, d.Name)
				assert.NotEmpty(t, reply.Message, d.Name) // it is the object, not the server
			}
		}
	})
}

// TestAccWorkloads says that Pod Security Admission admits what Workloads does
// not reject, and nothing else.
func TestAccWorkloads(t *testing.T) {
	each(t, func(t *testing.T, _ k3s.Release, binary string) {
		server := plain(t, binary)
		for _, level := range []string{"restricted", "baseline", "privileged"} {
			created(t, server, "{apiVersion: v1, kind: Namespace, metadata: {name: "+level+", labels: {pod-security.kubernetes.io/enforce: "+level+"}}}")
			created(t, server, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: "+level+"}}")
		}
		for _, p := range kube.PodCases {
			for level, admitted := range map[string]bool{"restricted": p.Restricted, "baseline": p.Baseline, "privileged": true} {
				reply, err := server.Create(p.Manifest(level))
				require.NoError(t, err)
				if admitted {
					assert.Equal(t, 201, reply.Status, "%s in %s: %s", p.Name, level, reply.Message)
				} else {
					assert.Equal(t, 403, reply.Status, "%s in %s", p.Name, level)
					assert.Contains(t, reply.Message, `violates PodSecurity "`+level+`:`)
				}
			}
		}
	})
}

var helpFlag = regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z0-9-]+)`)

// TestAccFlags compares the table of flags with what the API server says of
// itself: every flag it shows is known, and every known one it takes.
func TestAccFlags(t *testing.T) {
	each(t, func(t *testing.T, r k3s.Release, binary string) {
		help, err := exec.CommandContext(t.Context(), binary, "--help").Output()
		require.NoError(t, err)
		shown := map[string]bool{}
		for _, m := range helpFlag.FindAllStringSubmatch(string(help), -1) {
			shown[m[1]] = true
		}
		require.Greater(t, len(shown), 150)
		known := kube.FlagNames(r, k3s.APIServer)
		for name := range shown {
			assert.Contains(t, known, name)
		}
		for _, name := range known {
			if shown[name] {
				continue
			}
			// A deprecated flag is not shown. A value it cannot have tells it
			// from one that does not exist, without starting anything.
			out, _ := exec.CommandContext(t.Context(), binary, "--"+name+"=x", "--version").CombinedOutput() // it fails either way
			assert.NotContains(t, string(out), "unknown flag", name)
		}
	})
}
