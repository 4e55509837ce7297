package configfile

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"- a\n":                  "/c.yaml:1: found a list where K3s wants a mapping",
		"debug\n":                "/c.yaml:1: found a single value where K3s wants a mapping",
		"debug: [\n":             "is not YAML that K3s can read",
		"debug: true\n? [a]\n":   "/c.yaml:2: found a list as a key",
		"a: &x {b: c}\n<<: *x\n": "as a key where K3s wants the name of a flag",
		"a: b\n---\nc: d\n":      "/c.yaml:3: K3s reads the first YAML document alone",
	} {
		_, err := Parse("/c.yaml", []byte(text))
		assert.ErrorContains(t, err, says, text)
	}
}

func TestEdit(t *testing.T) {
	const text = "# ours\ndebug:   \"true\"   # why\n\nkubelet-arg:\n  # one\n  - \"a=1\"\n  - b=2\nnode-name: x\n"
	for _, test := range []struct {
		name, before string
		edit         func(d *Document)
		after        string
	}{
		{"nothing", text, func(*Document) {}, text},
		{"a new key", text, func(d *Document) { d.Add("write-kubeconfig-mode", "0600", false) }, text + "\n# added\nwrite-kubeconfig-mode: \"0600\"\n"},
		{"a new list", "", func(d *Document) { d.Add("kubelet-arg", "a=1", true) }, "kubelet-arg:\n  - a=1\n"},
		{"an item of a list", text, func(d *Document) { d.Add("kubelet-arg", "c=3", true) }, strings.Replace(text, "  - b=2\n", "  - b=2\n  - c=3\n", 1)},
		{"a value that becomes a list", "kubelet-arg: a=1\n", func(d *Document) { d.Add("kubelet-arg", "b=2", true) }, "kubelet-arg:\n  - a=1\n  - b=2\n"},
		{"a list that appends", text, func(d *Document) { d.Append("tls-san", "yy") }, text + "\n# added\ntls-san+:\n  - yy\n"},
		{"another value", text, func(d *Document) { e := d.Entries()[2]; d.Set(e, e.Items()[0], "yy") }, strings.Replace(text, "node-name: x", "node-name: yy", 1)},
		{"an item less", text, func(d *Document) { e := d.Entries()[1]; d.Remove(e, e.Items()[1]) }, strings.Replace(text, "  - b=2\n", "", 1)},
		{"a value on its own line less", "# c\ntls-san:\n  xx\n\ndebug:  true\n", func(d *Document) { e := d.Entries()[0]; d.Remove(e, e.Items()[0]) }, "# c\ntls-san: []\n\ndebug:  true\n"},
		{"text that YAML 1.1 has other words for", "a: b\n", func(d *Document) { d.Add("c", "on", false); d.Add("d", "n", false); d.Add("e", "true", false) }, "a: b\n\n# added\nc: \"on\"\nd: \"n\"\ne: true\n"},
		{"another name", text, func(d *Document) { d.Rename(d.Entries()[2], "node-label") }, strings.Replace(text, "node-name", "node-label", 1)},
		{"no newline at the end", "debug: true", func(d *Document) { d.Add("a", "b", false) }, "debug: true\n\n# added\na: b\n"},
		{"braces", "{debug: true} # why\n", func(d *Document) { d.Add("a", "b", false) }, "{debug: true, a: b} # why\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := Parse("/c.yaml", []byte(test.before))
			require.NoError(t, err)
			test.edit(d)
			after, err := d.Render("# added")
			require.NoError(t, err)
			assert.Equal(t, test.after, string(after))
		})
	}
}

// Of two equal keys K3s counts the last.
func TestEntries(t *testing.T) {
	d, err := Parse("/c.yaml", []byte("debug: false\nkubelet-arg+: [a=1]\ndebug: true\n"))
	require.NoError(t, err)
	entries := d.Entries()
	require.Len(t, entries, 2)
	assert.Equal(t, "true", entries[0].Items()[0].Value)
	assert.Equal(t, "/c.yaml:3", d.Place(entries[0].Key))
	assert.True(t, entries[1].Plus)
	assert.Equal(t, "kubelet-arg", entries[1].Name)
}

// FuzzEdit: what is added stands after what was there, of which no byte changes
// where lines can be edited, and the result means both.
func FuzzEdit(f *testing.F) {
	for _, text := range []string{
		"", "debug: true\n", "# c\nkubelet-arg:\n- a=1\n# d\n", "{a: b}", "a: |\n  x\nb: &x [c]\nd: *x\n", "a:\r\n- b\r\n", "---\na: b\n...\n", "a: [b,\n  c]\n", "null\n", "a: b\na: c\n",
	} {
		f.Add([]byte(text), "value")
	}
	f.Fuzz(func(t *testing.T, data []byte, value string) {
		d, err := Parse("/c.yaml", data)
		if err != nil {
			return
		}
		same, err := d.Render("# added")
		require.NoError(t, err)
		if data != nil {
			require.Equal(t, data, same)
		}
		before, err := plain(d.root)
		if err != nil {
			return
		}
		const key = "not-there-before"
		if strings.Contains(string(data), key) {
			return
		}
		d.Add(key, value, true)
		after, err := d.Render("# added")
		if err != nil {
			return // refused, and nothing is written
		}
		got, err := decode(after)
		require.NoError(t, err)
		require.True(t, equalPlain(append(before, pair{key, []string{"- " + value}}), got), "%q became %q", data, after)
		if spliced, ok := d.splice("# added"); ok && string(spliced) == string(after) {
			require.True(t, strings.HasPrefix(string(after), string(data)), "%q became %q", data, after)
		}
	})
}
