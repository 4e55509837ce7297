package service

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
)

func described(s *Service) string {
	if s == nil {
		return "none"
	}
	var out []string
	for _, w := range s.Start {
		out = append(out, fmt.Sprintf("%s@%s:%d", w.Text, w.Path[strings.LastIndexByte(w.Path, '/')+1:], w.Line))
	}
	for _, v := range s.Environment {
		out = append(out, fmt.Sprintf("%s=%s@%s:%d", v.Name, v.Value, v.Path[strings.LastIndexByte(v.Path, '/')+1:], v.Line))
	}
	for _, w := range s.Start {
		if w.Open != "" {
			out = append(out, fmt.Sprintf("? %s:%d: %s", w.Path, w.Line, Undetermined(w.Open)))
		}
	}
	for _, v := range s.Environment {
		if v.Open != "" {
			out = append(out, fmt.Sprintf("? %s:%d: %s", v.Path, v.Line, Undetermined(v.Open)))
		}
	}
	if s.Masked {
		out = append(out, "masked")
	}
	for _, f := range s.Faults {
		mark := "?"
		if f.Fatal {
			mark = "!"
		}
		out = append(out, fmt.Sprintf("%s %s:%d: %s", mark, f.Path, f.Line, f.Text))
	}
	return strings.Join(out, "\n")
}

const k3sUnit = `[Unit]
Description=Lightweight Kubernetes
[Service]
Type=notify
EnvironmentFile=-/etc/default/%N
EnvironmentFile=-/etc/sysconfig/%N
EnvironmentFile=-/etc/systemd/system/k3s.service.env
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStart=/usr/local/bin/k3s \
    server \
	'--protect-kernel-defaults' \

`

func TestSystemdService(t *testing.T) {
	const unit, env = "/etc/systemd/system/k3s.service", "/etc/systemd/system/k3s.service.env"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no unit": {want: "none"},
		"as the installer writes it": {
			files: map[string]string{unit: k3sUnit, env: "K3S_TOKEN='a b'\nHTTP_PROXY=x\n", "/etc/default/k3s": "K3S_TOKEN=earlier\n"},
			want:  "/usr/local/bin/k3s@k3s.service:9\nserver@k3s.service:10\n--protect-kernel-defaults@k3s.service:11\nK3S_TOKEN=a b@k3s.service.env:1\nHTTP_PROXY=x@k3s.service.env:2",
		},
		"masked by a link":         {files: map[string]string{unit: "-> /dev/null", "/usr/lib/systemd/system/k3s.service": k3sUnit}, want: "masked"},
		"a drop-in without reset":  {files: map[string]string{unit: k3sUnit, unit + ".d/a.conf": "[Service]\nExecStart=/usr/local/bin/k3s server\n"}, want: "! " + unit + ":0: more than one ExecStart: systemd refuses the unit (begin the drop-in with an empty ExecStart=)"},
		"a masked drop-in":         {files: map[string]string{unit: "[Service]\nExecStart=/k3s\n", unit + ".d/a.conf": "-> /dev/null", "/usr/lib/systemd/system/k3s.service.d/a.conf": "[Service]\nExecStart=\n"}, want: "/k3s@k3s.service:2"},
		"a variable is split":      {files: map[string]string{unit: "[Service]\nEnvironment=\"OPTS=--a=1 --b='2 3'\"\nExecStart=/k3s server $OPTS\n"}, want: "/k3s@k3s.service:3\nserver@k3s.service:3\n--a=1@k3s.service:2\n--b=2 3@k3s.service:2\nOPTS=--a=1 --b='2 3'@k3s.service:2"},
		"braces do not split":      {files: map[string]string{unit: "[Service]\nEnvironment=\"A=1 2\"\nExecStart=/k3s x${A}y $$A $B\n"}, want: "/k3s@k3s.service:3\nx1 2y@k3s.service:3\n$A@k3s.service:3\nA=1 2@k3s.service:2"},
		"a colon keeps variables":  {files: map[string]string{unit: "[Service]\nExecStart=:/k3s $A\n"}, want: "/k3s@k3s.service:2\n$A@k3s.service:2"},
		"files beat Environment":   {files: map[string]string{unit: "[Service]\nEnvironmentFile=" + env + "\nEnvironment=A=unit\nExecStart=/k3s\n", env: "A=file\n"}, want: "/k3s@k3s.service:4\nA=file@k3s.service.env:1"},
		"UnsetEnvironment":         {files: map[string]string{unit: "[Service]\nEnvironment=A=1 B=2\nUnsetEnvironment=A\nExecStart=/k3s\n"}, want: "/k3s@k3s.service:4\nB=2@k3s.service:2"},
		"a missing environment":    {files: map[string]string{unit: "[Service]\nEnvironmentFile=" + env + "\nExecStart=/k3s\n"}, want: "/k3s@k3s.service:3\n! " + unit + ":2: the environment file " + env + " does not exist: the service will not start"},
		"an emptied file list":     {files: map[string]string{unit: "[Service]\nEnvironmentFile=/nope\nEnvironmentFile=\nExecStart=/k3s\n"}, want: "/k3s@k3s.service:4"},
		"a wildcard in file names": {files: map[string]string{unit: "[Service]\nEnvironmentFile=-/etc/default/*\nExecStart=/k3s\n"}, want: "/k3s@k3s.service:3\n? " + unit + ":2: EnvironmentFile=/etc/default/*: wildcards and paths that go up are not followed, so the environment is not known: name the files"},

		"a section without a bracket":   {files: map[string]string{unit: "[Service\nExecStart=/k3s\n"}, want: "! " + unit + ":1: \"[Service\", which is no section: systemd refuses the unit"},
		"the same in a drop-in ends it": {files: map[string]string{unit: "[Service]\nExecStart=/k3s\n", unit + ".d/a.conf": "[Service]\nEnvironment=A=1\n[Service\nEnvironment=B=1\n"}, want: "/k3s@k3s.service:2\nA=1@a.conf:2"},
		"an empty program":              {files: map[string]string{unit: "[Service]\nExecStart=@\n"}, want: "! " + unit + ":2: no program in ExecStart: systemd refuses the unit"},
		"a program without its name":    {files: map[string]string{unit: "[Service]\nExecStart=@/k3s\n"}, want: "! " + unit + ":2: no name for the program behind the prefix @ in ExecStart: systemd refuses the unit"},
		"such errors behind a dash":     {files: map[string]string{unit: "[Service]\nExecStart=-@/k3s\nExecStart=/k3s\n"}, want: "/k3s@k3s.service:3"},
		"another command is refused":    {files: map[string]string{unit: "[Service]\nExecStartPre=/bin/\nExecStart=/k3s\n"}, want: "! " + unit + ":2: a directory for a program in ExecStartPre: systemd refuses the unit"},
		"the prefix of newer releases": {files: map[string]string{unit: "[Service]\nExecStart=|/k3s server\n"}, want: "/k3s@k3s.service:2\nserver@k3s.service:2\n? " + unit +
			":2: the prefix | in ExecStart is refused by older releases of systemd and runs the command through a shell in newer ones, so what starts is not judged: leave it out"},
		"specifiers": {files: map[string]string{unit: "[Service]\nExecStart=/k3s %h %E %t %j %n %%\n"}, want: "/k3s@k3s.service:2\n/root@k3s.service:2\n/etc@k3s.service:2\n/run@k3s.service:2\nk3s@k3s.service:2\nk3s.service@k3s.service:2\n%@k3s.service:2"},
		"specifiers of the image": {
			files: map[string]string{unit: "[Service]\nExecStart=/k3s %H %l %m %o %w\n", "/etc/hostname": "# c\nn1.example.org\n", "/etc/machine-id": "0123456789abcdef0123456789abcdef\n", "/usr/lib/os-release": "ID=debian\nVERSION_ID=\"12\"\n"},
			want:  "/k3s@k3s.service:2\nn1.example.org@k3s.service:2\nn1@k3s.service:2\n0123456789abcdef0123456789abcdef@k3s.service:2\ndebian@k3s.service:2\n12@k3s.service:2",
		},
		"a host name that is not there": {files: map[string]string{unit: "[Service]\nExecStart=/k3s %H\n"}, want: "/k3s@k3s.service:2\n%H@k3s.service:2\n? " + unit + ":2: %H is known on the running machine only, so what it stands for here is not judged: write the value"},
		"an unknown specifier":          {files: map[string]string{unit: "[Service]\nExecStart=/k3s %Z\n"}, want: "! " + unit + ":2: a specifier that systemd does not know in ExecStart: systemd refuses the unit"},
		"one that was taken back":       {files: map[string]string{unit: "[Service]\nExecStart=/k3s %v\n", unit + ".d/a.conf": "[Service]\nExecStart=\nExecStart=/k3s\n"}, want: "/k3s@a.conf:3"},
		"a variable systemd sets":       {files: map[string]string{unit: "[Service]\nExecStart=/k3s $HOME\n"}, want: "/k3s@k3s.service:2\n? " + unit + ":2: systemd sets HOME when it starts the service, so what it stands for here is not judged: write the value"},
		"no name behind a dollar":       {files: map[string]string{unit: "[Service]\nExecStart=/k3s $A-b ${A-b}x ${A:-b} $ a$b\n"}, want: "/k3s@k3s.service:2\nx@k3s.service:2\n${A:-b}@k3s.service:2\na$b@k3s.service:2"},
		"PassEnvironment":               {files: map[string]string{unit: "[Service]\nEnvironment=A=1\nPassEnvironment=A B\nUnsetEnvironment=\nExecStart=/k3s\n"}, want: "/k3s@k3s.service:5\nA=1@k3s.service:2\n? " + unit + ":3: a variable that PassEnvironment= names has a value on the running machine only, so it is not judged: set it with Environment="},
		"UnsetEnvironment taken back":   {files: map[string]string{unit: "[Service]\nEnvironment=A=1\nUnsetEnvironment=A\nUnsetEnvironment=\nExecStart=/k3s\n"}, want: "/k3s@k3s.service:5\nA=1@k3s.service:2"},
		"an unknown escape ends a line": {files: map[string]string{unit: "[Service]\nEnvironment=A=1 B=\\q C=1\nExecStart=/k3s\n"}, want: "/k3s@k3s.service:3\nA=1@k3s.service:2"},
		"DefaultEnvironment": {
			files: map[string]string{unit: "[Service]\nEnvironment=B=unit\nExecStart=/k3s\n", "/etc/systemd/system.conf": "[Manager]\nDefaultEnvironment=A=1 B=1\n", "/usr/lib/systemd/system.conf.d/x.conf": "[Manager]\nDefaultEnvironment=A=2\n"},
			want:  "/k3s@k3s.service:3\nA=2@x.conf:2\nB=unit@k3s.service:2",
		},
		"what is in /run is gone":      {files: map[string]string{"/run/systemd/system/k3s.service": "[Service]\nExecStart=/k3s\n"}, want: "none"},
		"an empty drop-in hides":       {files: map[string]string{unit: "[Service]\nExecStart=/k3s\n", unit + ".d/a.conf": "-> /gone", "/usr/lib/systemd/system/k3s.service.d/a.conf": "[Service]\nExecStart=\n"}, want: "/k3s@k3s.service:2"},
		"a link to itself elsewhere":   {files: map[string]string{unit: "-> /usr/lib/systemd/system/k3s.service", "/usr/lib/systemd/system/k3s.service": "[Service]\nExecStart=/k3s\n"}, want: "/k3s@k3s.service:2"},
		"a link that leads nowhere":    {files: map[string]string{unit: "-> /opt/k3s.service"}, want: "! " + unit + ":0: leads to no file: systemd cannot load the unit"},
		"an environment file not text": {files: map[string]string{unit: "[Service]\nEnvironmentFile=" + env + "\nEnvironmentFile=-/etc/default/k3s\nExecStart=/k3s\n", env: "A=1\nB=\xff\n", "/etc/default/k3s": "A=\x00\n"}, want: "/k3s@k3s.service:4\n! " + unit + ":2: the environment file " + env + " holds text that is not UTF-8: the service will not start"},
	} {
		t.Run(name, func(t *testing.T) {
			n := nodetest.Files(SystemdQuery("k3s", "/etc/default/k3s", "/etc/sysconfig/k3s", env), c.files)
			s, err := FromSystemd(n, "k3s")
			require.NoError(t, err)
			assert.Equal(t, c.want, described(s))
		})
	}
}

// TestSystemdAlias follows an alias to the unit that systemd loads, by name.
func TestSystemdAlias(t *testing.T) {
	const etc, vendor = "/etc/systemd/system/", "/usr/lib/systemd/system/"
	files := map[string]string{
		etc + "k3s.service":                 "-> " + vendor + "k3s-server.service",
		vendor + "k3s-server.service":       "[Service]\nExecStart=/k3s vendor\n",
		etc + "k3s-server.service":          "[Service]\nExecStart=/k3s admin\nEnvironment=N=%N\n",
		etc + "rke.service":                 "-> k3s.service",
		etc + "k3s-server.service.d/a.conf": "[Service]\nEnvironment=A=own\n",
		etc + "k3s.service.d/a.conf":        "[Service]\nEnvironment=A=alias\n",
		etc + "rke.service.d/b.conf":        "[Service]\nEnvironment=B=alias\n",
	}
	q := SystemdQuery("k3s")
	for range 3 {
		s, err := FromSystemd(nodetest.Files(q, files), "k3s")
		var unknown *node.UnknownPathError
		if errors.As(err, &unknown) { // what the alias brings is asked for as it is found
			q = append(q, SystemdQuery(strings.TrimSuffix(path.Base(strings.TrimSuffix(unknown.Path, ".d")), ".service"))...)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, "/k3s@k3s-server.service:2\nadmin@k3s-server.service:2\nN=%N@k3s-server.service:3\nA=own@a.conf:2\nB=alias@b.conf:2\n"+
			"? "+etc+"k3s-server.service:3: %N is known on the running machine only, so what it stands for here is not judged: write the value", described(s))
		return
	}
	t.Fatal("the questions never end")
}

func TestSystemdServiceUnknown(t *testing.T) {
	const unit = "/etc/systemd/system/k3s.service"
	for name, c := range map[string]struct {
		node *node.Node
		want string
	}{
		"never collected":      {node.New(nil, nil), "/etc/systemd/system.control/k3s.service was not looked at"},
		"an unreadable unit":   {nodetest.Files(SystemdQuery("k3s"), map[string]string{unit: "unread: denied"}), unit + " cannot be read: denied"},
		"an unreadable dropin": {nodetest.Files(SystemdQuery("k3s"), map[string]string{unit: "[Service]\nExecStart=/k3s\n", unit + ".d/a.conf": "unread: denied"}), unit + ".d/a.conf cannot be read: denied"},
		"an environment file nobody asked for": {
			nodetest.Files(SystemdQuery("k3s"), map[string]string{unit: "[Service]\nExecStart=/k3s\nEnvironmentFile=-/opt/k3s.env\n"}), "/opt/k3s.env was not looked at",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := FromSystemd(c.node, "k3s")
			require.ErrorContains(t, err, c.want)
		})
	}
}

const k3sScript = `#!/sbin/openrc-run

depend() {
    after network-online
    want cgroups
}

supervisor=supervise-daemon
name=k3s
command="/usr/local/bin/k3s"
command_args="server \
	'--protect-kernel-defaults' \
	'--kube-apiserver-arg' \
	'a=\"b c\"' \

    >>/var/log/k3s.log 2>&1"

set -o allexport
if [ -f /etc/environment ]; then . /etc/environment; fi
if [ -f /etc/rancher/k3s/k3s.env ]; then . /etc/rancher/k3s/k3s.env; fi
set +o allexport
`

func TestOpenRCService(t *testing.T) {
	const script, env = "/etc/init.d/k3s", "/etc/rancher/k3s/k3s.env"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no script": {want: "none"},
		"as the installer writes it": {
			files: map[string]string{script: k3sScript, env: "K3S_TOKEN='a b'\n", "/etc/environment": "export K3S_URL=x\n"},
			want:  "/usr/local/bin/k3s@k3s:10\nserver@k3s:11\n--protect-kernel-defaults@k3s:12\n--kube-apiserver-arg@k3s:13\na=\"b c\"@k3s:14\nK3S_URL=x@environment:1\nK3S_TOKEN=a b@k3s.env:1",
		},
		"computed arguments":      {files: map[string]string{script: "command=/k3s\ncommand_args=\"server $OPTS\"\n"}, want: "/k3s@k3s:1\nserver@k3s:2\n? " + script + ":2: command_args: '$' is computed by the shell, so the command line is not known"},
		"an open quote":           {files: map[string]string{script: "command_args=\"server\n"}, want: "server@k3s:1\n? " + script + ":1: the quote of command_args is never closed"},
		"settings in conf.d":      {files: map[string]string{script: "command=/k3s\n", "/etc/conf.d/k3s": "command_args=\"server\"\n"}, want: "/k3s@k3s:1\n? /etc/conf.d/k3s:1: sets command_args, which the script may override"},
		"sources a computed name": {files: map[string]string{script: "command=/k3s\n. $X\n"}, want: "/k3s@k3s:1\n? " + script + ":2: sources $X, which cannot be followed"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := FromOpenRC(nodetest.Files(OpenRCQuery("k3s"), c.files), "k3s")
			require.NoError(t, err)
			assert.Equal(t, c.want, described(s))
		})
	}
	_, err := FromOpenRC(node.New(nil, nil), "k3s")
	require.ErrorContains(t, err, "was not looked at")
}

func FuzzUnit(f *testing.F) {
	f.Add(k3sUnit, "A=1")
	f.Add("[Service]\nExecStart=/k3s 'a\\x4", "export A='\n\"")
	f.Fuzz(func(t *testing.T, unit, env string) {
		const p = "/etc/systemd/system/k3s.service"
		n := nodetest.Files(SystemdQuery("k3s", "/etc/default/k3s", "/etc/sysconfig/k3s", p+".env"), nil)
		n = node.New(n.Query(), []node.Entry{
			{Path: p, Kind: node.KindFile, Data: []byte(unit), Size: int64(len(unit))},
			{Path: p + ".env", Kind: node.KindFile, Data: []byte(env), Size: int64(len(env))},
		})
		s, err := FromSystemd(n, "k3s")
		if err != nil {
			return
		}
		if len(s.Start) > 0 { // no command without a line that gives it
			require.Contains(t, unit, "ExecStart")
		}
		for _, w := range s.Start {
			require.Positive(t, w.Line)
		}
		for _, v := range s.Environment {
			require.True(t, variableName(v.Name))
			require.Positive(t, v.Line)
		}
	})
}

func FuzzOpenRC(f *testing.F) {
	f.Add(k3sScript)
	f.Fuzz(func(t *testing.T, script string) {
		s, err := FromOpenRC(nodetest.Files(OpenRCQuery("k3s"), map[string]string{"/etc/init.d/k3s": script}), "k3s")
		if err == nil {
			for _, w := range s.Start {
				require.LessOrEqual(t, w.Line, strings.Count(script, "\n")+1)
			}
		}
	})
}

func FuzzEnvironmentFile(f *testing.F) {
	f.Add([]byte("A=1\n# c\nB='x\ny'\"z\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, v := range EnvironmentFile("f", data) {
			require.True(t, variableName(v.Name))
			require.Contains(t, string(data), v.Name)
		}
	})
}
