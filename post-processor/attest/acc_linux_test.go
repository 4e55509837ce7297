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
    attestations = ["manual.yaml"]
  }
  post-processors {
    post-processor "provenance" {
      signing_mode = "key"
      signer       = "key.pem"
    }
    post-processor "k3s-attest" {
      report   = "report"
      key_file = "key.pem"
      bundle   = true
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
	require.NoError(t, os.WriteFile(filepath.Join(dir, "manual.yaml"), []byte("- {control: 5.1.1, statement: Reviewed., by: Jo Smith, when: 2020-01-01, until: 2999-01-01}\n"), 0o600))
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
	assert.Contains(t, got, sumsFile)
	delete(got, reportFile)
	delete(got, sumsFile)
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
	audit(t, p, dir)
}

// audit does as an auditor would who has the image, the bundle and the public key
// alone, and then again with one byte changed in each.
func audit(t *testing.T, p *packertest.Packer, dir string) {
	bundle, err := os.ReadFile(filepath.Join(dir, "image/node.tar.evidence.tar.zst"))
	require.NoError(t, err)
	image, err := os.ReadFile(filepath.Join(dir, "image/node.tar"))
	require.NoError(t, err)
	key, err := os.ReadFile(filepath.Join(dir, "key.pub"))
	require.NoError(t, err)
	steps := func(change string) (refused string, said string) {
		room := t.TempDir()
		for name, data := range map[string][]byte{"node.tar": image, "attest.pub": key, "evidence.tar.zst": bundle} {
			require.NoError(t, os.WriteFile(filepath.Join(room, name), data, 0o600))
		}
		out, err := shell(room, "tar --zstd -xf evidence.tar.zst")
		require.NoError(t, err, out)
		if change != "" {
			data, err := os.ReadFile(filepath.Join(room, change))
			require.NoError(t, err)
			data[len(data)/2] ^= 1
			require.NoError(t, os.WriteFile(filepath.Join(room, change), data, 0o600))
		}
		for _, artifact := range []string{"node.tar", sumsFile} {
			r := p.Run(t, room, "verify-attestation", "-verifier", "attest.pub", "-predicate-type", predicateType, "-artifact", artifact, "node.tar.test-result.json")
			if r.ExitCode != 0 {
				return artifact, r.Output
			}
		}
		if out, err := shell(room, "sha256sum --check --strict --quiet "+sumsFile); err != nil {
			return "sha256sum", out
		}
		out, err = shell(room, "sed '/^## Figures/,$d' report.md")
		require.NoError(t, err)
		return "", out
	}
	refused, said := steps("")
	require.Empty(t, refused, said)
	for _, word := range []string{"node.tar", "CIS Kubernetes Benchmark, version", "Jo Smith", "Catalogue's SHA-256"} {
		assert.Contains(t, said, word)
	}
	for change, by := range map[string]string{
		"node.tar": "node.tar", "attest.pub": "node.tar", "node.tar.test-result.json": "node.tar", sumsFile: sumsFile,
		"report.json": "sha256sum", "report.md": "sha256sum", "report.html": "sha256sum", "node.tar.provenance.json": "sha256sum",
	} {
		refused, said := steps(change)
		assert.Equal(t, by, refused, "%s: %s", change, said)
	}
}

// shell is what a command says in a directory.
func shell(dir, command string) (string, error) {
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}
