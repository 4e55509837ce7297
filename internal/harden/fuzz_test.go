package harden

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// FuzzMerge merges any configuration: no panic, and what is accepted is read
// back by K3s's rules as hardened, and merged again without a change.
func FuzzMerge(f *testing.F) {
	for _, seed := range []string{
		"", "# c\n", "token: a\n", "kubelet-arg: [a=b]\n", "kubelet-arg:\n  - a=b # c\n\n\nnode-name: x\n", "{a: b}", "a: &x b\nc: *x\n",
		"kube-apiserver-arg+:\n- enable-admission-plugins+=A\n", "protect-kernel-defaults: yes\r\n", "---\nnode-name: a\n...\n",
		"node-label:\n- >-\n  a=b\n", "? a\n: b\n", "node-name: \"a\\\n  b\"\n", "\xef\xbb\xbfnode-name: a\n", "tls-san: [\n a,\n]\n",
	} {
		f.Add(seed, "")
		f.Add("", seed)
	}
	o := newest(f)
	o.Overwrite = Overwrite{true, true, true}
	f.Fuzz(func(t *testing.T, main, drop string) {
		files := map[string]string{k3s.ConfigFile: main}
		if drop != "" {
			files[dropIn] = drop
		}
		have := having(t, o, files)
		plan, err := Make(o, have)
		var inc *Incomplete
		if err != nil {
			require.False(t, errors.As(err, &inc) && len(inc.Query) == 0)
			return
		}
		after := applied(t, o, plan, have)
		eff, err := k3s.Resolve(after, o.Release, o.Role)
		require.NoError(t, err)
		assert.True(t, eff.Bool("protect-kernel-defaults"))
		assert.True(t, eff.Bool("secrets-encryption"))
		plugins, _, _ := eff.Flag(k3s.APIServer, "enable-admission-plugins")
		assert.Contains(t, plugins, "NodeRestriction")
		again, err := Make(o, after)
		require.NoError(t, err)
		assert.Empty(t, Diff(again, after))
		_ = Diff(plan, have)
	})
}

// FuzzHideSecrets: whatever the file, a token in it does not come out.
func FuzzHideSecrets(f *testing.F) {
	f.Add("node-name: a\n", "\nnode-name: b\n")
	f.Add("{a: b", "}")
	f.Add("# ", "")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "hunter2hunter2"
		data := []byte(before + "\ntoken: " + secret + "\n" + after)
		assert.NotContains(t, string(hideSecrets(data)), secret)
	})
}
