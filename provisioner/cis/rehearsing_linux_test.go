package cis

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/launchertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/tree"
)

// TestMain lets this program be the first process of a rehearsal.
func TestMain(m *testing.M) {
	tree.Dispatch()
	os.Exit(m.Run())
}

// startableTree is a tree whose K3s is the launcher.
func startableTree(t *testing.T, misbehave ...string) string {
	t.Helper()
	root := newTree(t)
	for _, dir := range []string{"/etc/systemd/system", "/var/lib", "/usr/lib", "/root", "/tmp"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	launchertest.Install(t, root, misbehave...)
	unit := "[Unit]\nDescription=k3s\n[Service]\nType=notify\nExecStart=/usr/local/bin/k3s server\n[Install]\nWantedBy=multi-user.target\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "/etc/systemd/system/k3s.service"), []byte(unit), 0o644))
	return root
}

var rehearsing = map[string]any{
	"k3s_version": release,
	"rehearsal":   map[string]any{"timeout": "20s", "keep_log": true},
}

func proven(results []benchmark.Result) (n, byStart int) {
	for _, r := range results {
		if r.Status == benchmark.Pass && r.ID != r.Key {
			n++
			if r.Phase == benchmark.Rehearsed {
				byStart++
			}
		}
	}
	return n, byStart
}

func TestRehearsal(t *testing.T) {
	t.Parallel()
	plain := try(t, startableTree(t), map[string]any{"k3s_version": release}, nil)
	require.NotNil(t, plain.report, "%v", plain.err)
	root := startableTree(t)
	x := try(t, root, rehearsing, nil)
	require.NotNil(t, x.report, "%v", x.err)
	for _, r := range x.report.Results {
		if strings.HasPrefix(r.Key, "node.first-start.") || r.Key == "node.k3s-starts" {
			assert.Equal(t, benchmark.Pass, r.Status, "%s: %s %s", r.Key, r.Found, r.Reason)
			assert.Equal(t, benchmark.Rehearsed, r.Phase)
		}
	}
	before, none := proven(plain.report.Results)
	after, byStart := proven(x.report.Results)
	assert.Zero(t, none)
	assert.Equal(t, before+byStart, after)
	assert.GreaterOrEqual(t, byStart, 8, "the control plane's files, and what is stored")
	assert.Contains(t, x.log, "of them by a rehearsed first start")
	assert.Contains(t, x.log, "Rehearsed the first start: K3s was up after")
	log, err := os.ReadFile(filepath.Join(x.dir, logFile))
	require.NoError(t, err)
	assert.Contains(t, string(log), "Running kube-apiserver")
	for _, left := range []string{"/var/lib/rancher/k3s/server/tls", "/var/lib/rancher/k3s/server/token", "/etc/rancher/node", "/run"} {
		assert.NoDirExists(t, filepath.Join(root, left))
		assert.NoFileExists(t, filepath.Join(root, left))
	}
}

func TestRehearsalThatFails(t *testing.T) {
	t.Parallel()
	for misbehave, c := range map[string]struct {
		control string
		status  benchmark.Status
		says    string
	}{
		"exit":        {"node.k3s-starts", benchmark.Fail, "K3s ended with status 1"},
		"hang":        {"node.k3s-starts", benchmark.Error, "K3s was not up after"},
		"argument":    {"node.first-start.arguments", benchmark.Error, "started with --audit-log-maxage=3"},
		"certificate": {"1.1.21", benchmark.Fail, "0666"},
		"admit":       {"node.first-start.pods", benchmark.Fail, "a privileged pod was admitted"},
		"clear":       {"1.2.28", benchmark.Fail, "stands in the datastore as it is"},
		"no-policies": {"5.3.2", benchmark.Fail, "not in the cluster"},
		"automount":   {"5.1.5", benchmark.Fail, "not in the cluster"},
		"silent":      {"node.k3s-starts", benchmark.Error, "no answer to that effect"},
	} {
		t.Run(misbehave, func(t *testing.T) {
			t.Parallel()
			options := map[string]any{"k3s_version": release, "rehearsal": map[string]any{"timeout": "8s"}}
			x := try(t, startableTree(t, misbehave), options, nil)
			require.Error(t, x.err)
			r := status(t, x.report, c.control)
			assert.Equal(t, c.status, r.Status, "%+v", r)
			assert.Contains(t, r.Found, c.says)
			assert.NotContains(t, x.log, "s3cret")
		})
	}
}

func TestRehearsalThatCannotBe(t *testing.T) {
	t.Parallel()
	bare := func(t *testing.T) string {
		root := startableTree(t)
		require.NoError(t, os.Remove(filepath.Join(root, "/usr/local/bin/k3s")))
		return root
	}
	x := try(t, bare(t), rehearsing, nil)
	require.ErrorContains(t, x.err, "for want of:\n  K3s in the image")
	require.ErrorContains(t, x.err, "required = false")

	x = try(t, bare(t), map[string]any{"k3s_version": release, "rehearsal": map[string]any{"required": false}}, nil)
	require.NotNil(t, x.report)
	assert.Contains(t, x.log, "Warning: the first start is not rehearsed, for want of K3s in the image")
	assert.Equal(t, benchmark.Deferred, status(t, x.report, "node.first-start.pods").Status)
	assert.Equal(t, benchmark.Deferred, status(t, x.report, "1.1.13").Status)

	x = try(t, startableTree(t), map[string]any{"k3s_version": release, "rehearsal": map[string]any{"agent": true}}, nil)
	require.ErrorContains(t, x.err, "the image's own kernel")

	agents := startableTree(t)
	unit := "[Service]\nType=notify\nExecStart=/usr/local/bin/k3s agent\n[Install]\nWantedBy=multi-user.target\n"
	require.NoError(t, os.Remove(filepath.Join(agents, "/etc/systemd/system/k3s.service")))
	require.NoError(t, os.WriteFile(filepath.Join(agents, "/etc/systemd/system/k3s-agent.service"), []byte(unit), 0o644))
	x = try(t, agents, map[string]any{"k3s_version": release, "role": "agent", "rehearsal": map[string]any{}}, nil)
	require.NotNil(t, x.report, "%v", x.err)
	r := status(t, x.report, "node.first-start.arguments")
	assert.Equal(t, benchmark.Deferred, r.Status)
	assert.Contains(t, r.Reason, "an agent is rehearsed on the image's own kernel alone")
	x = try(t, agents, map[string]any{"k3s_version": release, "role": "agent", "rehearsal": map[string]any{"agent": true}}, nil)
	require.ErrorContains(t, x.err, "the image's own kernel")
}

// TestRehearsalOfDatastores starts K3s on the etcd of its own, and on SQLite where the
// node's datastore is elsewhere.
func TestRehearsalOfDatastores(t *testing.T) {
	t.Parallel()
	options := func(config map[string]any) map[string]any {
		return map[string]any{"k3s_version": release, "rehearsal": map[string]any{"timeout": "20s"}, "config": config}
	}
	t.Run("etcd", func(t *testing.T) {
		t.Parallel()
		x := try(t, startableTree(t), options(map[string]any{"cluster-init": true}), nil)
		require.NotNil(t, x.report, "%v", x.err)
		seen := 0
		for _, r := range x.report.Results {
			if strings.HasPrefix(r.Key, "etcd.") || r.Key == "files.etcd-datadir.mode" {
				seen++
				assert.Equal(t, benchmark.Pass, r.Status, "%s: %s %s", r.Key, r.Found, r.Reason)
				assert.Equal(t, benchmark.Rehearsed, r.Phase, r.Key)
			}
		}
		assert.Equal(t, 8, seen)
		for _, key := range []string{"node.k3s-starts", "node.first-start.arguments", "1.2.28"} {
			r := status(t, x.report, key)
			assert.Equal(t, benchmark.Pass, r.Status, "%s: %s %s", key, r.Found, r.Reason)
		}
	})
	for misbehave, c := range map[string]struct{ control, says string }{
		"etcd-open": {"2.2", "client-cert-auth"},
		"clear":     {"1.2.28", "stands in the datastore as it is"},
	} {
		t.Run("etcd, misbehaves: "+misbehave, func(t *testing.T) {
			t.Parallel()
			x := try(t, startableTree(t, misbehave), options(map[string]any{"cluster-init": true}), nil)
			require.Error(t, x.err)
			r := status(t, x.report, c.control)
			assert.Equal(t, benchmark.Fail, r.Status, "%+v", r)
			assert.Contains(t, r.Found, c.says)
		})
	}
	t.Run("elsewhere", func(t *testing.T) {
		t.Parallel()
		x := try(t, startableTree(t), options(map[string]any{"datastore-endpoint": "mysql://db/k3s"}), nil)
		require.NotNil(t, x.report, "%v", x.err)
		assert.Contains(t, x.log, "s, with SQLite in the place of the datastore elsewhere (")
		for _, key := range []string{"node.first-start.arguments", "1.2.28", "1.1.13"} {
			r := status(t, x.report, key)
			assert.Equal(t, benchmark.Pass, r.Status, "%s: %s %s", key, r.Found, r.Reason)
			assert.Equal(t, benchmark.Rehearsed, r.Phase)
		}
		r := status(t, x.report, "node.k3s-starts")
		assert.Equal(t, benchmark.Pass, r.Status)
		assert.Empty(t, r.Phase, "whether it starts with the node's own was not seen")
		assert.Contains(t, r.Found, "with SQLite in the place of the datastore elsewhere")
	})
}

// What is refused where a rehearsal would be is softened as what is missing there;
// what K3s's program is, is not.
func TestRehearsalRefused(t *testing.T) {
	t.Parallel()
	said := ""
	s := session{complain: func(text string) { said += text }}
	refused, failed := fmt.Errorf("on the machine: %w", &rehearsal.Refused{Words: "the default route: no"}), errors.New("k3s cannot be started")
	s.config.Rehearsal = &RehearsalConfig{}
	_, err := s.notRehearsed(refused)
	require.ErrorContains(t, err, "is refused where it would be: on the machine: the default route: no\nTake the block out")
	s.config.Rehearsal.Required = config.TriFalse
	first, err := s.notRehearsed(refused)
	require.NoError(t, err)
	assert.Contains(t, first.Why, "the default route: no")
	assert.Contains(t, said, "Warning: the first start is not rehearsed")
	_, err = s.notRehearsed(failed)
	require.ErrorIs(t, err, failed)
}

// TestWithoutAgent goes on without an agent that nobody has asked for.
func TestWithoutAgent(t *testing.T) {
	t.Parallel()
	ofAgent := &rehearsal.Unavailable{Lacks: []string{"cgroups"}, OfAgent: true}
	for name, c := range map[string]struct {
		role   k3s.Role
		agent  config.Trilean
		lacks  error
		starts []bool
		fails  bool
	}{
		"by default":                {k3s.Server, config.TriUnset, ofAgent, []bool{true, false}, false},
		"asked for":                 {k3s.Server, config.TriTrue, ofAgent, []bool{true}, true},
		"an agent image":            {k3s.Agent, config.TriUnset, ofAgent, []bool{true}, true},
		"the control plane too":     {k3s.Server, config.TriUnset, &rehearsal.Unavailable{Lacks: []string{"unshare"}}, []bool{true}, true},
		"refused":                   {k3s.Server, config.TriUnset, &rehearsal.Refused{Words: "no"}, []bool{true}, true},
		"nothing is missing":        {k3s.Server, config.TriUnset, nil, []bool{true}, false},
		"around a machine's answer": {k3s.Server, config.TriUnset, fmt.Errorf("on the machine: %w", ofAgent), []bool{true, false}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said := ""
			s := session{complain: func(text string) { said += text }}
			s.config.Rehearsal = &RehearsalConfig{Agent: c.agent}
			var starts []bool
			_, err := s.orWithoutAgent(c.role, true, func(agent bool) (*benchmark.FirstStart, error) {
				starts = append(starts, agent)
				if agent {
					return nil, c.lacks
				}
				return &benchmark.FirstStart{}, nil
			})
			assert.Equal(t, c.starts, starts)
			assert.Equal(t, c.fails, err != nil)
			if len(starts) == 1 {
				assert.Empty(t, said)
				return
			}
			assert.Equal(t, "Warning: the first start is rehearsed without the agent, for want of cgroups. What the agent makes stays deferred.", said)
			assert.Equal(t, []string{strings.TrimPrefix(said, "Warning: ")}, s.rehearsalWarnings, "the report says so too")
		})
	}
}

func TestRehearsalOptions(t *testing.T) {
	t.Parallel()
	var p Provisioner
	err := p.Prepare(map[string]any{"k3s_version": release, "rehearsal": map[string]any{"timeout": "1s"}})
	require.ErrorContains(t, err, "rehearsal.timeout: 1s is less than K3s takes to start")
	require.NoError(t, new(Provisioner).Prepare(map[string]any{"k3s_version": release, "rehearsal": map[string]any{}}))
}
