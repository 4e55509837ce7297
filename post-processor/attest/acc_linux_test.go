package attest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

const template = `
source "k3s-image" "node" {
  rootfs_directory = %q
  output_directory = "image"
  vm_name          = "node"
  format           = "tar"
}
build {
  sources = ["source.k3s-image.node"]
  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    report_dir  = "report"
  }
  post-processors {
    post-processor "k3s-attest" {
      report   = "report"
      key_file = "key.pem"
    }
    post-processor "provenance" {
      signing_mode = "key"
      signer       = "key.pem"
    }
  }
}
`

// subjectsOf are the digests of an envelope's subjects by name.
func subjectsOf(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var envelope struct{ Payload string }
	require.NoError(t, json.Unmarshal(data, &envelope))
	payload, err := base64.StdEncoding.DecodeString(envelope.Payload)
	require.NoError(t, err)
	var s struct {
		Subject []struct {
			Name   string
			Digest map[string]string
		}
	}
	require.NoError(t, json.Unmarshal(payload, &s))
	out := map[string]string{}
	for _, subject := range s.Subject {
		out[subject.Name] = subject.Digest["sha256"]
	}
	return out
}

func TestAccAttest(t *testing.T) {
	p := packertest.New(t, nil)
	tree := t.TempDir()
	for _, dir := range []string{"etc/sysctl.d", "usr/bin", "usr/local/bin", "var/lib"} {
		require.NoError(t, os.MkdirAll(filepath.Join(tree, dir), 0o755))
	}
	require.NoError(t, os.Chmod(tree, 0o755))
	dir := packertest.Write(t, fmt.Sprintf(template, tree))
	for _, key := range []string{"key", "other"} {
		for _, args := range [][]string{
			{"genpkey", "-algorithm", "ed25519", "-out", key + ".pem"},
			{"pkey", "-in", key + ".pem", "-pubout", "-out", key + ".pub"},
		} {
			cmd := exec.Command("openssl", args...)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
		}
	}
	r := p.Run(t, dir, "build", ".")
	require.Zero(t, r.ExitCode, r.Output)

	image, att, rep := "image/node.tar", "image/node.tar.test-result.json", "report/report.json"
	got, want := subjectsOf(t, filepath.Join(dir, att)), subjectsOf(t, filepath.Join(dir, "image/node.tar.provenance.json"))
	assert.Contains(t, got, reportFile)
	delete(got, reportFile)
	assert.Equal(t, want, got)

	for name, from := range map[string]string{"image": image, "report": rep, "envelope": att} {
		data, err := os.ReadFile(filepath.Join(dir, from))
		require.NoError(t, err)
		data[len(data)/2] ^= 1
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name+"-changed"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+"-changed", filepath.Base(from)), data, 0o600))
	}
	for name, c := range map[string]struct {
		key, kind, artifact, att string
		ok                       bool
	}{
		"image":                  {"key.pub", predicateType, image, att, true},
		"report":                 {"key.pub", predicateType, rep, att, true},
		"changed image":          {"key.pub", predicateType, "image-changed/node.tar", att, false},
		"changed report":         {"key.pub", predicateType, "report-changed/report.json", att, false},
		"changed envelope":       {"key.pub", predicateType, image, "envelope-changed/node.tar.test-result.json", false},
		"another key":            {"other.pub", predicateType, image, att, false},
		"another predicate type": {"key.pub", "https://slsa.dev/provenance/v1", image, att, false},
	} {
		r := p.Run(t, dir, "verify-attestation", "-verifier", c.key, "-predicate-type", c.kind, "-artifact", c.artifact, c.att)
		assert.Equal(t, c.ok, r.ExitCode == 0, "%s: %s", name, r.Output)
	}
}
