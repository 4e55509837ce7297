package benchmark_test

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/launchertest"
)

const startedUnit = "[Service]\nExecStart=/usr/local/bin/k3s server\n"

// rehearsedNode is a hardened node with a service, and what its controls ask.
func rehearsedNode(t *testing.T, change ...func(*tree)) benchmark.Input {
	t.Helper()
	tr := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1", func(o *harden.Options) {
		o.Args = map[k3s.Component][]string{k3s.Kubelet: {"fail-cgroupv1=false"}} // as where the log was recorded
	})
	tr.file("/etc/systemd/system/k3s.service", 0o644, startedUnit)
	tr.put(node.Entry{Path: "/usr/local/bin/k3s", Kind: node.KindFile, Mode: 0o755, Unread: "too large"})
	for _, c := range change {
		c(tr)
	}
	return tr.input(t, "cis-2.1")
}

// goodStart is what a first start of that node shows: the recorded log and files.
func goodStart(t *testing.T, in benchmark.Input) *benchmark.FirstStart {
	t.Helper()
	s := benchmark.FirstStartSubject(in)
	o := &rehearsal.Observation{
		Up: true, UpAfter: 11 * time.Second, Log: strings.Split(strings.TrimSpace(launchertest.Log), "\n"),
		Started: map[k3s.Component][]k3s.Argument{},
		Stored:  rehearsal.Stored{Looked: true, Key: true, Providers: []string{"aescbc"}},
		Node:    recordedFiles(t, s.Files),
		Answers: map[string]rehearsal.Answer{
			rehearsal.AskReady: {Found: true, Lines: []string{"ok"}}, rehearsal.AskSecret: {Found: true, Lines: []string{"created"}},
			rehearsal.AskAddOns: {}, rehearsal.AskEvents: {}, rehearsal.AskPolicies: {}, rehearsal.AskAccounts: {},
		},
	}
	for _, line := range o.Log {
		if c, args, known := k3s.LoggedArguments(line); known {
			o.Started[c] = args
		}
	}
	say := func(ask, line string) {
		a := o.Answers[ask]
		a.Found, a.Lines = true, append(a.Lines, line)
		o.Answers[ask] = a
	}
	for _, name := range s.AddOns {
		say(rehearsal.AskAddOns, "kube-system/"+name+";")
		say(rehearsal.AskEvents, name+" AppliedManifest Applied manifest")
	}
	for _, name := range s.Policies {
		say(rehearsal.AskPolicies, name+` {"podSelector":{},"policyTypes":["Ingress"],"ingress":[{"from":[{"podSelector":{}}]}]}`)
	}
	for _, ns := range s.Accounts {
		say(rehearsal.AskAccounts, ns+" false;")
	}
	for _, ns := range s.Namespaces {
		o.Answers[rehearsal.AskPrivileged+ns] = rehearsal.Answer{Status: 1, Found: true, Lines: []string{"Error from server (Forbidden): violates PodSecurity \"restricted:latest\": privileged"}}
		o.Answers[rehearsal.AskRestricted+ns] = rehearsal.Answer{Found: true, Lines: []string{"pod/x created (server dry run)"}}
	}
	return &benchmark.FirstStart{Seen: o, Subject: s}
}

// recordedFiles are the files of the recorded first start.
func recordedFiles(t *testing.T, q node.Query) *node.Node {
	t.Helper()
	var entries []node.Entry
	for line := range strings.Lines(launchertest.Files) {
		words := strings.Fields(line)
		require.Len(t, words, 3)
		e := node.Entry{Path: words[2], Kind: node.KindFile}
		switch words[0][0] {
		case 'd':
			e.Kind = node.KindDirectory
		case 'l':
			continue
		case 's':
			e.Kind = node.KindOther
		}
		for i, c := range words[0][1:] {
			if c != '-' {
				e.Mode |= 1 << (8 - i)
			}
		}
		entries = append(entries, e)
	}
	return node.New(q, entries)
}

func resultOf(t *testing.T, in benchmark.Input, key string) benchmark.Result {
	t.Helper()
	for _, r := range benchmark.Evaluate(in) {
		if r.Key == key {
			return r
		}
	}
	require.Fail(t, "no result for "+key)
	return benchmark.Result{}
}

func tallied(results []benchmark.Result, status benchmark.Status) (n int, ids []string) {
	for _, r := range results {
		if r.Status == status {
			n, ids = n+1, append(ids, r.ID)
		}
	}
	return n, ids
}

func byKey(results []benchmark.Result) map[string]benchmark.Result {
	out := map[string]benchmark.Result{}
	for _, r := range results {
		out[r.Key] = r
	}
	return out
}

// TestFirstStart judges the recorded first start of the node that was hardened.
func TestFirstStart(t *testing.T) {
	in := rehearsedNode(t)
	before := benchmark.Evaluate(in)
	in.FirstStart = goodStart(t, in)
	after := benchmark.Evaluate(in)
	for _, status := range []benchmark.Status{benchmark.Fail, benchmark.Error} {
		_, ids := tallied(after, status)
		assert.Empty(t, ids, "%s", status)
	}
	_, deferred := tallied(after, benchmark.Deferred)
	assert.Equal(t, []string{"1.1.9", "1.1.10"}, deferred, "no pod ran, so that there is no state of a network plugin")
	is := byKey(after)
	proven := 0
	for _, r := range before {
		if r.Status == benchmark.Deferred && is[r.Key].Status == benchmark.Pass {
			proven++
			assert.True(t, slices.ContainsFunc(is[r.Key].Evidence, func(e benchmark.Evidence) bool { return e.Phase == benchmark.Rehearsed }), "%s has no evidence of the first start", r.ID)
		}
	}
	was, _ := tallied(before, benchmark.Deferred)
	assert.Equal(t, was-2, proven)
	assert.GreaterOrEqual(t, proven, 18)
	for _, key := range []string{"node.k3s-starts", "node.first-start.arguments", "node.first-start.pods", "node.first-start.add-ons", "node.first-start.audit-log", "node.first-start.traces"} {
		r := resultOf(t, in, key)
		assert.Equal(t, benchmark.Pass, r.Status, "%+v", r)
	}
	assert.Equal(t, "K3s was up after 11.0 s", resultOf(t, in, "node.k3s-starts").Found)
}

// TestNotRehearsed is a first start that was wanted and could not be.
func TestNotRehearsed(t *testing.T) {
	in := rehearsedNode(t)
	before := benchmark.Evaluate(in)
	in.FirstStart = &benchmark.FirstStart{Why: "this host lacks unshare"}
	after := benchmark.Evaluate(in)
	was := byKey(before)
	for _, r := range after {
		if known, there := was[r.Key]; there {
			assert.Equal(t, known, r)
			continue
		}
		assert.Equal(t, benchmark.Deferred, r.Status, r.Key)
		assert.Equal(t, "this host lacks unshare", r.Reason)
	}
	assert.Len(t, after, len(before)+5)
}

func withMode(p string, mode fs.FileMode) func(*rehearsal.Observation) {
	return func(o *rehearsal.Observation) {
		var entries []node.Entry
		for _, e := range o.Node.Entries() {
			if e.Path == p {
				e.Mode = mode
			}
			entries = append(entries, e)
		}
		o.Node = node.New(o.Node.Query(), entries)
	}
}

func withoutFile(p string) func(*rehearsal.Observation) {
	return func(o *rehearsal.Observation) {
		entries := slices.DeleteFunc(o.Node.Entries(), func(e node.Entry) bool { return e.Path == p })
		o.Node = node.New(o.Node.Query(), entries)
	}
}

func answers(name string, status int, lines ...string) func(*rehearsal.Observation) {
	return func(o *rehearsal.Observation) { o.Answers[name] = rehearsal.Answer{Status: status, Lines: lines} }
}

const tls = "/var/lib/rancher/k3s/server/tls/"

// TestFirstStartMutants changes one thing of a good first start at a time.
func TestFirstStartMutants(t *testing.T) {
	for name, m := range map[string]struct {
		control string
		breaks  func(*rehearsal.Observation)
		turns   benchmark.Status
		says    string
	}{
		"exits":                     {"node.k3s-starts", func(o *rehearsal.Observation) { o.Exited = "status 1" }, benchmark.Fail, "K3s ended with status 1"},
		"hangs":                     {"node.k3s-starts", func(o *rehearsal.Observation) { o.Up, o.Late, o.LateAfter = false, true, 180*time.Second }, benchmark.Error, "K3s was not up after 180 s"},
		"fills the scratch":         {"node.k3s-starts", func(o *rehearsal.Observation) { o.Full = true }, benchmark.Error, "was full"},
		"is not ready":              {"node.k3s-starts", answers(rehearsal.AskReady, 1, "refused"), benchmark.Error, "no answer to that effect"},
		"another argument":          {"node.first-start.arguments", relog("--audit-log-maxage=30", "--audit-log-maxage=3"), benchmark.Error, "worked out --audit-log-maxage=30, started with --audit-log-maxage=3"},
		"another argument, judged":  {"apiserver.audit-log-maxage", relog("--audit-log-maxage=30", "--audit-log-maxage=3"), benchmark.Error, "worked out --audit-log-maxage=30"},
		"an argument more":          {"node.first-start.arguments", relog("--profiling=false --root", "--profiling=false --new-flag=1 --root"), benchmark.Error, "no --new-flag"},
		"arguments not logged":      {"node.first-start.arguments", relog("Running kube-scheduler", "Runs kube-scheduler"), benchmark.Deferred, "no arguments of kube-scheduler"},
		"certificate":               {"files.pki-key.mode", withMode(tls+"serving-kube-apiserver.key", 0o666), benchmark.Fail, "0666"},
		"a file is not made":        {"files.kubelet-kubeconfig.mode", withoutFile("/var/lib/rancher/k3s/agent/kubelet.kubeconfig"), benchmark.Deferred, "kubelet.kubeconfig"},
		"a file is open":            {"files.kubelet-kubeconfig.mode", withMode("/var/lib/rancher/k3s/agent/kubelet.kubeconfig", 0o644), benchmark.Fail, "0644"},
		"files not looked at":       {"files.kubelet-kubeconfig.mode", func(o *rehearsal.Observation) { o.Node = nil }, benchmark.Deferred, "not there before K3s has run"},
		"admits a privileged pod":   {"node.first-start.pods", answers("privileged-kube-public", 0, "pod/x created (server dry run)"), benchmark.Fail, "kube-public: a privileged pod was admitted"},
		"admits one in default":     {"podsec.privileged", answers("privileged-default", 0, "pod/x created (server dry run)"), benchmark.Fail, "admitted in namespace default"},
		"refuses every pod":         {"node.first-start.pods", answers("restricted-default", 1, "violates PodSecurity"), benchmark.Fail, "fit for the level restricted was refused"},
		"refuses for another cause": {"node.first-start.pods", answers("privileged-default", 1, "error looking up service account"), benchmark.Deferred, "no answer in default"},
		"no answer about pods":      {"node.first-start.pods", func(o *rehearsal.Observation) { delete(o.Answers, "restricted-default") }, benchmark.Deferred, "no answer in default"},
		"a Secret in the clear":     {"apiserver.encryption-provider", func(o *rehearsal.Observation) { o.Stored.Clear = true }, benchmark.Fail, "as it is"},
		"a Secret not found":        {"apiserver.encryption-provider", func(o *rehearsal.Observation) { o.Stored.Key = false }, benchmark.Deferred, "not there before K3s has run"},
		"encrypted by another":      {"apiserver.encryption-provider", func(o *rehearsal.Observation) { o.Stored.Providers = []string{"none"} }, benchmark.Fail, "none"},
		"datastore not searched":    {"apiserver.encryption-provider", func(o *rehearsal.Observation) { o.Stored = rehearsal.Stored{} }, benchmark.Deferred, "not there before K3s has run"},
		"policies not deployed":     {"netpol.all-namespaces", answers(rehearsal.AskPolicies, 0), benchmark.Fail, "not in the cluster in kube-system"},
		"policies open":             {"netpol.all-namespaces", answers(rehearsal.AskPolicies, 0, `default/a {"podSelector":{},"policyTypes":["Ingress"],"ingress":[{}]}`), benchmark.Fail, "default"},
		"accounts not patched":      {"rbac.default-sa", answers(rehearsal.AskAccounts, 0, "default ;", "kube-system false;", "kube-public false;", "kube-node-lease false;"), benchmark.Fail, "in default"},
		"an add-on that fails":      {"node.first-start.add-ons", answers(rehearsal.AskEvents, 0, "k3s-cis-network-policies ApplyManifestFailed Applying manifest failed: x is invalid"), benchmark.Fail, "x is invalid"},
		"add-ons unknown":           {"node.first-start.add-ons", answers(rehearsal.AskAddOns, 1, "refused"), benchmark.Deferred, "could not be listed"},
		"audit log open":            {"node.first-start.audit-log", withMode("/var/lib/rancher/k3s/server/logs/audit.log", 0o644), benchmark.Fail, "0644"},
		"audit log not written":     {"node.first-start.audit-log", withoutFile("/var/lib/rancher/k3s/server/logs/audit.log"), benchmark.Fail, "was not written"},
		"traces":                    {"node.first-start.traces", func(o *rehearsal.Observation) { o.Traces = []string{"/etc/rancher/node/password"} }, benchmark.Fail, "/etc/rancher/node/password"},
		"traces of one that died":   {"node.first-start.traces", func(o *rehearsal.Observation) { o.Exited, o.Traces = "status 1", []string{"/etc/rancher/node"} }, benchmark.Fail, "/etc/rancher/node"},
	} {
		t.Run(name, func(t *testing.T) {
			in := rehearsedNode(t)
			in.FirstStart = goodStart(t, in)
			require.Contains(t, []benchmark.Status{benchmark.Pass}, resultOf(t, in, m.control).Status, "%+v", resultOf(t, in, m.control))
			m.breaks(in.FirstStart.Seen)
			r := resultOf(t, in, m.control)
			assert.Equal(t, m.turns, r.Status, "%+v", r)
			assert.Contains(t, r.Found, m.says)
			if r.Status == benchmark.Error && strings.Contains(r.Found, "worked out") {
				assert.Contains(t, r.Remediation, "report it")
			}
			if r.Status == benchmark.Fail || r.Status == benchmark.Error {
				assert.True(t, slices.ContainsFunc(r.Evidence, func(e benchmark.Evidence) bool { return e.Phase == benchmark.Rehearsed }), "%+v", r.Evidence)
			}
		})
	}
}

// relog changes a text of the log.
func relog(from, to string) func(*rehearsal.Observation) {
	return func(o *rehearsal.Observation) {
		clear(o.Started)
		for i, line := range o.Log {
			o.Log[i] = strings.Replace(line, from, to, 1)
			if c, args, known := k3s.LoggedArguments(o.Log[i]); known {
				o.Started[c] = args
			}
		}
	}
}

// TestStartedAgainstForecast is a node of which it was worked out that K3s exits.
func TestStartedAgainstForecast(t *testing.T) {
	in := rehearsedNode(t, func(tr *tree) {
		tr.config(t, func(m map[string]any) { m["flannel-backend"] = "no-such-backend" })
	})
	require.Equal(t, benchmark.Fail, resultOf(t, in, "node.k3s-starts").Status)
	in.FirstStart = goodStart(t, in)
	r := resultOf(t, in, "node.k3s-starts")
	assert.Equal(t, benchmark.Error, r.Status)
	assert.Contains(t, r.Found, "; and K3s started")
	assert.Contains(t, r.Remediation, "report it")
}

// TestUnknownKind is a manifest whose kind comes later.
func TestUnknownKind(t *testing.T) {
	in := rehearsedNode(t, func(tr *tree) {
		tr.file("/var/lib/rancher/k3s/server/manifests/widget.yaml", 0o600, "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a, namespace: default}\n")
	})
	in.FirstStart = goodStart(t, in)
	events := in.FirstStart.Seen.Answers[rehearsal.AskEvents]
	for i, line := range events.Lines {
		if strings.HasPrefix(line, "widget ") {
			events.Lines[i] = `widget ApplyManifestFailed failed: no matches for kind "Widget" in version "example.com/v1"`
		}
	}
	r := resultOf(t, in, "node.first-start.add-ons")
	assert.Equal(t, benchmark.Deferred, r.Status)
	assert.Contains(t, r.Found, "of kinds that the API server does not have: widget")
}

// asRehearsed is what K3s is started with where words are added to its command.
func asRehearsed(t *testing.T, in benchmark.Input, added ...string) *k3s.Effective {
	t.Helper()
	e, err := k3s.ResolveAdded(in.Node, in.Effective.Release, in.Role, "", added...)
	require.NoError(t, err)
	return e
}

// TestFirstStartAgainstSQLite is a node whose datastore is elsewhere: what SQLite shows
// is shown and said to be so, and the rest is as without a rehearsal.
func TestFirstStartAgainstSQLite(t *testing.T) {
	elsewhere := func(tr *tree) {
		tr.config(t, func(m map[string]any) { m["datastore-endpoint"] = "postgres://k3s@db/k3s" })
	}
	in := rehearsedNode(t, elsewhere)
	before := byKey(benchmark.Evaluate(in))
	in.FirstStart = goodStart(t, in)
	in.FirstStart.Effective, in.FirstStart.StandIn = asRehearsed(t, in, "--datastore-endpoint=sqlite://"), rehearsal.AgainstSQLite
	after := byKey(benchmark.Evaluate(in))
	for _, key := range []string{"node.first-start.arguments", "apiserver.encryption-provider"} {
		assert.Equal(t, benchmark.Pass, after[key].Status, "%+v", after[key])
		assert.Contains(t, after[key].Found, "with SQLite in the place of the datastore elsewhere")
	}
	starts := after["node.k3s-starts"]
	assert.Equal(t, before["node.k3s-starts"].Status, starts.Status, "whether it starts with the node's datastore was not seen")
	assert.Equal(t, before["node.k3s-starts"].Phase, starts.Phase)
	assert.Contains(t, starts.Found, "; K3s was up after 11.0 s, with SQLite in the place of the datastore elsewhere")
	for key, r := range after {
		assert.NotContains(t, []benchmark.Status{benchmark.Fail, benchmark.Error}, r.Status, "%s: %s", key, r.Found)
		for _, e := range r.Evidence {
			if e.Phase == benchmark.Rehearsed {
				assert.NotContains(t, e.Detail, "etcd-servers", "%s rests on what was replaced", key)
			}
		}
	}

	in.FirstStart.Effective = nil
	r := resultOf(t, in, "node.first-start.arguments")
	assert.Equal(t, benchmark.Error, r.Status, "the node's own arguments are not those of the rehearsal")

	in.FirstStart.Effective = asRehearsed(t, in, "--datastore-endpoint=sqlite://")
	in.FirstStart.Seen.Exited = "status 1"
	assert.Equal(t, benchmark.Fail, resultOf(t, in, "node.k3s-starts").Status)
}

// TestFirstStartOfAgent is an agent that has joined a server of the rehearsal's own.
func TestFirstStartOfAgent(t *testing.T) {
	tr := hardened(t, "v1.36.3+k3s1", k3s.Agent, "cis-2.1", func(o *harden.Options) {
		o.Args = map[k3s.Component][]string{k3s.Kubelet: {"fail-cgroupv1=false"}}
	})
	tr.file("/etc/systemd/system/k3s-agent.service", 0o644, "[Service]\nExecStart=/usr/local/bin/k3s agent\n")
	tr.put(node.Entry{Path: "/usr/local/bin/k3s", Kind: node.KindFile, Mode: 0o755, Unread: "too large"})
	in := tr.input(t, "cis-2.1")
	require.Equal(t, k3s.Agent, in.Role)
	before := benchmark.Evaluate(in)
	start := func() benchmark.Input {
		in := in
		in.FirstStart = goodStart(t, in)
		in.FirstStart.Effective, in.FirstStart.StandIn = asRehearsed(t, in, "--server=https://127.0.0.1:16443", "--token-file=/x"), rehearsal.OnOwnServer
		for _, c := range []k3s.Component{k3s.APIServer, k3s.ControllerManager, k3s.Scheduler} {
			delete(in.FirstStart.Seen.Started, c)
		}
		in.FirstStart.Seen.Stored = rehearsal.Stored{}
		in.FirstStart.Seen.Answers = map[string]rehearsal.Answer{rehearsal.AskReady: {Found: true, Lines: []string{"node/rehearsal"}}}
		return in
	}
	good := start()
	after := benchmark.Evaluate(good)
	for _, status := range []benchmark.Status{benchmark.Fail, benchmark.Error} {
		_, ids := tallied(after, status)
		assert.Empty(t, ids, "%s", status)
	}
	was, _ := tallied(before, benchmark.Deferred)
	_, deferred := tallied(after, benchmark.Deferred)
	assert.Equal(t, []string{"1.1.9", "1.1.10"}, deferred)
	assert.GreaterOrEqual(t, was, 8)
	assert.Equal(t, "K3s was up after 11.0 s, with a server of the rehearsal's own in the place of the cluster's", resultOf(t, good, "node.k3s-starts").Found)
	for _, key := range []string{"node.first-start.arguments", "node.first-start.traces", "node.k3s-starts"} {
		r := resultOf(t, good, key)
		assert.Equal(t, benchmark.Pass, r.Status, "%+v", r)
		assert.Equal(t, benchmark.Rehearsed, r.Phase)
	}
	assert.Len(t, after, len(before)+5)

	for name, m := range map[string]struct {
		control string
		breaks  func(*rehearsal.Observation)
		turns   benchmark.Status
		says    string
	}{
		"has not joined":        {"node.k3s-starts", answers(rehearsal.AskReady, 0, ""), benchmark.Error, "the node has joined"},
		"exits":                 {"node.k3s-starts", func(o *rehearsal.Observation) { o.Exited = "status 1" }, benchmark.Fail, "K3s ended with status 1"},
		"another argument":      {"node.first-start.arguments", relog("--read-only-port=0", "--read-only-port=10255"), benchmark.Error, "started with --read-only-port=10255"},
		"no arguments":          {"node.first-start.arguments", func(o *rehearsal.Observation) { delete(o.Started, k3s.Kubelet) }, benchmark.Deferred, "no arguments of kubelet"},
		"an open kubeconfig":    {"files.kubelet-kubeconfig.mode", withMode("/var/lib/rancher/k3s/agent/kubelet.kubeconfig", 0o644), benchmark.Fail, "0644"},
		"no kubeconfig":         {"files.kubelet-kubeconfig.mode", withoutFile("/var/lib/rancher/k3s/agent/kubelet.kubeconfig"), benchmark.Deferred, "kubelet.kubeconfig"},
		"a flag judged by name": {"kubelet.read-only-port", relog("--read-only-port=0", "--read-only-port=10255"), benchmark.Error, "started with --read-only-port=10255"},
		"a trace":               {"node.first-start.traces", func(o *rehearsal.Observation) { o.Traces = []string{"/etc/rancher/node/password"} }, benchmark.Fail, "password"},
	} {
		t.Run(name, func(t *testing.T) {
			in := start()
			m.breaks(in.FirstStart.Seen)
			for _, c := range []k3s.Component{k3s.APIServer, k3s.ControllerManager, k3s.Scheduler} {
				delete(in.FirstStart.Seen.Started, c)
			}
			r := resultOf(t, in, m.control)
			assert.Equal(t, m.turns, r.Status, "%+v", r)
			assert.Contains(t, r.Found, m.says)
		})
	}
}

const etcdConfig = `client-transport-security:
  cert-file: /var/lib/rancher/k3s/server/tls/etcd/server-client.crt
  client-cert-auth: true
  key-file: /var/lib/rancher/k3s/server/tls/etcd/server-client.key
  trusted-ca-file: /var/lib/rancher/k3s/server/tls/etcd/server-ca.crt
peer-transport-security:
  cert-file: /var/lib/rancher/k3s/server/tls/etcd/peer-server-client.crt
  client-cert-auth: true
  key-file: /var/lib/rancher/k3s/server/tls/etcd/peer-server-client.key
  trusted-ca-file: /var/lib/rancher/k3s/server/tls/etcd/peer-ca.crt
`

// TestFirstStartOfEtcd judges what K3s wrote into etcd's configuration.
func TestFirstStartOfEtcd(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		want   map[string]benchmark.Status
	}{
		"as recorded":       {etcdConfig, map[string]benchmark.Status{}},
		"no client needed":  {strings.Replace(etcdConfig, "client-cert-auth: true", "client-cert-auth: false", 1), map[string]benchmark.Status{"2.2": benchmark.Fail}},
		"self-signed":       {strings.Replace(etcdConfig, "peer-transport-security:", "peer-transport-security:\n  auto-tls: true", 1), map[string]benchmark.Status{"2.6": benchmark.Fail}},
		"not there":         {"", every("2.", 7, benchmark.Deferred)},
		"no configuration":  {"- x\n", every("2.", 7, benchmark.Deferred)},
		"another authority": {strings.Replace(etcdConfig, "etcd/server-ca.crt", "server-ca.crt", 1), map[string]benchmark.Status{"2.7": benchmark.Fail}},
	} {
		t.Run(name, func(t *testing.T) {
			in := rehearsedNode(t, func(tr *tree) {
				tr.config(t, func(m map[string]any) { m["cluster-init"] = true })
			})
			in.FirstStart = goodStart(t, in)
			seen := in.FirstStart.Seen
			at := k3s.LayoutOf("").Etcd() + "/config"
			q := append(seen.Node.Query(), node.Pick{Path: at, Content: true})
			entries := seen.Node.Entries()
			if c.config != "" {
				entries = append(entries, node.Entry{Path: at, Kind: node.KindFile, Mode: 0o600, Data: []byte(c.config), Size: int64(len(c.config))})
			}
			seen.Node = node.New(q, entries)
			for _, r := range benchmark.Evaluate(in) {
				if r.Section != "2" {
					continue
				}
				want, named := c.want[r.ID]
				if !named {
					want = benchmark.Pass
				}
				assert.Equal(t, want, r.Status, "%+v", r)
			}
		})
	}
}

func every(prefix string, n int, s benchmark.Status) map[string]benchmark.Status {
	out := map[string]benchmark.Status{}
	for i := 1; i <= n; i++ {
		out[fmt.Sprintf("%s%d", prefix, i)] = s
	}
	return out
}
