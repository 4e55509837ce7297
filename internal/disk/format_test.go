package disk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
)

// pack compresses b.
func pack(t testing.TB, c Compression, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	switch c {
	case None:
		return b
	case Gzip:
		w := gzip.NewWriter(&out)
		_, err := w.Write(b)
		require.NoError(t, err)
		require.NoError(t, w.Close())
	case XZ:
		w, err := xz.NewWriter(&out)
		require.NoError(t, err)
		_, err = w.Write(b)
		require.NoError(t, err)
		require.NoError(t, w.Close())
	case Zstd:
		w, err := zstd.NewWriter(&out)
		require.NoError(t, err)
		_, err = w.Write(b)
		require.NoError(t, err)
		require.NoError(t, w.Close())
	default:
		require.Fail(t, "cannot compress", c)
	}
	return out.Bytes()
}

// tarOf makes an archive of headers; a regular file's body is its name.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		body := ""
		if h.Typeflag == tar.TypeReg {
			body = h.Name
			h.Size = int64(len(body))
		}
		require.NoError(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(body))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func at(n int, magic string) []byte {
	b := make([]byte, max(headSize, 4096))
	copy(b[n:], magic)
	return b
}

func TestIdentify(t *testing.T) {
	archive := tarOf(t, tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755})
	v7 := bytes.Clone(archive)
	copy(v7[257:265], make([]byte, 8)) // no magic …
	sum := int64(0)
	for i, b := range v7[:512] {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int64(b)
	}
	copy(v7[148:], []byte(octal(sum))) // … but a checksum
	qcow2 := at(0, "QFI\xfb")

	tests := map[string]struct {
		content []byte
		want    Kind
		wantErr string
	}{
		"tar":                    {content: archive, want: Kind{Tar, None}},
		"tar without magic":      {content: v7, want: Kind{Tar, None}},
		"tar.gz":                 {content: pack(t, Gzip, archive), want: Kind{Tar, Gzip}},
		"tar.xz":                 {content: pack(t, XZ, archive), want: Kind{Tar, XZ}},
		"tar.zst":                {content: pack(t, Zstd, archive), want: Kind{Tar, Zstd}},
		"qcow2":                  {content: qcow2, want: Kind{QCOW2, None}},
		"qcow2.xz":               {content: pack(t, XZ, qcow2), want: Kind{QCOW2, XZ}},
		"raw":                    {content: at(510, "\x55\xaa"), want: Kind{Raw, None}},
		"raw.zst":                {content: pack(t, Zstd, at(510, "\x55\xaa")), want: Kind{Raw, Zstd}},
		"empty":                  {content: nil, wantErr: "holds 0 bytes"},
		"a few bytes":            {content: []byte("hello"), wantErr: "holds 5 bytes"},
		"vmdk":                   {content: at(0, "KDMV"), wantErr: "is a VMDK image; a base is"},
		"iso":                    {content: at(0x8001, "CD001"), wantErr: "is an ISO 9660 image"},
		"squashfs":               {content: at(0, "hsqs"), wantErr: "is a squashfs"},
		"zip":                    {content: at(0, "PK\x03\x04"), wantErr: "is a zip archive"},
		"gzip that is broken":    {content: append([]byte{0x1f, 0x8b, 8, 0}, at(0, "x")[:600]...), wantErr: "reading as gzip"},
		"gzip header only":       {content: []byte{0x1f, 0x8b}, wantErr: "reading as gzip"},
		"zstd with huge window":  {content: []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xb8, 1, 2, 3}, wantErr: "zstd"},
		"tar with a wrong check": {content: flip(archive, 0), want: Kind{Raw, None}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "base")
			require.NoError(t, os.WriteFile(path, tt.content, 0o600))
			got, err := Identify(path)
			if tt.wantErr != "" {
				require.ErrorContains(t, err, tt.wantErr)
				assert.ErrorContains(t, err, path)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestIdentifyMissingFile(t *testing.T) {
	_, err := Identify(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func octal(n int64) string {
	const digits = "01234567"
	out := []byte("000000\x00 ")
	for i := 5; i >= 0; i-- {
		out[i] = digits[n&7]
		n >>= 3
	}
	return string(out)
}

// flip returns b with one bit of byte n turned.
func flip(b []byte, n int) []byte {
	b = bytes.Clone(b)
	b[n] ^= 1
	return b
}

func FuzzIdentify(f *testing.F) {
	f.Add(tarOf(f, tar.Header{Name: "a", Typeflag: tar.TypeReg}))
	f.Add(at(0, "QFI\xfb"))
	f.Add(pack(f, Gzip, at(510, "\x55\xaa")))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "base")
		require.NoError(t, os.WriteFile(path, b, 0o600))
		kind, err := Identify(path)
		if err == nil {
			assert.Contains(t, Formats, kind.Format)
		}
	})
}

func TestCheckQCOW2(t *testing.T) {
	image := func(change func(head []byte)) []byte {
		head := make([]byte, qcow2HeaderSize)
		copy(head, "QFI\xfb")
		binary.BigEndian.PutUint32(head[qcow2Version:], 3)
		binary.BigEndian.PutUint64(head[qcow2Size:], 1<<30)
		change(head)
		return head
	}
	put64 := func(at int, v uint64) func([]byte) {
		return func(head []byte) { binary.BigEndian.PutUint64(head[at:], v) }
	}
	put32 := func(at int, v uint32) func([]byte) {
		return func(head []byte) { binary.BigEndian.PutUint32(head[at:], v) }
	}
	tests := map[string]struct {
		content []byte
		wantErr string
	}{
		"whole":              {content: image(func([]byte) {})},
		"version 2, short":   {content: image(put32(qcow2Version, 2))[:qcow2Features]},
		"version 4":          {content: image(put32(qcow2Version, 4)), wantErr: "version 4 is not known"},
		"backing file":       {content: image(put64(qcow2BackingFile, 512)), wantErr: "has a backing file"},
		"encrypted":          {content: image(put32(qcow2Crypt, 2)), wantErr: "is encrypted"},
		"external data file": {content: image(put64(qcow2Features, externalData)), wantErr: "keeps its data in another file"},
		"no size":            {content: image(put64(qcow2Size, 0)), wantErr: "says its disk is 0 bytes"},
		"absurd size":        {content: image(put64(qcow2Size, 1<<62)), wantErr: "says its disk is"},
		"cut off":            {content: image(func([]byte) {})[:40], wantErr: "qcow2 header"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "base.qcow2")
			require.NoError(t, os.WriteFile(path, tt.content, 0o600))
			size, err := CheckQCOW2(path)
			if tt.wantErr != "" {
				require.ErrorContains(t, err, tt.wantErr)
				return
			}
			require.NoError(t, err)
			assert.EqualValues(t, 1<<30, size)
		})
	}
}
