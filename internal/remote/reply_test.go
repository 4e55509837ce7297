package remote

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// testJob asks for what testAnswer answers.
func testJob() *job {
	return &job{
		nonce: "abc", query: node.Query{{Path: "/c", Depth: node.Deep, Content: true}},
		change: &node.Change{Write: []node.Entry{{Path: "/c/b", Kind: node.KindFile}}, Kernel: map[string]string{"vm.panic_on_oom": "0"}},
		opt:    Options{KernelRead: []string{"vm.panic_on_oom"}},
	}
}

func tarOf(t testing.TB, files ...string) string {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o600}
		if target, ok := strings.CutPrefix(files[i+1], "link to "); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, target, 0
			require.NoError(t, w.WriteHeader(h))
			continue
		}
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write([]byte(files[i+1]))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return buf.String() + strings.Repeat("\x00", 512)
}

// member is a tar header with a valid checksum.
func member(name string, kind byte, size int64, change func(block []byte)) string {
	block := make([]byte, 512)
	copy(block, name)
	copy(block[100:], "0000600\x000000000\x000000000\x00")
	copy(block[124:], fmt.Sprintf("%011o\x00", size))
	copy(block[136:], "00000000000\x00        ")
	block[156] = kind
	copy(block[257:], "ustar  \x00")
	if change != nil {
		change(block)
	}
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	return string(block)
}

// records is an extended header of PAX with these keys and values.
func records(list ...string) string {
	var all strings.Builder
	for i := 0; i < len(list); i += 2 {
		text := " " + list[i] + "=" + list[i+1] + "\n"
		n := len(text)
		for n != len(strconv.Itoa(n))+len(text) {
			n = len(strconv.Itoa(n)) + len(text)
		}
		all.WriteString(strconv.Itoa(n) + text)
	}
	return member("pax", tar.TypeXHeader, int64(all.Len()), nil) + padded(all.String())
}

// hole is a sparse member as PAX has it: size bytes of nothing.
func hole(name string, size int64) string {
	n := strconv.FormatInt(size, 10)
	return records("GNU.sparse.major", "0", "GNU.sparse.minor", "1", "GNU.sparse.name", name,
		"GNU.sparse.size", n, "GNU.sparse.numblocks", "1", "GNU.sparse.map", n+",0") + member(name, tar.TypeReg, 0, nil)
}

func padded(s string) string { return s + strings.Repeat("\x00", -len(s)&511) }

const answerLines = "machine\nkernel vm.panic_on_oom 0\nk3s k3s version v1.36.3+k3s1\nchanged /c/b\nset vm.panic_on_oom\nrecovered\n" +
	"e 1 41ed 0 0 4096 /c/\ne 1 8180 0 0 5 /c/./a/\ne 1 81a4 1 2 5 /c/./b \\ /\ne 1 11b6 0 0 0 /c/./pipe/\nl /c/./dead/\nt /no where/\n"

func testAnswer(t testing.TB) string {
	t.Helper()
	return "motd\nk3s-cis abc begin raw\n" + answerLines + "k3s-cis abc content tar\n" +
		tarOf(t, "./c/a", "hello", `./c/b \ `, "link to ./c/a") + "k3s-cis abc end 12 2 0 ok\n"
}

func TestReply(t *testing.T) {
	plain := "k3s-cis abc begin raw\n" + answerLines + "k3s-cis abc content plain\nf 5 /c/a\nhello\nf 5 /c/b \\ \nhello\nk3s-cis abc end 12 2 0 ok\n"
	_, body, _ := strings.Cut(testAnswer(t), "begin raw\n")
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	coded := base64.StdEncoding.EncodeToString([]byte(body))
	for name, answer := range map[string]string{
		"tar": testAnswer(t), "plain": plain,
		"base64 over a terminal":   crlf("[sudo] password:\nk3s-cis abc begin base64\n" + coded[:100] + "\n" + coded[100:] + "\nk3s-cis abc coded\nbye\n"),
		"hex over a terminal":      crlf("k3s-cis abc begin hex\n " + hex.EncodeToString([]byte(body)) + "\nk3s-cis abc coded\n"),
		"as GNU find prints modes": strings.NewReplacer("e 1 8180 0 0 5 ", "p 1 f 600 0 0 5 ", "e 1 41ed ", "p 1 d 755 ", "e 1 11b6 ", "p 1 p 666 ").Replace(testAnswer(t)),
		"after a second try":       "k3s-cis abc ready\nk3s-cis abc cannot root\n" + testAnswer(t),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parseReply(strings.NewReader(answer), testJob(), nil)
			require.NoError(t, err)
			assert.Equal(t, []node.Entry{
				{Path: "/c", Kind: node.KindDirectory, Mode: 0o755},
				{Path: "/c/a", Kind: node.KindFile, Mode: 0o600, Size: 5, Data: []byte("hello")},
				{Path: `/c/b \ `, Kind: node.KindFile, Mode: 0o644, UID: 1, GID: 2, Size: 5, Data: []byte("hello")},
				{Path: "/c/dead", Kind: node.KindLink, Target: "/no where"},
				{Path: "/c/pipe", Kind: node.KindOther, Mode: 0o666},
			}, r.node.Entries())
			assert.Equal(t, map[string]string{"vm.panic_on_oom": "0"}, r.node.Kernel)
			assert.Equal(t, "k3s version v1.36.3+k3s1", r.node.K3sVersion)
			assert.Equal(t, []string{"/c/b"}, r.changed)
			assert.Equal(t, []string{"vm.panic_on_oom"}, r.kernelSet)
			assert.True(t, r.recovered)
		})
	}
}

func TestReplyThatCannotBeBelieved(t *testing.T) {
	whole := testAnswer(t)
	swap := func(old, new string) string {
		require.Contains(t, whole, old)
		return strings.Replace(whole, old, new, 1)
	}
	for name, c := range map[string]struct{ answer, err string }{
		"nothing":             {"", "no answer came back"},
		"another's nonce":     {strings.ReplaceAll(whole, "abc", "abd"), "no answer came back"},
		"refusal":             {"k3s-cis abc cannot tty\n", "cannot take the request: tty"},
		"killed":              {"k3s-cis abc died\n", "killed"},
		"a line less":         {swap("changed /c/b\n", ""), "cut off"},
		"a file less":         {swap("end 12 2", "end 12 3"), "cut off"},
		"no end":              {swap("k3s-cis abc end 12 2 0 ok\n", ""), "cut off"},
		"another end":         {swap("abc end", "abd end"), "cut off"},
		"tar failed":          {swap("2 0 ok", "2 2 ok"), "tar ended with 2"},
		"not ok":              {swap("2 0 ok", "2 0 failed"), "could not send"},
		"content missing":     {swap(tarOf(t, "./c/a", "hello", `./c/b \ `, "link to ./c/a"), tarOf(t, "./c/a", "hello")), "cut off"},
		"other length":        {swap("0 0 5 /c/./a/", "0 0 6 /c/./a/"), "/c/a changed while it was read"},
		"not asked for":       {swap("e 1 8180", "e 0 8180"), "which was not asked for"},
		"an error":            {swap("recovered\n", "error cannot change /c/x: disk full\n"), "cannot change /c/x: disk full"},
		"a line of no kind":   {swap("recovered\n", "rm -rf /\n"), "damaged"},
		"a strange mode":      {swap("e 1 41ed", "e 1 xyz"), "damaged"},
		"a mode not octal":    {swap("e 1 41ed", "p 1 d 789"), "damaged"},
		"more than a mode":    {swap("e 1 41ed", "p 1 d 100755"), "damaged"},
		"no kind":             {swap("e 1 41ed", "p 1  755"), "damaged"},
		"a kind of two":       {swap("e 1 41ed", "p 1 dd 755"), "damaged"},
		"a link lost":         {swap("recovered\n", "y N /c/gone/\n"), "/c/gone is a symbolic link"},
		"a link's end lost":   {swap("recovered\n", "y f /c/dead/\n"), "/c/dead is a symbolic link"},
		"a line too short":    {swap("e 1 41ed 0 0 4096 /c/", "p 1 d 755 0 0 /c/"), "damaged"},
		"unlisted":            {swap("recovered\n", "unlisted find: /c/s: Input/output error/\n"), "Input/output error"},
		"unknown encoding":    {"k3s-cis abc begin rot13\nx\nk3s-cis abc coded\n", "not known"},
		"base64 that is none": {"k3s-cis abc begin base64\n!!!\nk3s-cis abc coded\n", "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parseReply(strings.NewReader(c.answer), testJob(), nil)
			require.ErrorContains(t, err, c.err)
			assert.Nil(t, r)
		})
	}
	for k := range len(whole) - 1 {
		_, err := parseReply(strings.NewReader(whole[:k]), testJob(), nil)
		require.Error(t, err, "cut after %d of %d bytes", k, len(whole))
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte(testAnswer(f)))
	f.Add([]byte("k3s-cis abc begin raw\nk3s-cis abc content none\nk3s-cis abc end 0 0 0 ok\n"))
	f.Add([]byte("k3s-cis abc begin raw\np 1 f 4755 0 0 1 /c/x/\nk3s-cis abc content plain\nf 1 /c/x\ny\nk3s-cis abc end 1 1 0 ok\n"))
	f.Add([]byte("k3s-cis abc begin raw\ne 1 8180 0 0 1 /c/x/\nk3s-cis abc content plain\nf 1 /c/x\ny\nk3s-cis abc end 1 1 0 ok\n"))
	f.Add([]byte("k3s-cis abc begin base64\nAAAA\nk3s-cis abc coded\n"))
	f.Add([]byte("k3s-cis abc begin raw\ne 1 8180 0 0 4194304 /c/x/\nk3s-cis abc content tar\n" + hole("./c/x", node.MaxFileSize) + hole("./proc/x", node.MaxFileSize)))
	f.Add([]byte("k3s-cis abc begin hex\n" + hex.EncodeToString([]byte("p 1 f 600 0 0 0 /c/x/\nk3s-cis abc content plain\n")) + "\nk3s-cis abc coded\n"))
	f.Add([]byte("k3s-cis abc begin raw\nl /c/x/\nt x/\ns /t/\na /c/\nd /c/x/y/\nl /c/x/\nt z/\nodd /c/\nk3s-cis abc content none\nk3s-cis abc end 8 0 0 ok\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := parseReply(bytes.NewReader(data), testJob(), nil)
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(node.MaxTotalSize+16<<20+100*len(data)), "an answer of %d bytes", len(data))
		if err != nil {
			require.Nil(t, r)
			return
		}
		// What is believed is signed to the last byte and complete.
		require.Contains(t, string(data), "k3s-cis abc ")
		for _, e := range r.node.Entries() {
			require.True(t, node.PlainName(e.Path), "%q", e.Path)
			require.True(t, strings.HasPrefix(e.Path, "/"))
			if e.Data != nil {
				require.Equal(t, e.Size, int64(len(e.Data)))
			}
		}
	})
}

// FuzzPaths quotes paths for the shell and reads the plan back.
func FuzzPaths(f *testing.F) {
	for _, s := range []string{"/etc/a", "/a b/c'd", `/x\y`, "/$HOME/`id`", "/-n", "/é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if node.CheckPath(p) != nil {
			return
		}
		q := quote(p)
		require.Equal(t, p, strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(q, "'"), "'"), `'\''`, "'"))
		require.Zero(t, strings.Count(strings.ReplaceAll(q, `'\''`, ""), "'")-2, "%q", q)
	})
}
