package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

func TestCheckModuleName(t *testing.T) {
	for name, want := range map[string]string{
		"k3s.pp": "", "k3s.pp.bz2": "", "own-1.cil": "", "a.b.cil": "", "k3s.cil.bz2": "",
		"k3s-selinux-1.6-1.el9.noarch.rpm": "rpm2cpio k3s-selinux-1.6-1.el9.noarch.rpm | cpio -idm",
		"k3s.te":                           "ends in .pp, .pp.bz2, .cil, .cil.bz2",
		"pp":                               "is no module of a policy",
		"1k3s.pp":                          `would not take a module named "1k3s"`,
		".pp":                              "would not take a module",
		"a b.pp":                           "would not take a module",
		"a..b.pp":                          "would not take a module",
	} {
		if err := CheckModuleName(name); want == "" {
			assert.NoError(t, err, name)
		} else {
			assert.ErrorContains(t, err, want, name)
		}
	}
}

func TestReadModule(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"k3s.pp", packageMagic + "rest", ""},
		{"k3s.pp", "<html>", "is no compiled module"},
		{"k3s.pp", "", "is no compiled module"},
		{"k3s.pp.bz2", packageMagic, "cannot be unpacked"},
		{"k3s.cil", "; (\n(block \"a)\" (type b)) ; end", ""},
		{"k3s.cil", "(block a (type b)", "is no module in CIL"},
		{"k3s.cil", "(a))", "is no module in CIL"},
		{"k3s.cil", "<html>", "is no module in CIL"},
		{"k3s.cil", "(a \"b)", "is no module in CIL"},
		{"k3s.cil", "", "is no module in CIL"},
		{"k3s.cil", "; comment", "is no module in CIL"},
	} {
		file := filepath.Join(t.TempDir(), "f")
		require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
		m, err := ReadModule(file, c.name)
		if c.want != "" {
			assert.ErrorContains(t, err, c.want, "%s %q", c.name, c.text)
			continue
		}
		require.NoError(t, err, "%s %q", c.name, c.text)
		assert.Equal(t, c.name, m.Name)
		assert.EqualValues(t, len(c.text), m.Size)
	}
}

func FuzzIsCIL(f *testing.F) {
	f.Add([]byte("; c\n(a \"b\" (c))"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if isCIL(text) {
			assert.False(t, isCIL(append([]byte(")"), text...)))
		}
	})
}

// A module goes where the node will load it, and nowhere else.
func TestModuleNeedsSELinux(t *testing.T) {
	all := map[string]string{selinuxConfig: "# a\nSELINUX=Enforcing\nSELINUXTYPE=targeted\n", "/usr/sbin/semodule": "", "/usr/sbin/restorecon": ""}
	for name, c := range map[string]struct {
		manager service.Manager
		without string
		config  string
		want    string
	}{
		"enforcing":  {manager: service.SystemdManager},
		"permissive": {manager: service.SystemdManager, config: "SELINUX=permissive\n"},
		"off":        {manager: service.SystemdManager, config: "SELINUX=disabled\n", want: "install.selinux_policy: /etc/selinux/config: found SELINUX=disabled"},
		"not said":   {manager: service.SystemdManager, config: "#SELINUX=enforcing\n", want: "found SELINUX=, with"},
		"none":       {manager: service.SystemdManager, without: selinuxConfig, want: "the node has no /etc/selinux/config"},
		"semodule":   {manager: service.SystemdManager, without: "/usr/sbin/semodule", want: "the node has no semodule"},
		"restorecon": {manager: service.SystemdManager, without: "/usr/sbin/restorecon", want: "the node has no restorecon"},
		"OpenRC":     {manager: service.OpenRCManager, want: "a service of systemd that loads"},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{BinDir: "/usr/local/bin", Module: &Module{Name: "k3s.pp"}}
			var entries []node.Entry
			for p, text := range all {
				if p == selinuxConfig && c.config != "" {
					text = c.config
				}
				if p != c.without {
					entries = append(entries, node.Entry{Path: p, Kind: node.KindFile, Data: []byte(text)})
				}
			}
			err := o.module(c.manager, node.New(Query(o), entries))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

// systemd finds nothing wrong with the service, whatever the directories are called.
func TestLoaderVerifies(t *testing.T) {
	o := Options{BinDir: "/usr/local/bin", Roles: []k3s.Role{k3s.Server}, Module: &Module{Name: "k3s.pp"}}
	have := node.New(Query(o), []node.Entry{{Path: "/usr/sbin/semodule", Kind: node.KindFile}, {Path: "/usr/sbin/restorecon", Kind: node.KindFile}})
	e := o.loader(have, []string{"/var/lib/rancher/k3s", `/srv/a "b" $c %d`})
	text := string(e.Data)
	assert.Contains(t, text, "ExecStart=/usr/sbin/semodule -i /usr/share/selinux/packages/k3s.pp\n")
	assert.Contains(t, text, `"/srv/a \"b\" $$c %%d"`)
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return // what follows CI has
	}
	dir := t.TempDir()
	unit := filepath.Join(dir, moduleService)
	// The host need not have the programs.
	text = strings.NewReplacer("/usr/sbin/semodule", "/bin/true", "/usr/sbin/restorecon", "/bin/true").Replace(text)
	require.NoError(t, os.WriteFile(unit, []byte(text), 0o644))
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", "--generators=no", unit).CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Empty(t, string(out))
}
