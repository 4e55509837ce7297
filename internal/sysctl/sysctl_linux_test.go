package sysctl

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

const systemdSysctl = "/usr/lib/systemd/systemd-sysctl"

// TestSystemdSysctlAgrees lets the real systemd-sysctl apply random sets of
// files to a tree whose /proc/sys is made of plain files, and compares what it
// wrote with what Read foretells.
func TestSystemdSysctlAgrees(t *testing.T) {
	if _, err := os.Stat(systemdSysctl); os.Getuid() != 0 || err != nil {
		t.Skip("needs root, and systemd-sysctl on this machine")
	}
	rounds := 100
	if os.Getenv("PACKER_ACC") != "" {
		rounds = 1500
	}
	roots := []string{sysctlRoot(t, false), sysctlRoot(t, true)}
	g := &generator{rand.New(rand.NewSource(1))}
	different := 0
	for round := range rounds {
		root := roots[round%len(roots)]
		g.tree(t, root)
		cmd := exec.Command(systemdSysctl)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		cmd.Dir = "/"
		output, _ := cmd.CombinedOutput() // it exits with an error on lines that are no assignment

		n, err := rootfs.At(root).Read(context.Background(), Query())
		require.NoError(t, err)
		b, err := Read(n)
		require.NoError(t, err)
		same := true
		for _, p := range sysctlNames {
			data, err := os.ReadFile(filepath.Join(root, "/proc/sys", pathOf(p)))
			require.NoError(t, err)
			// The file is not cut when it is written: the first line counts.
			want, _, _ := strings.Cut(string(data), "\n")
			got := untouched
			if k, set := b.Lookup(p); set {
				got = k.Setting.Value
			}
			blank := func(r rune) bool { return r == ' ' || r == '\t' }
			want = strings.Join(strings.FieldsFunc(want, blank), " ")
			same = assert.Equal(t, want, got, "round %d, %s\n%s\n%s", round, p, g.described(t, root), output) && same
		}
		if !same {
			different++
		}
	}
	t.Logf("%d trees, %d with a difference", rounds, different)
}

// untouched is what a parameter holds before anything is set.
const untouched = "untouched"

var sysctlNames = []string{
	"kernel.panic", "kernel.panic_on_oops", "vm.overcommit_memory", "vm.panic_on_oom",
	"net.ipv4.conf.eth0.forwarding", "net.ipv4.conf.eth0/1.forwarding",
}

// sysctlRoot makes a root directory with systemd-sysctl and its libraries in
// it, /lib a link on a merged /usr.
func sysctlRoot(t *testing.T, merged bool) string {
	root := t.TempDir()
	if merged {
		require.NoError(t, os.MkdirAll(filepath.Join(root, "usr/lib"), 0o755))
		require.NoError(t, os.Symlink("usr/lib", filepath.Join(root, "lib")))
	}
	libraries, err := exec.Command("ldd", systemdSysctl).Output()
	require.NoError(t, err)
	for _, file := range append(regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1), systemdSysctl) {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		to := filepath.Join(root, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		require.NoError(t, os.WriteFile(to, data, 0o755))
	}
	return root
}

// generator makes trees of sysctl files that are hard to read.
type generator struct{ *rand.Rand }

func (g *generator) one(of ...string) string { return of[g.Intn(len(of))] }

// rarely is true once in n times.
func (g *generator) rarely(n int) bool { return g.Intn(n) == 0 }

// tree fills root with random sysctl directories and an untouched /proc/sys.
func (g *generator) tree(t *testing.T, root string) {
	dirs := []string{"/etc/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}
	require.NoError(t, os.RemoveAll(filepath.Join(root, "proc")))
	require.NoError(t, os.RemoveAll(filepath.Join(root, "etc")))
	for _, dir := range dirs {
		require.NoError(t, os.RemoveAll(filepath.Join(root, dir)))
	}
	for _, p := range sysctlNames {
		g.write(t, filepath.Join(root, "/proc/sys", pathOf(p)), untouched+"\n")
	}
	g.write(t, filepath.Join(root, "etc/elsewhere"), g.text())
	for range 1 + g.Intn(6) {
		g.file(t, filepath.Join(root, g.one(dirs...), g.one(
			"10-a.conf", "50-b.conf", "9-c.conf", "99-d.conf", "Z.conf", "a b.conf", "ä.conf", ".hidden.conf", ".conf", "..conf",
			"50-b.conf~", "x.txt", "conf", "x.CONF", "50-b.conf.bak",
		)))
	}
	if dir := filepath.Join(root, g.one(dirs...)); g.rarely(15) {
		require.NoError(t, os.RemoveAll(dir))
		switch g.Intn(3) {
		case 0:
			g.write(t, dir, "kernel.panic=1\n")
		case 1:
			require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o755))
			require.NoError(t, os.Symlink("/nowhere", dir))
		default:
			g.file(t, filepath.Join(root, "/etc/other.d/50-b.conf"))
			require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o755))
			require.NoError(t, os.Symlink("/etc/other.d", dir))
		}
	}
}

func (*generator) write(t *testing.T, file, text string) {
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
}

// file makes one entry of a sysctl directory: a file, mostly.
func (g *generator) file(t *testing.T, file string) {
	require.NoError(t, os.RemoveAll(file))
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	switch g.Intn(20) {
	case 0:
		require.NoError(t, os.Symlink(g.one("/dev/null", "../../dev/null", "/dev/../dev//null"), file))
	case 1:
		require.NoError(t, os.Symlink(g.one("/gone", filepath.Base(file), "/etc/elsewhere/x"), file))
	case 2:
		require.NoError(t, os.Symlink("/etc/elsewhere", file))
	case 3:
		g.write(t, filepath.Join(file, "10-a.conf"), g.text())
	case 4:
		g.write(t, file, "")
	case 5:
		g.write(t, file, g.text()+strings.Repeat("#", service.MaxLine-g.Intn(3))+"\n"+g.text())
	default:
		g.write(t, file, g.text())
	}
}

func (g *generator) text() string {
	var b strings.Builder
	end := "\n"
	if g.rarely(4) {
		end = g.one("\r", "\r\n", "\x00", "\n\r", "\n\x00", "\r\r")
	}
	for range g.Intn(6) {
		b.WriteString(g.line())
		if g.rarely(20) {
			b.WriteString(g.one("\\", "\r", "\x00", ""))
		}
		b.WriteString(end)
	}
	if text := b.String(); g.rarely(4) {
		return strings.TrimSuffix(text, end)
	}
	if g.rarely(20) {
		return "\ufeff" + b.String()
	}
	return b.String()
}

func (g *generator) blank() string {
	if g.rarely(20) {
		return g.one("\v", "\f", "\u00a0")
	}
	return g.one("", "", "", " ", "  ", "\t", " \t ")
}

func (g *generator) line() string {
	if g.rarely(12) {
		return g.one("", " ", "garbage", "=", "=3", "-", "-=3", " - ", "#", "/=1", ".=1", "...=1", "-#x=1", "*=4", "**=4", "*/*=4")
	}
	value := fmt.Sprint(g.Intn(10))
	if g.rarely(8) {
		value = g.one("", "1 2", "1\t 2", "=5", "5 # c", "\"5\"", "5\\", "ä", "5;")
	}
	line := g.blank() + g.one("", "", "", "", "-", "- ", "--", "#", ";") + g.blank() + g.key() + g.blank()
	if g.rarely(8) {
		return line
	}
	return line + "=" + g.blank() + value + g.blank()
}

// key spells one of the parameters, or several.
func (g *generator) key() string {
	parts := strings.Split(pathOf(g.one(sysctlNames...)), "/")
	if g.rarely(2) {
		for range 1 + g.Intn(3) {
			i := g.Intn(len(parts))
			parts[i] = g.mutated(parts[i])
		}
	}
	separator := "/"
	other := "."
	if g.rarely(2) {
		separator, other = ".", "/"
		for i := range parts {
			parts[i] = strings.ReplaceAll(parts[i], ".", "/")
		}
	}
	if g.rarely(8) {
		at := g.Intn(len(parts))
		parts = append(parts[:at:at], append([]string{g.one("", other, other+other, "x"+separator+other+other, other+other, "*")}, parts[at:]...)...)
	}
	key := strings.Join(parts, separator)
	if g.rarely(8) {
		key = g.one("/", ".", "//", "./", "/.", "/proc/sys/", "proc.sys.", "{,/}", "{.,x}/", "{,./}") + key
	}
	if g.rarely(15) {
		key += g.one("/", ".", "{,/}", "//", "/.", "{", "}", "[", "\\", "*")
	}
	return key
}

// mutated makes a pattern of a name, one that matches it more often than not.
func (g *generator) mutated(s string) string {
	at := g.Intn(len(s))
	c, before, behind := s[at:at+1], s[:at], s[at+1:]
	switch g.Intn(4) {
	case 0:
		return g.one("*", before+"*", "*"+behind, before+"*"+behind, "?"+s[1:], s+"*", "**")
	case 1:
		return before + g.one(
			"?", "["+c+"]", "[!"+c+"]", "[^x]", "[!x]", "[!]", "[]"+c+"]", "[]", "[a-z]", "[z-a]", "[!a-f]", "[[:alpha:]]", "[[:alpha:][:punct:]]",
			"[![:digit:]]", "[[:none:]]", "["+c, "[x/]", "[\\"+c+"]", "[\\]"+c+"]", "\\"+c, "[-"+c+"]", "["+c+"-]", "[[."+c+".]]", "[[="+c+"=]]", "[!!]", "[.]",
		) + behind
	case 2:
		return before + g.one(
			"{"+c+",x}", "{x,"+c+"}", "{"+c+"}", "{}"+c, "{"+c, c+"}", "{x,{y,"+c+"}}", "{"+c+",", "{?,x}", "{x,*}", "\\{"+c+"}", "{\\"+c+",x}", "{x\\,"+c+"}", "{"+c+",}",
		) + behind
	default:
		return g.one("{"+s+",x}*", "{"+s+",*}", "{"+s+","+s+"}?", "{x,y*}", s+"{,*}", "{"+before+","+s+"}*", "*{"+behind+",x}", "[a-p]*", "{[a-p],v}*")
	}
}

// described prints the tree for a failure.
func (*generator) described(t *testing.T, root string) string {
	var b strings.Builder
	require.NoError(t, filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil || !strings.Contains(p, "sysctl.d") && !strings.Contains(p, "/etc") {
			return err
		}
		target, _ := os.Readlink(p)
		data, _ := os.ReadFile(p)
		fmt.Fprintf(&b, "%s %s: %q\n", p[len(root):], target, bytes.ReplaceAll(data, bytes.Repeat([]byte("#"), 1000), []byte("###")))
		return nil
	}))
	return b.String()
}
