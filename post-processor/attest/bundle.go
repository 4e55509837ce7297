package attest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

// sumsFile lists the digests of what is in a bundle, as sha256sum prints them. It
// is a subject of the statement, so that one signature holds for all of them.
const sumsFile = "SHA256SUMS"

// member is a file of a bundle.
type member struct {
	name string
	data []byte
}

// members are what a bundle has beside the statement: the report in every format
// that lies with it, and Packer's own provenance of the artifact where that was
// made before.
func members(found evidence, provenance string) ([]member, error) {
	var out []member
	dir := filepath.Dir(found.path)
	for _, name := range report.Files() {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if name == reportFile {
			data, err = found.data, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, member{name, data})
	}
	data, err := os.ReadFile(provenance)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	return append(out, member{filepath.Base(provenance), data}), err
}

// sums lists the digests of members.
func sums(all []member) []byte {
	var b bytes.Buffer
	for _, m := range all {
		fmt.Fprintf(&b, "%s  %s\n", digestOf(m.data), m.name)
	}
	return b.Bytes()
}

// bundle packs members: a tar with zstd, the same for the same.
func bundle(all []member, created time.Time) ([]byte, error) {
	var b bytes.Buffer
	packed, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(packed)
	for _, m := range all {
		if err := t.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: m.name, Mode: 0o644, Size: int64(len(m.data)), ModTime: created, Format: tar.FormatPAX,
		}); err != nil {
			return nil, err
		}
		if _, err := t.Write(m.data); err != nil {
			return nil, err
		}
	}
	err = errors.Join(t.Close(), packed.Close())
	return b.Bytes(), err
}

// provenanceOf is where Packer's provenance puts its file beside a statement.
func provenanceOf(statement string) string {
	return strings.TrimSuffix(statement, statementEnding) + ".provenance.json"
}

// bundleOf is where the bundle goes beside a statement.
func bundleOf(statement string) string {
	return strings.TrimSuffix(statement, statementEnding) + ".evidence.tar.zst"
}
