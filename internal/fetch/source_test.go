package fetch

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// What gives access to a base is not told to whoever reads the log.
func TestProvenance(t *testing.T) {
	for source, want := range map[string]string{
		"base/root.tar.zst?archive=false":                            "base/root.tar.zst",
		"/srv/a%zz.tar?archive=false":                                "/srv/a%zz.tar",
		"file:///srv/root.tar?archive=false":                         "/srv/root.tar",
		"file:///srv/a%3Fb%23c%25.tar?archive=false":                 "/srv/a?b#c%.tar",
		"https://a/root.tar?archive=false":                           "https://a/root.tar",
		"https://a/root.tar?X-Signature=abc&archive=false":           "https://a/root.tar",
		"https://me:secret@a/root.tar?archive=false":                 "https://me:xxxxx@a/root.tar",
		"git::https://me:secret@a/b.git?ref=x&archive=false":         "git::https://me:xxxxx@a/b.git",
		"s3::https://s3.amazonaws.com/b/k?aws_access_key_secret=abc": "s3::https://s3.amazonaws.com/b/k",
	} {
		assert.Equal(t, want, Provenance(source), source)
	}
}

func TestCheck(t *testing.T) {
	for source, want := range map[string]string{
		"root.tar":             "",
		"/srv/a b:c.tar":       "",
		"file:///srv/root.tar": "",
		"HTTPS://a/root.tar":   "",
		"git::ssh://a/b.git":   "",
		"s3://a/b":             "needs a client of that store",
		"htp://me:secret@a/b":  `"htp://me:xxxxx@a/b": nothing fetches "htp"; give a path, or a URL of http, https or file`,
	} {
		errs := Check("iso_url", []string{source})
		if want == "" {
			assert.Empty(t, errs, source)
			continue
		}
		if assert.Len(t, errs, 1, source) {
			assert.ErrorContains(t, errs[0], want)
		}
	}
}
