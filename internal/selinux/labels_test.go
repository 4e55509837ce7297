package selinux

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var example = tree{
	configFile: "# comment\nSELINUX=permissive\nSELINUXTYPE=targeted \n",
	contexts: `
# the order matters: the last that matches wins
/.*	system_u:object_r:default_t:s0
/etc(/.*)?	system_u:object_r:etc_t:s0
/etc/hosts	--	system_u:object_r:net_conf_t:s0
/etc/.*\.pid	system_u:object_r:etc_runtime_t:s0
/var/lib/colou?r	system_u:object_r:colour_t:s0
/var/lib/rancher/k3s(/.*)?	system_u:object_r:container_var_lib_t:s0
/var/lib/rancher/k3s/(data|agent)	-d	system_u:object_r:k3s_data_t:s0
/mnt/[^/]*/.*	<<none>>
/usr/lib/systemd/system(/.*)?	system_u:object_r:systemd_unit_t:s0
/alternatives/a|/alternatives/b	system_u:object_r:either_t:s0
`,
	contexts + ".homedirs":  "/root(/.*)?	unconfined_u:object_r:user_home_t:s0\n",
	contexts + ".local":     "/etc/rancher(/.*)?	system_u:object_r:local_t:s0\n/etc/host.*	system_u:object_r:late_t:s0\n",
	contexts + ".subs":      "# ours\n/srv/k3s /var/lib/rancher/k3s\n/data /unused\n/data/units /etc/systemd/system\n",
	contexts + ".subs_dist": "/etc/systemd/system /usr/lib/systemd/system\n/etc /nowhere/but/longer/wins\n/whole\n/top /\n",
}

func TestLabels(t *testing.T) {
	// Without the substitution that swallows /etc.
	tr := tree{}
	for name, text := range example {
		tr[name] = text
	}
	tr[contexts+".subs_dist"] = "/etc/systemd/system /usr/lib/systemd/system\n/whole\n/top /\n"
	p, err := Load(tr.read)
	require.NoError(t, err)
	for _, c := range []struct{ path, kind, want string }{
		{"/etc", "d", "system_u:object_r:etc_t:s0"},
		{"/etc/x/y", "-", "system_u:object_r:etc_t:s0"},
		{"/etcetera", "-", "system_u:object_r:default_t:s0"},
		{"/etc/a.pid", "-", "system_u:object_r:etc_runtime_t:s0"},
		{"/etc/apid", "-", "system_u:object_r:etc_t:s0"},
		{"/etc/new\nline", "-", "system_u:object_r:etc_t:s0"},
		{"/etc/rancher/k3s/config.yaml", "-", "system_u:object_r:local_t:s0"},
		// A plain path wins over an expression that comes later.
		{"/etc/hosts", "-", "system_u:object_r:net_conf_t:s0"},
		{"/etc/hosts", "d", "system_u:object_r:late_t:s0"},
		{"/var/lib/color", "-", "system_u:object_r:colour_t:s0"},
		{"/var/lib/colour", "-", "system_u:object_r:colour_t:s0"},
		{"/var/lib/colouur", "-", "system_u:object_r:default_t:s0"},
		{"/var/lib/rancher/k3s/server/logs", "d", "system_u:object_r:container_var_lib_t:s0"},
		{"/var/lib/rancher/k3s/data", "d", "system_u:object_r:k3s_data_t:s0"},
		{"/var/lib/rancher/k3s/data", "-", "system_u:object_r:container_var_lib_t:s0"},
		{"/var/lib/rancher", "d", "system_u:object_r:default_t:s0"},
		{"/mnt/disk/k3s", "d", ""},
		{"/mnt/disk", "d", "system_u:object_r:default_t:s0"},
		{"/root/x", "-", "unconfined_u:object_r:user_home_t:s0"},
		{"/alternatives/b", "-", "system_u:object_r:either_t:s0"},
		{"/srv/k3s/server", "d", "system_u:object_r:container_var_lib_t:s0"},
		{"/srv/k3sx", "d", "system_u:object_r:default_t:s0"},
		// The administrator's substitution, then the distribution's.
		{"/data/units/k3s.service", "-", "system_u:object_r:systemd_unit_t:s0"},
		{"/top", "d", "system_u:object_r:default_t:s0"},
		{"/top/etc", "d", "system_u:object_r:etc_t:s0"},
	} {
		got, err := p.Labels([]File{{c.path, c.kind[0]}})
		require.NoError(t, err)
		assert.Equal(t, []string{c.want}, got, "%s %s", c.path, c.kind)
	}

	many := []File{{"/etc/hosts", '-'}, {"/mnt/disk/k3s", 'd'}, {"/etc", 'd'}}
	got, err := p.Labels(many)
	require.NoError(t, err)
	assert.Equal(t, []string{"system_u:object_r:net_conf_t:s0", "", "system_u:object_r:etc_t:s0"}, got)
}

func TestSubstitutionOfTheLongest(t *testing.T) {
	p, err := Load(example.read)
	require.NoError(t, err)
	assert.Equal(t, "/usr/lib/systemd/system/x", p.substitute("/etc/systemd/system/x"))
	assert.Equal(t, "/nowhere/but/longer/wins/x", p.substitute("/etc/x"))
}

func TestLiteral(t *testing.T) {
	for pattern, want := range map[string]string{
		"/etc/hosts": "/etc/hosts", "/etc(/.*)?": "/etc", "/usr/s?bin": "/usr/", "/a/b*": "/a/", "/a/b{2}": "/a/", "/a/b+": "/a/b",
		`/a\.b`: "/a", "/a|/b": "", "(?i)/a": "", "/é?": "/", "?": "", ".*": "",
	} {
		assert.Equal(t, want, literal(pattern), pattern)
	}
}

// What this library's expressions do not have is an error where it matters.
func TestExpressionThatCannotBeRead(t *testing.T) {
	p, err := Load(tree{configFile: enabled, contexts: "/etc(/.*)?	u:r:etc_t:s0\n/etc/(?!x).*	u:r:other_t:s0\n"}.read)
	require.NoError(t, err)
	_, err = p.Labels([]File{{"/etc/y", '-'}})
	require.ErrorContains(t, err, contexts+`:2: "/etc/(?!x).*" cannot be compared with /etc/y`)
	labels, err := p.Labels([]File{{"/etc", 'd'}})
	require.NoError(t, err)
	assert.Equal(t, []string{"u:r:etc_t:s0"}, labels)
}

// The shortcuts find what trying every line in its turn finds.
func FuzzPolicy(f *testing.F) {
	f.Add(example[contexts], example[contexts+".subs"], "/etc/rancher/k3s")
	f.Add("/a|/b u:r:t\n/é? -d u:r:t\n\\ u:r:t\n", "/ /a\n/a /\n", "/é")
	f.Fuzz(func(t *testing.T, text, subs, name string) {
		p, err := Load(tree{configFile: enabled, contexts: text, contexts + ".subs": subs}.read)
		if err != nil || p == nil {
			return
		}
		want := ""
		for _, s := range p.specs {
			expression, err := regexp.Compile("(?s)^" + s.pattern + "$")
			if err != nil {
				return
			}
			if (s.kind == 0 || s.kind == '-') && expression.MatchString(p.substitute(name)) {
				want = s.label
				break
			}
		}
		// Another path may meet a line that cannot be read.
		if got, err := p.Labels([]File{{"/other", 'd'}, {name, '-'}}); err == nil {
			assert.Equal(t, want, got[1])
		}
	})
}
