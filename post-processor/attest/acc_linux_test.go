package attest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
  format           = "qcow2"
  disk_size        = "128M"
}
build {
  sources = ["source.k3s-image.node"]
  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    report_dir  = "report"
    attestations = ["manual.yaml"]
    kube_apiserver_args = ["profiling=true"]
    waiver {
      control = "1.2.15"
      reason  = "The load test needs profiles."
      owner   = "Ann Miller"
      expires = "2999-12-31"
    }
  }
  post-processors {
    post-processor "provenance" {
      signing_mode = "key"
      signer       = "attest.pem"
    }
    post-processor "k3s-attest" {
      report   = "report"
      key_file = "attest.pem"
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
	for _, key := range []string{"other", "attest"} { // as the page says, the last
		out, err := shell(dir, p.Programs(t), strings.Join(commands(t, "A key and its public half:"), " &&\n"))
		require.NoError(t, err, out)
		require.NoError(t, os.Rename(filepath.Join(dir, "attest.pub"), filepath.Join(dir, key+".pub")))
	}
	r := p.Run(t, dir, "build", ".")
	require.Zero(t, r.ExitCode, r.Output)

	image, att, rep := "image/node.qcow2", "image/node.qcow2.test-result.json", "report/report.json"
	got, want := subjectsOf(t, filepath.Join(dir, att)), subjectsOf(t, filepath.Join(dir, "image/node.qcow2.provenance.json"))
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
		"image":                  {"attest.pub", predicateType, image, att, true},
		"report":                 {"attest.pub", predicateType, rep, att, true},
		"changed image":          {"attest.pub", predicateType, "image-changed/node.qcow2", att, false},
		"changed report":         {"attest.pub", predicateType, "report-changed/report.json", att, false},
		"changed envelope":       {"attest.pub", predicateType, image, "envelope-changed/node.qcow2.test-result.json", false},
		"another key":            {"other.pub", predicateType, image, att, false},
		"another predicate type": {"attest.pub", "https://slsa.dev/provenance/v1", image, att, false},
	} {
		r := p.Run(t, dir, "verify-attestation", "-verifier", c.key, "-predicate-type", c.kind, "-artifact", c.artifact, c.att)
		assert.Equal(t, c.ok, r.ExitCode == 0, "%s: %s", name, r.Output)
	}
	audit(t, p, dir)
}

// commands are the shell commands on the page of this post-processor that follow a
// text.
func commands(t *testing.T, after string) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/post-processors/attest.mdx")
	require.NoError(t, err)
	_, page, found := bytes.Cut(page, []byte(after))
	require.True(t, found, after)
	_, page, _ = bytes.Cut(page, []byte("```sh\n"))
	page, _, found = bytes.Cut(page, []byte("\n```"))
	require.True(t, found, after)
	return strings.Split(string(page), "\n")
}

// audit does as an auditor would who has the image, the bundle and the public key
// alone, word for word as the page says, and then again with one byte changed in each.
func audit(t *testing.T, p *packertest.Packer, dir string) {
	page := commands(t, "Who\nhas the image, the bundle and the public key, and nothing else:")
	require.Len(t, page, 5, "what unpacks, the type, and three commands")
	unpack, kind, three := page[0], page[1], page[2:]
	programs := p.Programs(t)
	const bundle = "node.qcow2.evidence.tar.zst"
	held := map[string]string{"node.qcow2": "image/node.qcow2", "attest.pub": "attest.pub", bundle: "image/" + bundle}
	// steps says what the last command said, and which of the three refused, from 1;
	// 0 for none.
	steps := func(change string) (refused int, said string) {
		room := t.TempDir()
		flip := func(name string) {
			if name == change {
				file := filepath.Join(room, name)
				data, err := os.ReadFile(file)
				require.NoError(t, err)
				data[len(data)/2] ^= 1
				require.NoError(t, os.WriteFile(file, data, 0o600))
			}
		}
		for name, from := range held {
			data, err := os.ReadFile(filepath.Join(dir, from))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(room, name), data, 0o600))
			flip(name)
		}
		if out, err := shell(room, programs, unpack); err != nil {
			return -1, out
		}
		if held[change] == "" && change != "" {
			flip(change)
		}
		for i, command := range three {
			out, err := shell(room, programs, kind+"\n"+command)
			if err != nil {
				return i + 1, out
			}
			said = out
		}
		return 0, said
	}
	refused, said := steps("")
	require.Zero(t, refused, said)
	for _, word := range []string{
		"node.qcow2", "CIS Kubernetes Benchmark, version", "Catalogue's SHA-256", // which image, which rules
		"1.2.15", "The load test needs profiles.", "Ann Miller", "2999-12-31", // which exceptions
		"Jo Smith", "Reviewed.", // which person
	} {
		assert.Contains(t, said, word)
	}
	for change, by := range map[string]int{
		"node.qcow2": 1, "attest.pub": 1, "node.qcow2.test-result.json": 1, sumsFile: 2,
		"report.json": 2, "report.md": 2, "report.html": 2, "node.qcow2.provenance.json": 2, bundle: -1,
	} {
		refused, said := steps(change)
		assert.Equal(t, by, refused, "%s: %s", change, said)
	}
}

// shell is what commands say in a directory, with programs on the PATH.
func shell(dir, programs, commands string) (string, error) {
	cmd := exec.Command("sh", "-c", commands)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "CHECKPOINT_DISABLE=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
