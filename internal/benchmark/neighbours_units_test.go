package benchmark_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// neighbour is what somebody may have on a node that is hardened otherwise.
type neighbour struct {
	name string
	// bad says that something does not hold for it.
	bad bool
	// adds are files, links and whole settings that the node has too.
	adds func(*testing.T, *tree)
}

// judge holds the neighbours of a hardened server against what they are.
func judge(t *testing.T, list []neighbour) {
	base := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
	for _, x := range list {
		t.Run(x.name, func(t *testing.T) {
			tr := base.clone()
			x.adds(t, tr)
			var got []string
			for _, r := range benchmark.Evaluate(tr.input(t, "cis-2.1")) {
				if r.Status == benchmark.Fail || r.Status == benchmark.Error {
					got = append(got, r.Key+": "+r.Found+" "+r.Reason)
				}
			}
			if x.bad {
				assert.NotEmpty(t, got)
			} else {
				assert.Empty(t, got)
			}
		})
	}
}

const (
	k3sUnit   = "/etc/systemd/system/k3s.service"
	k3sStarts = "[Service]\nExecStart=/usr/local/bin/k3s server\n"
)

// starting adds settings to a unit that starts K3s as the installer's does.
func starting(settings string) func(*testing.T, *tree) {
	return func(_ *testing.T, tr *tree) { tr.file(k3sUnit, 0o644, k3sStarts+settings) }
}

// beside adds another unit to the installer's.
func beside(name, text string) func(*testing.T, *tree) {
	return func(_ *testing.T, tr *tree) {
		tr.file(k3sUnit, 0o644, k3sStarts)
		tr.file("/etc/systemd/system/"+name, 0o644, text)
	}
}

// TestUnitsThatKeepK3sFromItsFiles: the sandbox of a unit, and what systemd does
// to a directory that a unit calls its own.
func TestUnitsThatKeepK3sFromItsFiles(t *testing.T) {
	const own = "[Service]\nExecStart=/bin/true\n"
	judge(t, []neighbour{
		{"nothing", false, starting("")},
		{"all read-only", true, starting("ProtectSystem=strict\n")},
		{"/etc read-only", true, starting("ProtectSystem=full\n")},
		{"/usr read-only", false, starting("ProtectSystem=yes\n")},
		{"the last counts", false, starting("ProtectSystem=strict\nProtectSystem=no\n")},
		{"all read-only but what K3s writes", false, starting("ProtectSystem=strict\nReadWritePaths=/etc/rancher /var /run\n")},
		{"/etc read-only but what K3s writes", false, starting("ProtectSystem=full\nReadWritePaths=-/etc/rancher\n")},
		{"all read-only but /var and /run", true, starting("ProtectSystem=strict\nReadWritePaths=/var /run\n")},
		{"manifests read-only", true, starting("ReadOnlyPaths=/var/lib/rancher/k3s/server/manifests\n")},
		{"the configuration file read-only", false, starting("ReadOnlyPaths=/etc/rancher/k3s/config.yaml\n")},
		{"taken back", false, starting("ReadOnlyPaths=/etc\nReadOnlyPaths=\n")},
		{"by its old name", true, starting("ReadOnlyDirectories=/etc\n")},
		{"drop-ins hidden", true, starting("InaccessiblePaths=/etc/rancher/k3s/config.yaml.d\n")},
		{"configuration hidden", true, starting("InaccessiblePaths=-/etc/rancher\n")},
		{"homes hidden", false, starting("InaccessiblePaths=/home /root\n")},
		{"a user made for it", true, starting("DynamicUser=yes\n")},
		{"no user made for it", false, starting("DynamicUser=no\n")},
		{"a user namespace", true, starting("PrivateUsers=self\n")},
		{"no network", true, starting("PrivateNetwork=on\n")},
		{"no devices", true, starting("PrivateDevices=1\n")},
		{"no control groups", true, starting("ProtectControlGroups=true\n")},
		{"a drop-in", true, beside("k3s.service.d/h.conf", "[Service]\nProtectSystem=strict\n")},
		{"a drop-in takes back", false, func(_ *testing.T, tr *tree) {
			tr.file(k3sUnit, 0o644, k3sStarts+"ProtectSystem=strict\n")
			tr.file(k3sUnit+".d/h.conf", 0o644, "[Service]\nProtectSystem=\n")
		}},
		{"its own directory opened", true, starting("StateDirectory=rancher/k3s/server\n")},
		{"another's own directory", true, beside("o.service", own+"StateDirectory=rancher/k3s/server/logs\n")},
		{"its own directory kept", false, starting("StateDirectory=rancher/k3s/server\nStateDirectoryMode=0700\n")},
		{"its own directory as it is", false, starting("StateDirectory=rancher/k3s\n")},
		{"another user's own directory", true, beside("o.service", own+"User=app\nStateDirectory=rancher\n")},
		{"an app's own directories", false, beside("o.service", own+"User=app\nStateDirectory=app\nLogsDirectory=app\n")},
	})
}

// TestTemplateUnits: an instance of a template is a service like any other.
func TestTemplateUnits(t *testing.T) {
	const template = "/etc/systemd/system/k3s@.service"
	wanted := func(instance, command string) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) {
			tr.file(template, 0o644, "[Service]\nExecStart="+command+"\n")
			tr.put(node.Entry{Path: "/etc/systemd/system/multi-user.target.wants/k3s@" + instance + ".service", Kind: node.KindLink, Target: template})
		}
	}
	judge(t, []neighbour{
		{"with a configuration of its own", true, wanted("a", "/usr/local/bin/k3s server --config /opt/%i.yaml")},
		{"with arguments", true, wanted("a", "/usr/local/bin/k3s server --kube-apiserver-arg=anonymous-auth=true")},
		{"as the installer's", false, wanted("server", "/usr/local/bin/k3s %i")},
		{"of a client", false, beside("k3s-pods@.service", "[Service]\nExecStart=/usr/local/bin/k3s kubectl get pods\n")},
		{"beside the installer's", true, func(t *testing.T, tr *tree) {
			wanted("b", "/usr/local/bin/k3s server --config /opt/b.yaml")(t, tr)
			tr.file(k3sUnit, 0o644, k3sStarts)
		}},
	})
}

// TestExportedVariables: systemd passes over a line with export, which a shell and
// OpenRC do not; the secret is in the image either way.
func TestExportedVariables(t *testing.T) {
	defaults := func(text string) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) {
			tr.file(k3sUnit, 0o644, k3sStarts+"EnvironmentFile=-/etc/default/k3s\n")
			tr.file("/etc/default/k3s", 0o600, text)
		}
	}
	judge(t, []neighbour{
		{"a token", true, defaults("export K3S_TOKEN='abc'\n")},
		{"a token without quotes", true, defaults("  export K3S_AGENT_TOKEN=abc\n")},
		{"of another variable", true, defaults("export K3S_DATASTORE_ENDPOINT=postgres://k:p@db/k3s\n")},
		{"a name", false, defaults("export K3S_NODE_NAME='abc'\n")},
		{"an empty token", false, defaults("export K3S_TOKEN=\n")},
		{"from elsewhere", false, defaults("export K3S_TOKEN=\"$TOKEN\"\n")},
		{"a comment", false, defaults("# export K3S_TOKEN=abc\n")},
	})
}

// TestExemptUsersAreForAPerson: nothing on the node says who is an exempt user.
func TestExemptUsersAreForAPerson(t *testing.T) {
	for name, edit := range map[string][2]string{
		"a user":          {"usernames: []", `usernames: ["system:admin"]`},
		"a runtime class": {"runtimeClasses: []", "runtimeClasses: [kata]"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
			tr.edit(t, psaFile, edit[0], edit[1])
			seen := 0
			for _, r := range benchmark.Evaluate(tr.input(t, "cis-2.1")) {
				if r.Key == "podsec.privileged" || r.Key == "podsec.policy-active" {
					seen++
					assert.Equal(t, benchmark.Manual, r.Status, r.Key)
					assert.Contains(t, r.Reason, "for a person to review")
				}
			}
			assert.Equal(t, 2, seen)
		})
	}
}
