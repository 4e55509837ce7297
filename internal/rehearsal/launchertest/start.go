package launchertest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// Node is a small node whose K3s is /usr/local/bin/k3s.
type Node struct {
	Role k3s.Role
	// Configuration is what its config.yaml holds.
	Configuration string
}

// The nodes of these tests: a server on SQLite, one on etcd, one whose datastore is
// elsewhere, and an agent.
var (
	OnSQLite = Node{k3s.Server, "secrets-encryption: true\n"}
	OnEtcd   = Node{k3s.Server, "cluster-init: true\nsecrets-encryption: true\n"}
	External = Node{k3s.Server, "datastore-endpoint: postgres://k3s:s3cret@db.example/k3s\nsecrets-encryption: true\n"}
	Agent    = Node{k3s.Agent, "server: https://cluster.example:6443\ntoken: s3cret\n"}
)

// Lay makes the files of the node below root.
func (n Node) Lay(t testing.TB, root string) {
	t.Helper()
	n.layUnit(t, root, program)
	files := map[string]string{k3s.ConfigFile: n.Configuration}
	if n.Role == k3s.Server {
		files["/var/lib/rancher/k3s/server/manifests/mine.yaml"] = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: mine, namespace: kube-system}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n"
		files["/var/lib/rancher/k3s/server/manifests/mine-account.yaml"] = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: default}\nautomountServiceAccountToken: false\n"
	}
	for name, text := range files {
		at := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, []byte(text), 0o600))
	}
	for _, role := range []k3s.Role{k3s.Server, k3s.Agent} { // what a node was before
		if role != n.Role {
			require.NoError(t, os.RemoveAll(filepath.Join(root, "/etc/systemd/system", role.ServiceName()+".service")))
		}
	}
}

// Move puts the launcher of the node at root to another path, where /usr is not the
// node's own, and has the service start it there.
func (n Node) Move(t testing.TB, root, to string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(to)), 0o755))
	require.NoError(t, os.Rename(filepath.Join(root, program), filepath.Join(root, to)))
	n.layUnit(t, root, to)
}

// layUnit makes the node's service, which starts a program.
func (n Node) layUnit(t testing.TB, root, starts string) {
	t.Helper()
	at := filepath.Join(root, "/etc/systemd/system", n.Role.ServiceName()+".service")
	require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
	require.NoError(t, os.WriteFile(at, []byte("[Service]\nExecStart="+starts+" "+string(n.Role)+"\nEnvironment=FROM_UNIT=yes\n"), 0o600))
}

// LayNode makes the files of the node OnSQLite below root.
func LayNode(t testing.TB, root string) { OnSQLite.Lay(t, root) }

// subject is what is asked of the servers.
var subject = rehearsal.Subject{
	AddOns: []string{"mine", "mine-account"}, Policies: []string{"kube-system/mine"}, Accounts: []string{"default"}, Namespaces: []string{"default", "kube-public"},
	Files: node.Query{{Path: "/var/lib/rancher/k3s/server/tls", Depth: node.Deep}, {Path: "/var/lib/rancher/k3s/server/logs/audit.log"}, {Path: "/var/lib/cni/networks", Depth: node.Deep}, {Path: k3s.ConfigFile, Content: true}, {Path: "/var/lib/rancher/k3s/agent", Depth: 1}},
}

// Request is the request for the node OnSQLite at root.
func Request(t testing.TB, root string, timeout time.Duration, agent bool) *rehearsal.Request {
	t.Helper()
	return OnSQLite.Request(t, root, timeout, agent)
}

// Effective is what the node at root runs with, where words are added to its command.
func (n Node) Effective(t testing.TB, root string, added ...string) *k3s.Effective {
	t.Helper()
	release, err := k3s.ParseRelease("v1.36.3+k3s1")
	require.NoError(t, err)
	read, err := rootfs.At(root).Read(t.Context(), k3s.Query(n.Role, ""))
	require.NoError(t, err)
	e, err := k3s.ResolveAdded(read, release, n.Role, "", added...)
	require.NoError(t, err)
	return e
}

// Request is the request for the node at root.
func (n Node) Request(t testing.TB, root string, timeout time.Duration, agent bool) *rehearsal.Request {
	t.Helper()
	e := n.Effective(t, root)
	r, err := rehearsal.New(e, e.Program, subject, timeout, agent)
	require.NoError(t, err)
	r.Settle = 2 * time.Second
	return r
}

// RequireJoined fails unless seen is a first start of the agent that went as K3s's do,
// at a server of its own.
func RequireJoined(t testing.TB, seen *rehearsal.Observation) {
	t.Helper()
	require.True(t, seen.Up, "%v", seen.Log)
	assert.Less(t, seen.UpAfter, 10*time.Second)
	assert.Empty(t, seen.Exited)
	assert.Empty(t, seen.Traces)
	assert.Len(t, seen.Started, 2)
	assert.NotEmpty(t, seen.Started[k3s.Kubelet])
	for _, name := range []string{rehearsal.AskReady, rehearsal.AskKubelet} {
		assert.True(t, seen.Answers[name].Found, "%s: %+v", name, seen.Answers[name])
	}
	assert.Len(t, seen.Answers, 2, "a server that is not the cluster's is asked for nothing else")
	assert.Zero(t, seen.Stored)
	kubeconfig, presence := seen.Node.Lookup("/var/lib/rancher/k3s/agent/kubelet.kubeconfig")
	assert.Equal(t, node.Present, presence)
	assert.Equal(t, fs.FileMode(0o600), kubeconfig.Mode)
	_, presence = seen.Node.Lookup("/var/lib/rancher/k3s/server/tls")
	assert.Equal(t, node.Absent, presence, "that server has a directory of its own")
	for _, line := range seen.Log {
		assert.NotContains(t, line, "kube-apiserver", "the log is the agent's")
	}
}

// RequireFirstStart fails unless seen is a first start of a server of these tests that
// went as K3s's do.
func RequireFirstStart(t testing.TB, seen *rehearsal.Observation, agent bool) {
	t.Helper()
	require.True(t, seen.Up, "%v", seen.Log)
	assert.Less(t, seen.UpAfter, 10*time.Second)
	assert.Empty(t, seen.Exited)
	assert.False(t, seen.Full)
	assert.Empty(t, seen.Traces)
	assert.Empty(t, seen.Warnings)
	capabilities, _ := Rights(t, seen)
	assert.Zero(t, capabilities&Dangerous, "%x", capabilities)
	components := 3
	if agent {
		components = 5
		assert.True(t, seen.Answers[rehearsal.AskKubelet].Found)
	}
	assert.Len(t, seen.Started, components)
	for _, name := range []string{rehearsal.AskReady, rehearsal.AskAddOns, rehearsal.AskEvents, rehearsal.AskPolicies, rehearsal.AskAccounts, rehearsal.AskSecret} {
		assert.True(t, seen.Answers[name].Found, "%s: %+v", name, seen.Answers[name])
	}
	for _, ns := range subject.Namespaces {
		assert.True(t, seen.Answers[rehearsal.AskPrivileged+ns].Refused(), "%+v", seen.Answers)
		assert.True(t, seen.Answers[rehearsal.AskRestricted+ns].Admitted(), "%+v", seen.Answers)
	}
	assert.Equal(t, rehearsal.Stored{Looked: true, Key: true, Providers: []string{"aescbc"}}, seen.Stored)
	key, presence := seen.Node.Lookup("/var/lib/rancher/k3s/server/tls/etcd/client.key")
	assert.Equal(t, node.Present, presence)
	assert.Equal(t, fs.FileMode(0o600), key.Mode)
	_, presence = seen.Node.Lookup("/var/lib/cni/networks")
	assert.Equal(t, node.Absent, presence)
	config, _ := seen.Node.Lookup(k3s.ConfigFile)
	assert.Contains(t, string(config.Data), OnSQLite.Configuration)
}

// rights matches what the launcher logs of what it may do.
var rights = regexp.MustCompile(`capabilities ([0-9a-f]+), modules of ([0-9]+) kernels`)

// Rights are the capabilities that K3s had in a first start, as the bits of a number,
// and how many kernels' modules it saw.
func Rights(t testing.TB, seen *rehearsal.Observation) (capabilities uint64, kernels int) {
	t.Helper()
	found := rights.FindStringSubmatch(strings.Join(seen.Log, "\n"))
	require.NotNil(t, found, "%v", seen.Log)
	capabilities, err := strconv.ParseUint(found[1], 16, 64)
	require.NoError(t, err)
	kernels, err = strconv.Atoi(found[2])
	require.NoError(t, err)
	return capabilities, kernels
}

// The capabilities that change a machine beyond every namespace.
const (
	capSysModule = 1 << 16
	capSysRawIO  = 1 << 17
	capSysBoot   = 1 << 22
	capSysTime   = 1 << 25
)

// Dangerous are the capabilities that change a machine beyond every namespace.
const Dangerous = uint64(capSysModule | capSysRawIO | capSysBoot | capSysTime)

// RequireArguments fails unless the components of the node at root that know where the
// state is kept were started as is worked out of what the rehearsal adds to the node's
// own command, and where that replaces something not as is worked out without it.
func (n Node) RequireArguments(t testing.TB, root string, r *rehearsal.Request, seen *rehearsal.Observation) {
	t.Helper()
	flags := func(e *k3s.Effective) (out []string) {
		for _, d := range e.Differences(k3s.APIServer, seen.Started[k3s.APIServer]) {
			if d.Flag == "etcd-servers" || d.Flag == "etcd-cafile" {
				out = append(out, d.Flag)
			}
		}
		for _, d := range e.Differences(k3s.Scheduler, seen.Started[k3s.Scheduler]) {
			out = append(out, d.Flag)
		}
		return out
	}
	assert.Empty(t, flags(n.Effective(t, root, r.Added...)))
	if r.StandIn != "" {
		assert.Equal(t, []string{"etcd-servers", "leader-elect"}, flags(n.Effective(t, root)))
	}
}

// Misbehaviours are the ways in which the launcher does otherwise than K3s, each with
// what is seen of it at a first start.
func Misbehaviours() map[string]func(*testing.T, *rehearsal.Observation) {
	return map[string]func(*testing.T, *rehearsal.Observation){
		"exit": func(t *testing.T, o *rehearsal.Observation) {
			assert.Equal(t, "status 1", o.Exited)
			assert.False(t, o.Up)
			assert.Empty(t, o.Answers)
		},
		"hang": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Late)
			assert.False(t, o.Up)
			assert.GreaterOrEqual(t, o.LateAfter, 3*time.Second)
		},
		"dies": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Up)
			assert.Equal(t, "status 3", o.Exited)
		},
		"argument": func(t *testing.T, o *rehearsal.Observation) {
			assert.Contains(t, o.Started[k3s.APIServer], k3s.Argument{Name: "audit-log-maxage", Value: "3", Origin: k3s.Origin{Source: "log of K3s"}})
		},
		"certificate": func(t *testing.T, o *rehearsal.Observation) {
			e, _ := o.Node.Lookup("/var/lib/rancher/k3s/server/tls/serving-kube-apiserver.key")
			assert.Equal(t, fs.FileMode(0o666), e.Mode)
		},
		"admit": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Answers["privileged-default"].Admitted())
		},
		"refuse": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Answers["restricted-default"].Refused())
		},
		"no-account": func(t *testing.T, o *rehearsal.Observation) {
			a := o.Answers["privileged-default"]
			assert.False(t, a.Refused() || a.Admitted() || a.Found, "refused for another reason: %+v", a)
		},
		"clear": func(t *testing.T, o *rehearsal.Observation) { assert.True(t, o.Stored.Clear && o.Stored.Key) },
		"fill":  func(t *testing.T, o *rehearsal.Observation) { assert.True(t, o.Full) },
		"silent": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Up)
			assert.False(t, o.Answers[rehearsal.AskReady].Found)
			assert.Equal(t, 1, o.Answers[rehearsal.AskReady].Status)
		},
		"stuck": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Up)
			assert.Empty(t, o.Answers)
		},
		"forks": func(t *testing.T, o *rehearsal.Observation) { assert.True(t, o.Up) },
		"host": func(t *testing.T, o *rehearsal.Observation) {
			for _, line := range o.Log {
				assert.NotContains(t, line, "wrote ")
				assert.NotContains(t, line, "mounted")
				assert.NotContains(t, line, "could not write")
			}
		},
	}
}
