package attest

import (
	"archive/tar"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"io"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/klauspost/compress/zstd"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

var update = flag.Bool("update", false, "write golden files")

const built = "k3s-image.node"

// made is a report of a build with one control of each status that counts.
func made(build string, created time.Time, statuses ...benchmark.Status) report.Report {
	var results []benchmark.Result
	for _, s := range statuses {
		r := benchmark.Result{ID: "node." + string(s), Key: "node." + string(s), Title: "a control", Section: "node", Expected: "x", Status: s, Evidence: []benchmark.Evidence{}}
		switch s {
		case benchmark.Pass:
			r.Found, r.Evidence = "x", []benchmark.Evidence{{Source: "/etc/x", Detail: "x"}}
		case benchmark.Waived:
			r.Reason = "waived"
			r.Waiver = &benchmark.Waiver{Control: r.ID, Reason: "a <reason>", Owner: "ops", Expires: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)}
		default:
			r.Reason = "for a reason"
		}
		results = append(results, r)
	}
	return report.New(report.Meta{
		PluginVersion: "0.1.0", Created: created, K3sVersion: "v1.36.3+k3s1", Role: "server", Benchmark: "cis-2.1",
		Node: report.Node{Build: build, Datastore: "sqlite", Access: "root directory"},
	}, results)
}

// configured is a post-processor of the build node whose options are these.
func configured(t *testing.T, options map[string]any) (*PostProcessor, error) {
	t.Helper()
	p := new(PostProcessor)
	return p, p.Configure(options, map[string]any{"packer_build_name": "node", "packer_builder_type": "k3s-image"})
}

// image is an artifact of one file in a directory of its own.
func image(t *testing.T) (*packersdk.MockArtifact, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.qcow2")
	require.NoError(t, os.WriteFile(path, []byte("image"), 0o600))
	return &packersdk.MockArtifact{FilesValue: []string{path}}, path + ".test-result.json"
}

func TestSubjects(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600))
	}
	digest := func(text string) string { return digestOf([]byte(text)) }
	for name, c := range map[string]struct {
		artifact packersdk.MockArtifact
		want     map[string]string
		err      string
	}{
		"files":    {artifact: packersdk.MockArtifact{FilesValue: []string{dir + "/a", dir + "/b"}}, want: map[string]string{"a": digest("a"), "b": digest("b")}},
		"no file":  {artifact: packersdk.MockArtifact{FilesValue: []string{dir + "/c"}}, err: "/c: no such file"},
		"identity": {artifact: packersdk.MockArtifact{FilesValue: []string{}, BuilderIdValue: "mitchellh.amazonebs", IdValue: "eu-1:ami-1"}, want: map[string]string{"mitchellh.amazonebs:eu-1:ami-1": digest(`{"builderId":"mitchellh.amazonebs","id":"eu-1:ami-1"}`)}},
		"state": {
			artifact: packersdk.MockArtifact{FilesValue: []string{}, BuilderIdValue: "b", IdValue: "i", StateValues: map[string]any{"par.artifact.metadata": struct {
				Z, A string
			}{"<", "1"}}},
			want: map[string]string{"b:i": digest(`{"builderId":"b","id":"i","state":{"A":"1","Z":"\u003c"}}`)},
		},
		"state that JSON has not": {
			artifact: packersdk.MockArtifact{FilesValue: []string{}, BuilderIdValue: "b", IdValue: "i", StateValues: map[string]any{"par.artifact.metadata": func() {}}},
			want:     map[string]string{"b:i": digest(`{"builderId":"b","id":"i"}`)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := subjects(&c.artifact)
			if c.err != "" {
				assert.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			have := map[string]string{}
			for _, s := range got {
				have[s.Name] = s.Digest["sha256"]
			}
			assert.Equal(t, c.want, have)
		})
	}
}

func TestStatement(t *testing.T) {
	r := made(built, time.Date(2026, 11, 23, 8, 30, 0, 0, time.UTC), benchmark.Pass, benchmark.Waived, benchmark.Manual, benchmark.Deferred, benchmark.NotApplicable)
	got, err := statement(nil, r, digestOf([]byte("report")))
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, json.Indent(&out, append(got, '\n'), "", "  "))
	golden := filepath.Join("testdata", "statement.json")
	if *update {
		require.NoError(t, os.WriteFile(golden, out.Bytes(), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), out.String())
}

func TestResult(t *testing.T) {
	for want, statuses := range map[string][]benchmark.Status{
		`"result":"PASSED"`: {benchmark.Pass, benchmark.Manual},
		`"result":"WARNED"`: {benchmark.Pass, benchmark.Waived},
		`"result":"FAILED"`: {benchmark.Pass, benchmark.Waived, benchmark.Fail},
		`["node.error"]`:    {benchmark.Pass, benchmark.Error},
		"":                  {benchmark.Manual},
	} {
		got, err := statement(nil, made(built, time.Now(), statuses...), digestOf(nil))
		if want == "" {
			assert.ErrorContains(t, err, "judged nothing")
			continue
		}
		require.NoError(t, err)
		assert.Contains(t, string(got), want)
	}
}

func TestRefusals(t *testing.T) {
	passing := func(build string, at time.Time) []byte { return encode(t, made(build, at, benchmark.Pass)) }
	now := time.Now()
	for name, c := range map[string]struct {
		files map[string][]byte
		err   string
	}{
		"nothing there":   {err: "report: "},
		"not a report":    {files: map[string][]byte{"report.json": []byte("{}")}, err: "report.json: "},
		"another build":   {files: map[string][]byte{"report.json": passing("qemu.other", now)}, err: `is of the build "qemu.other", and this is "k3s-image.node"`},
		"earlier run":     {files: map[string][]byte{"report.json": passing(built, now.Add(-2*time.Second))}, err: "before this run began"},
		"own of before":   {files: map[string][]byte{"report.json": passing("qemu.other", now), built + "/report.json": passing(built, now.Add(-time.Hour))}, err: "before this run began"},
		"own directory":   {files: map[string][]byte{"report.json": passing("qemu.other", now), built + "/report.json": passing(built, now.Add(time.Second))}},
		"in the same run": {files: map[string][]byte{"report.json": passing(built, now.Add(time.Second))}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p, err := configured(t, map[string]any{"report": dir})
			require.NoError(t, err)
			p.started = now
			for file, data := range c.files {
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), data, 0o600))
			}
			a, path := image(t)
			got, keep, must, err := p.PostProcess(t.Context(), packersdk.TestUi(t), a)
			assert.Same(t, a, got)
			assert.True(t, keep && must)
			if c.err == "" {
				require.NoError(t, err)
				assert.FileExists(t, path)
				return
			}
			assert.ErrorContains(t, err, c.err)
			assert.NoFileExists(t, path)
		})
	}
}

// TestBundle: everything about an image in one file, the same for the same, and
// every member's digest under the one signature.
func TestBundle(t *testing.T) {
	dir := t.TempDir()
	r := made(built, time.Now().Add(time.Second), benchmark.Pass, benchmark.Manual)
	r.Results[1].Attestation = &benchmark.Attestation{Control: "node.manual", Statement: "Reviewed.", By: "Jo Smith"}
	require.NoError(t, report.Write(dir, r))
	a, path := image(t)
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(path), "node.qcow2.provenance.json"), []byte("{}"), 0o600))
	p, err := configured(t, map[string]any{"report": dir, "bundle": true})
	require.NoError(t, err)
	run := func() []byte {
		_, _, _, err = p.PostProcess(t.Context(), packersdk.TestUi(t), a)
		require.NoError(t, err)
		data, err := os.ReadFile(filepath.Join(filepath.Dir(path), "node.qcow2.evidence.tar.zst"))
		require.NoError(t, err)
		return data
	}
	data := run()
	assert.Equal(t, data, run())

	plain, err := zstd.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	defer plain.Close()
	files := map[string][]byte{}
	for packed := tar.NewReader(plain); ; {
		h, err := packed.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		assert.NotContains(t, files, h.Name)
		files[h.Name], err = io.ReadAll(packed)
		require.NoError(t, err)
	}
	want := append(report.Files(), "node.qcow2.test-result.json", "node.qcow2.provenance.json", sumsFile)
	assert.ElementsMatch(t, want, slices.Collect(maps.Keys(files)))
	for name, text := range files {
		if name != sumsFile && name != "node.qcow2.test-result.json" {
			assert.Contains(t, string(files[sumsFile]), digestOf(text)+"  "+name+"\n")
		}
	}
	statement := string(files["node.qcow2.test-result.json"])
	assert.Contains(t, statement, digestOf(files[sumsFile]))
	assert.Contains(t, statement, `"by":"Jo Smith"`)
}

func encode(t *testing.T, r report.Report) []byte {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, report.Write(dir, r))
	data, err := os.ReadFile(filepath.Join(dir, reportFile))
	require.NoError(t, err)
	return data
}

func armoured(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestKeys(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		return armoured("PRIVATE KEY", der)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"ed25519": pkcs8(ed), "ecdsa": pkcs8(ec), "rsa": pkcs8(rs),
		"sec1": armoured("EC PARAMETERS", []byte{6, 0}) + armoured("EC PRIVATE KEY", sec1), "pkcs1": armoured("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rs)),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var logged bytes.Buffer
			packersdk.LogSecretFilter.SetOutput(&logged)
			was := log.Writer()
			log.SetOutput(&packersdk.LogSecretFilter)
			defer log.SetOutput(was)
			p, err := configured(t, map[string]any{"report": dir, "key": text})
			require.NoError(t, err)
			log.Print(text)
			for line := range strings.Lines(text) {
				if !strings.HasPrefix(line, "-----") {
					assert.NotContains(t, logged.String(), strings.TrimSpace(line))
				}
			}
			require.NoError(t, report.Write(dir, made(built, time.Now().Add(time.Second), benchmark.Pass)))
			a, path := image(t)
			_, _, _, err = p.PostProcess(t.Context(), packersdk.TestUi(t), a)
			require.NoError(t, err)
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			var e dsse.Envelope
			require.NoError(t, json.Unmarshal(data, &e))
			payload, err := e.DecodeB64Payload()
			require.NoError(t, err)
			sig, err := base64.StdEncoding.DecodeString(e.Signatures[0].Sig)
			require.NoError(t, err)
			assert.True(t, verified(p.signer.key.Public(), dsse.PAE(payloadType, payload), sig))
			assert.False(t, verified(p.signer.key.Public(), dsse.PAE(payloadType, append(payload, ' ')), sig))
		})
	}
}

func verified(key crypto.PublicKey, message, sig []byte) bool {
	digest := sha256.Sum256(message)
	switch key := key.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, sig)
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest[:], sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], sig) == nil
	}
	return false
}

func TestBadOptions(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(broken, []byte(armoured("PRIVATE KEY", []byte("secret bytes"))), 0o600))
	for want, options := range map[string]map[string]any{
		"report is not set":           {},
		"key and key_file":            {"report": "r", "key": "k", "key_file": "f"},
		"key_file: open missing":      {"report": "r", "key_file": "missing"},
		`the "PRIVATE KEY" in it`:     {"report": "r", "key_file": broken},
		"key: no private key found":   {"report": "r", "key": "text of a key"},
		`the "ENCRYPTED PRIVATE KEY"`: {"report": "r", "key": armoured("ENCRYPTED PRIVATE KEY", []byte("x"))},
		"no private key found":        {"report": "r", "key": armoured("PUBLIC KEY", []byte("x"))},
		"signed_by":                   {"report": "r", "signed_by": "x"},
	} {
		_, err := configured(t, options)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "text of a key")
	}
}
