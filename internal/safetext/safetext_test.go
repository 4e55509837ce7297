package safetext_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

func TestLinesKeepsLineBreaksAlone(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb\n":                 "a\nb\n",
		"a\r\nb":                 "a\nb",
		"done\rfail":             `done\x0dfail`,
		"\x1b[2Jx\n\x1b]0;t\x07": "\\x1b[2Jx\n\\x1b]0;t\\x07",
		"a\u009b31mb":            `a\u009b31mb`,
		"a\u202eb\u2066c":        `a\u202eb\u2066c`,
		"a\tb\x7f":               `a b\x7f`,
		"a\xffb":                 `a\xffb`,
		"a\u2028b":               `a\u2028b`,
	} {
		assert.Equal(t, want, safetext.Lines(in), "%q", in)
	}
	long := safetext.Lines("a\n" + strings.Repeat("x", 1<<20) + "\nb")
	assert.Less(t, len(long), 3000)
	assert.True(t, strings.HasSuffix(long, "… (1048576 bytes in all)\nb"), "the other lines stay")
	many := strings.Repeat("a line\n", 10_000)
	assert.Equal(t, many, safetext.Lines(many))
}

func TestPasswordsAreHidden(t *testing.T) {
	for in, want := range map[string]string{
		"see http://u:pw@proxy:3128/x.":                 "see http://(hidden)@proxy:3128/x.",
		"http://u:pa%zz@p":                              "http://(hidden)@p",
		`path "/postgres:/k:pw@db/server"`:              `path "/postgres:/(hidden)@db/server"`,
		"http://u:p@w@p":                                "http://(hidden)@p",
		"proxy user:pw@proxy:3128":                      "proxy (hidden)@proxy:3128",
		"k3s:pw@tcp(db:3306)/k3s":                       "(hidden)@tcp(db:3306)/k3s",
		"postgres://db/k3s?user=k&password=pw&x=y":      "postgres://db/k3s?user=k&password=(hidden)&x=y",
		"host=db user=k password='p w' dbname=k":        "host=db user=k password=(hidden) dbname=k",
		"https://example.org/a:b":                       "https://example.org/a:b",
		"image@sha256:0123":                             "image@sha256:0123",
		"k3s@node.service: stopped":                     "k3s@node.service: stopped",
		"BoundServiceAccountToken=true":                 "BoundServiceAccountToken=true",
		"token=/run/token":                              "token=/run/token",
		"cis-2.1: 82 of 134 controls proven, 37 manual": "cis-2.1: 82 of 134 controls proven, 37 manual",
	} {
		assert.Equal(t, want, safetext.Passwords(in), in)
		assert.Equal(t, want, safetext.Passwords(want), "hiding once is enough")
	}
}

func TestValueHidesWhatIsNoURL(t *testing.T) {
	for in, want := range map[string]string{
		"/etc/x":                      "/etc/x",
		"https://h:6443":              "https://h:6443",
		"http://u:p@h/":               "http://(hidden)@h/",
		"http://u:a b@h/":             "(hidden)",
		"http://u:pa%zz@p":            "(hidden)",
		"user:pw@proxy:3128":          "(hidden)",
		"user@proxy":                  "user@proxy",
		"https://h/?password=x":       "(hidden)",
		"https://h/?pass%77ord=x":     "(hidden)",
		"name=tailscale,joinSecret=x": "(hidden)",
		"a=b,c=d":                     "a=b,c=d",
	} {
		assert.Equal(t, want, safetext.Value(in), in)
	}
}

func TestNameShowsWordsAlone(t *testing.T) {
	for in, shown := range map[string]bool{
		"tokn": true, "protect-kernel-default": true, "evnt_qps": true, "node-label+": true, "EnforceX": true,
		"K10abc": false, "a:b": false, "s3cret": false, "a b": false, "": false, strings.Repeat("a", 41): false, "\x1b[1m": false,
	} {
		want := safetext.Hidden
		if shown {
			want = in
		}
		assert.Equal(t, want, safetext.Name(in), in)
	}
}

func TestYAMLFault(t *testing.T) {
	for text, want := range map[string]string{
		"a: b\ntoken: *hunter2\n":         "an alias (*name) that no anchor (&name) is there for",
		"token: !!int hunter2\n":          "a value that does not fit its tag",
		"token: hunter2\ntoken: [hunter2": "did not find expected ',' or ']'",
		"token: 'hunter2":                 "found unexpected end of stream",
		"a:\n\thunter2: b":                "found character that cannot start any token",
		"a: &hunter2 [*hunter2]":          "an anchor that contains itself",
		"<<: hunter2\na: b":               "a merge (<<) of what is no mapping",
	} {
		var out map[string]any
		err := yaml.Unmarshal([]byte(text), &out)
		require.Error(t, err, text)
		_, what := safetext.YAMLFault(err)
		assert.Equal(t, want, what)
	}
	line, what := safetext.YAMLFault(errors.New("yaml: line 3: hunter2"))
	assert.Equal(t, 3, line)
	assert.Equal(t, "not valid YAML", what)
}

// FuzzYAMLFault: what both libraries say of a broken file quotes none of it.
func FuzzYAMLFault(f *testing.F) {
	for _, seed := range []string{"*%s", "a: *%s", "!!int %s", "'%s", "{%s: 1", "%s: 1\n%s: 2", "!%s x", "<<: %s", "&%s [*%s]", "%%%s x", "[%s"} {
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "Zq7xS3cret"
		text := []byte(strings.ReplaceAll(before, "%s", secret) + secret + after)
		var out map[string]int
		var items yamlv2.MapSlice
		for _, err := range []error{yaml.Unmarshal(text, &out), yamlv2.UnmarshalStrict(text, &items), yamlv2.Unmarshal(text, &out)} {
			if err == nil {
				continue
			}
			_, what := safetext.YAMLFault(err)
			assert.NotContains(t, what, secret)
			assert.NotEmpty(t, what)
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add("a\x1b[31m\r\n\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		got := safetext.Lines(s)
		assert.Equal(t, got, safetext.Lines(got))
		for _, r := range got {
			require.True(t, unicode.IsPrint(r) || r == '\n', "%q", r)
		}
	})
}
