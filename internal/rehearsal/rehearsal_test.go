package rehearsal_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
)

func resolve(t testing.TB, role k3s.Role, unit, config string) *k3s.Effective {
	t.Helper()
	release, err := k3s.ParseRelease("v1.36.3+k3s1")
	require.NoError(t, err)
	entries := []node.Entry{{Path: "/etc", Kind: node.KindDirectory, Mode: 0o755}}
	for p, text := range map[string]string{"/etc/systemd/system/" + role.ServiceName() + ".service": unit, k3s.ConfigFile: config} {
		if text != "" {
			entries = append(entries, node.Entry{Path: p, Kind: node.KindFile, Mode: 0o600, Data: []byte(text), Size: int64(len(text))})
		}
	}
	e, err := k3s.Resolve(node.New(k3s.Query(role, ""), entries), release, role)
	require.NoError(t, err)
	return e
}

const unit = "[Service]\nEnvironment=A=b\nExecStart=/usr/local/bin/k3s server --debug\nExecStartPost=/bin/chmod 600 /x\n"

func TestNew(t *testing.T) {
	e := resolve(t, k3s.Server, unit, "write-kubeconfig: /root/k.yaml\ncluster-init: true\nnode-name: Mine\n")
	r, err := rehearsal.New(e, e.Program, rehearsal.Subject{Namespaces: []string{"default"}, Files: node.Query{{Path: "/etc/x"}}}, 0, true)
	require.NoError(t, err)
	require.NoError(t, r.Check())
	assert.Equal(t, []string{"/usr/local/bin/k3s", "server", "--debug"}, r.Command)
	assert.Contains(t, r.Environment, "A=b")
	assert.Equal(t, rehearsal.DefaultTimeout, r.Timeout)
	assert.Contains(t, r.Files, node.Pick{Path: "/var/lib/rancher/k3s/server/db/etcd/config", Content: true})
	assert.Equal(t, []string{"/bin/chmod", "600", "/x"}, r.Asks[1].Words)
	last := r.Asks[len(r.Asks)-1]
	assert.Equal(t, rehearsal.AskKubelet, last.Name)
	assert.Equal(t, "/api/v1/nodes/mine/proxy/configz", last.Words[len(last.Words)-1])
	assert.Equal(t, "/root/k.yaml", last.Words[3])
	for _, a := range r.Asks {
		assert.NotContains(t, a.Name, " ")
		assert.True(t, len(a.Until)+len(a.Enough) > 0 || a.Name == rehearsal.AskAfterStart+"0", a.Name)
	}

	alone, err := rehearsal.New(e, e.Program, rehearsal.Subject{}, time.Minute, false)
	require.NoError(t, err)
	assert.Equal(t, "--disable-agent", alone.Command[len(alone.Command)-1])
	assert.NotEqual(t, r.Secret.Clear, alone.Secret.Clear, "each has a Secret of its own")
}

func TestImpossible(t *testing.T) {
	for name, c := range map[string]struct {
		role         k3s.Role
		unit, config string
		program      string
		says         string
	}{
		"no K3s":      {k3s.Server, unit, "", "", "K3s in the image: install"},
		"no service":  {k3s.Server, "", "x: y\n", "/usr/local/bin/k3s", "no service says"},
		"wrapper":     {k3s.Server, "[Service]\nExecStart=/opt/start.sh\n", "", "/usr/local/bin/k3s", "through a program of its own"},
		"VPN":         {k3s.Agent, strings.Replace(unit, "server", "agent", 1), "vpn-auth-file: /x\n", "/usr/local/bin/k3s", "joins a VPN"},
		"joins":       {k3s.Server, unit, "server: https://a:6443\ntoken: x\n", "/usr/local/bin/k3s", "joins a server"},
		"no API":      {k3s.Server, unit, "disable-apiserver: true\n", "/usr/local/bin/k3s", "no API server"},
		"no such key": {k3s.Server, unit, "", "/usr/local/bin/k3s", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rehearsal.New(resolve(t, c.role, c.unit, c.config), c.program, rehearsal.Subject{}, 0, false)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			var impossible *rehearsal.Impossible
			var unavailable *rehearsal.Unavailable
			if c.program == "" {
				require.ErrorAs(t, err, &unavailable)
			} else {
				require.ErrorAs(t, err, &impossible)
			}
			assert.Contains(t, err.Error(), c.says)
		})
	}
}

// TestStandIn has something stand in for what the node has elsewhere.
func TestStandIn(t *testing.T) {
	outside := resolve(t, k3s.Server, unit, "datastore-endpoint: mysql://x\ncluster-init: true\n")
	r, err := rehearsal.New(outside, outside.Program, rehearsal.Subject{}, time.Minute, false)
	require.NoError(t, err)
	assert.Equal(t, []string{"--disable-agent", "--datastore-endpoint=sqlite://"}, r.Added)
	assert.Equal(t, []string{"/usr/local/bin/k3s", "server", "--debug", "--disable-agent", "--datastore-endpoint=sqlite://"}, r.Command, "which counts over what the node says")
	assert.Equal(t, rehearsal.AgainstSQLite, r.StandIn)
	assert.Nil(t, r.Server)

	agent := resolve(t, k3s.Agent, strings.Replace(unit, "server", "agent", 1), "server: https://cluster:6443\ntoken: s3cret\nnode-name: Mine\n")
	r, err = rehearsal.New(agent, agent.Program, rehearsal.Subject{Namespaces: []string{"default"}, AddOns: []string{"x"}}, time.Minute, true)
	require.NoError(t, err)
	require.NoError(t, r.Check())
	require.NotNil(t, r.Server)
	assert.Equal(t, []string{"/usr/local/bin/k3s", "agent", "--debug"}, r.Command[:3])
	assert.Equal(t, "--server=https://127.0.0.1:16443", r.Command[3])
	assert.Equal(t, "--token-file="+r.Server.Directory+"/token", r.Command[4])
	assert.Contains(t, r.Server.Command, r.Command[4], "both have one token")
	assert.NotEmpty(t, r.Server.Files["token"])
	assert.Contains(t, r.Server.Command, "--config="+r.Server.Directory+"/config.yaml", "the node's own configuration is the agent's")
	assert.NotContains(t, strings.Join(r.Server.Environment, " "), "A=b", "and so is its environment")
	assert.Greater(t, r.Memory, int64(rehearsal.NeededMemory))
	var asks []string
	for _, a := range r.Asks {
		asks = append(asks, a.Name)
		assert.NotContains(t, a.Words, k3s.Kubeconfig)
	}
	assert.Equal(t, []string{rehearsal.AskReady, rehearsal.AskAfterStart + "0", rehearsal.AskKubelet}, asks)
	assert.Equal(t, []string{"node/mine"}, r.Asks[0].Until)
	assert.Zero(t, r.Secret, "that server's datastore is not the cluster's")
	for _, word := range append(r.Command, r.Server.Command...) {
		assert.NotContains(t, word, r.Server.Files["token"], "the command line is for all to see")
		assert.NotContains(t, word, "s3cret")
	}

	again, err := rehearsal.New(agent, agent.Program, rehearsal.Subject{}, time.Minute, true)
	require.NoError(t, err)
	assert.NotEqual(t, r.Server.Files["token"], again.Server.Files["token"])

	numbered := resolve(t, k3s.Agent, strings.Replace(unit, "server", "agent", 1), "with-node-id: true\n")
	r, err = rehearsal.New(numbered, numbered.Program, rehearsal.Subject{}, time.Minute, true)
	require.NoError(t, err)
	assert.Equal(t, rehearsal.AskAfterStart+"0", r.Asks[len(r.Asks)-1].Name, "the name of the node is not known")
}

// A kubelet whose container runtime is not K3s's own is not started.
func TestOtherRuntime(t *testing.T) {
	for _, config := range []string{"docker: true\n", "container-runtime-endpoint: unix:///run/crio.sock\n"} {
		e := resolve(t, k3s.Server, unit, config)
		_, err := rehearsal.New(e, e.Program, rehearsal.Subject{}, time.Minute, true)
		var lacks *rehearsal.Unavailable
		require.ErrorAs(t, err, &lacks)
		assert.True(t, lacks.OfAgent)
		_, err = rehearsal.New(e, e.Program, rehearsal.Subject{}, time.Minute, false)
		require.NoError(t, err)
	}
}

// Nothing can be said to a K3s that another program starts.
func TestStandInBehindProgram(t *testing.T) {
	release, err := k3s.ParseRelease("v1.36.3+k3s1")
	require.NoError(t, err)
	text := "[Service]\nExecStart=/opt/start.sh\n"
	n := node.New(k3s.Query(k3s.Server, ""), []node.Entry{
		{Path: "/etc", Kind: node.KindDirectory, Mode: 0o755},
		{Path: "/etc/systemd/system/k3s.service", Kind: node.KindFile, Mode: 0o600, Data: []byte(text), Size: int64(len(text))},
	})
	for _, command := range []string{"server", "server --datastore-endpoint=mysql://x"} {
		e, err := k3s.ResolveDeclared(n, release, k3s.Server, command)
		require.NoError(t, err)
		_, err = rehearsal.New(e, "/usr/local/bin/k3s", rehearsal.Subject{}, time.Minute, true)
		var impossible *rehearsal.Impossible
		if command == "server" {
			require.NoError(t, err)
			continue
		}
		require.ErrorAs(t, err, &impossible)
		assert.Contains(t, impossible.Reason, "/opt/start.sh")
	}
}

func small() *rehearsal.Request {
	return &rehearsal.Request{
		Command: []string{"/k3s"}, Up: []string{"up"}, Asks: []rehearsal.Ask{{Name: "ready", Until: []string{"ok"}}},
		Files: node.Query{{Path: "/var/x", Depth: node.Deep}, {Path: "/etc/c", Content: true}},
	}
}

const whole = "warning no setpriv\nlog time=\"x\" level=info msg=\"Running kubelet --a=b\"\nalive \nup 1.50\nanswer ready 0 found\nsaid ready ok\nkey \nprovider aescbc\nstored \n" +
	"entry 41ed 0 0 /var/x\nentry 8180 0 0 /var/x/a b\nentry a1ff 0 0 /var/x/link\nentry 8180 1 2 /etc/c\ncontent /etc/c a: b\ncontent /etc/c c\nlooked \ntrace /t\nend \n"

func TestRead(t *testing.T) {
	o, err := rehearsal.Read(strings.NewReader(whole), small())
	require.NoError(t, err)
	assert.True(t, o.Up)
	assert.Equal(t, 1500*time.Millisecond, o.UpAfter)
	assert.Equal(t, rehearsal.Answer{Found: true, Lines: []string{"ok"}}, o.Answers["ready"])
	assert.Equal(t, rehearsal.Stored{Looked: true, Key: true, Providers: []string{"aescbc"}}, o.Stored)
	assert.Equal(t, "b", o.Started[k3s.Kubelet][0].Value)
	assert.Equal(t, []string{"/t"}, o.Traces)
	assert.Equal(t, []string{"no setpriv"}, o.Warnings)
	e, presence := o.Node.Lookup("/etc/c")
	assert.Equal(t, node.Present, presence)
	assert.Equal(t, "a: b\nc\n", string(e.Data))
	assert.Equal(t, 1, e.UID)
	_, presence = o.Node.Lookup("/var/x/link")
	assert.Equal(t, node.Absent, presence)
}

func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"nothing":                {"", "ended before it was done"},
		"cut":                    {strings.TrimSuffix(whole, "end \n"), "ended before it was done"},
		"more behind the end":    {whole + "up 1\n", "goes on behind its end"},
		"unknown line":           {"hello\n" + whole, "no known kind"},
		"answer not asked":       {"answer other 0\n" + whole, "nobody asked for"},
		"line of no answer":      {"said ready x\n" + whole, "nobody gave"},
		"file not asked":         {"entry 8180 0 0 /etc/shadow\n" + whole, "nobody asked for"},
		"path with dots":         {"entry 8180 0 0 /var/x/../y\n" + whole, "nobody asked for"},
		"content not asked":      {"content /var/x secret\n" + whole, "nobody asked for"},
		"no mode":                {"entry zz 0 0 /var/x\n" + whole, "invalid syntax"},
		"no time":                {"up soon\n" + whole, "is no time"},
		"no status":              {"answer ready soon\n" + whole, "is no status"},
		"too long a line":        {"log " + strings.Repeat("x", 70_000) + "\n" + whole, "token too long"},
		"refused":                {"refused mounting: no\n" + whole, "mounting: no"},
		"failed":                 {"failed no such program\n" + whole, "no such program"},
		"lacks":                  {"lacks unshare\nlacks ip\n", "unshare; ip"},
		"half of an entry":       {"entry 8180 0\n" + whole, "without mode"},
		"owner below all ranges": {"entry 8180 -1 0 /var/x\n" + whole, "invalid syntax"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rehearsal.Read(strings.NewReader(c.text), small())
			require.ErrorContains(t, err, c.says)
		})
	}
	_, err := rehearsal.Read(strings.NewReader("lacks unshare\n"), small())
	var lacks *rehearsal.Unavailable
	require.ErrorAs(t, err, &lacks)
	assert.False(t, lacks.OfAgent)
	_, err = rehearsal.Read(strings.NewReader("agent cgroups\nagent kmsg\n"), small())
	require.ErrorAs(t, err, &lacks)
	assert.True(t, lacks.OfAgent)
	assert.Equal(t, []string{"cgroups", "kmsg"}, lacks.Lacks)
	_, err = rehearsal.Read(strings.NewReader("lacks unshare\nagent cgroups\n"), small())
	require.ErrorAs(t, err, &lacks)
	assert.False(t, lacks.OfAgent, "the control plane lacks something too")
	assert.Equal(t, []string{"unshare", "cgroups"}, lacks.Lacks)
}

func TestFilesNotLookedAt(t *testing.T) {
	o, err := rehearsal.Read(strings.NewReader(strings.Replace(whole, "looked \n", "", 1)), small())
	require.NoError(t, err)
	assert.Nil(t, o.Node)
}

func TestCleanLog(t *testing.T) {
	for line, want := range map[string]string{
		"Running kubelet --x=y":                          "Running kubelet --x=y",
		"use token K10abcdef0123::server:s3cret to join": "use token (hidden) to join",
		`token="s3cret" more`:                            "token=(hidden) more",
		"token: s3cret":                                  "token: (hidden)",
		"token-file: /etc/t":                             "token-file: /etc/t",
		"--datastore-endpoint=mysql://u:pw@h/db":         "--datastore-endpoint=mysql://u:(hidden)@h/db",
		"password=abc":                                   "password=(hidden)",
		"--secret-key-file=/x":                           "--secret-key-file=/x",
		"a\x1b[31mred":                                   "a\\u001b[31mred",
	} {
		got := rehearsal.CleanLog(line)
		if strings.Contains(line, "\x1b") {
			assert.NotContains(t, got, "\x1b")
			continue
		}
		assert.NotContains(t, got, "s3cret")
		assert.NotContains(t, got, "pw@")
		if !strings.Contains(line, "mysql") {
			assert.Equal(t, want, got)
		}
	}
	o := &rehearsal.Observation{Log: []string{`level=fatal msg="bad token K10aaaa::server:s3cret"`, "done"}}
	assert.Equal(t, "bad token (hidden)", o.LastWords())
	assert.Equal(t, "it logged nothing", (&rehearsal.Observation{}).LastWords())
}

func FuzzRead(f *testing.F) {
	f.Add(whole)
	f.Fuzz(func(_ *testing.T, text string) { _, _ = rehearsal.Read(strings.NewReader(text), small()) })
}
