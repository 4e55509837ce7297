package selinux

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tree is what a root file system holds, by path.
type tree map[string]string

func (t tree) read(p string) ([]byte, error) {
	text, ok := t[p]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

const (
	contexts = "/etc/selinux/targeted/contexts/files/file_contexts"
	enabled  = "SELINUX=enforcing\nSELINUXTYPE=targeted\n"
)

func TestNoPolicy(t *testing.T) {
	rule := "/etc u:r:etc_t:s0\n"
	for name, tr := range map[string]tree{
		"nothing":                   {},
		"no configuration":          {contexts: rule},
		"switched off":              {configFile: "SELINUX=disabled\nSELINUXTYPE=targeted\n", contexts: rule},
		"switched off, in capitals": {configFile: "SELINUX = Disabled\nSELINUX=Disabled\n", contexts: rule},
		"policy not installed":      {configFile: enabled},
		"another policy":            {configFile: "SELINUX=enforcing\nSELINUXTYPE=mls\n", contexts: rule},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Load(tr.read)
			require.NoError(t, err)
			assert.Nil(t, p)
		})
	}
}

func TestLoadErrors(t *testing.T) {
	for name, c := range map[string]struct {
		tree tree
		want []string
	}{
		"a name that leads away": {tree{configFile: "SELINUXTYPE=../../tmp\n"}, []string{"/etc/selinux/config: SELINUXTYPE=../../tmp: want the name of a directory in /etc/selinux"}},
		"the directory above":    {tree{configFile: "SELINUXTYPE=..\n"}, []string{"SELINUXTYPE=.."}},
		"no name":                {tree{configFile: "SELINUXTYPE=\n"}, []string{"SELINUXTYPE=:"}},
		"every line that is wrong": {
			tree{configFile: enabled, contexts: "# fine\n/etc\n/a -x u:r:t:s0\n/b u:r:t:s0\n/c label\n", contexts + ".local": "/d -- x y\n"},
			[]string{
				contexts + `:2: "/etc": want a path expression`,
				contexts + `:3: "/a -x u:r:t:s0": want`,
				contexts + `:5: "label": want a label of the form user:role:type`,
				contexts + `.local:1: "/d -- x y": want`,
			},
		},
		"too many lines": {tree{configFile: enabled, contexts: strings.Repeat("/a u:r:t\n", maxSpecs+1)}, []string{"more than 100000 lines"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(c.tree.read)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestUnreadable(t *testing.T) {
	tr := tree{configFile: enabled, contexts: "/etc u:r:etc_t:s0\n"}
	broken := errors.New("disk fault")
	for _, name := range []string{configFile, contexts, contexts + ".homedirs", contexts + ".local", contexts + ".subs", contexts + ".subs_dist"} {
		_, err := Load(func(p string) ([]byte, error) {
			if p == name {
				return nil, broken
			}
			return tr.read(p)
		})
		require.ErrorIs(t, err, broken, name)
		require.ErrorContains(t, err, name+": ")
	}
}
