package boot

import (
	"io/fs"
	"path"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// tmpfilesDirs are the directories that systemd-tmpfiles reads after a boot,
// strongest first (tmpfiles.d(5)).
var tmpfilesDirs = []string{"/etc/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d"}

// tmpfiles reads what systemd-tmpfiles does.
func (c *Changes) tmpfiles() error {
	files, err := service.ConfigurationFiles(c.node, tmpfilesDirs)
	if err != nil {
		return err
	}
	for _, e := range files {
		data, err := service.Configuration(e)
		if err != nil {
			return err
		}
		for i, text := range strings.Split(string(data), "\n") {
			c.tmpfile(Place{e.Path, i + 1}, strings.Trim(text, service.Blank))
		}
	}
	return nil
}

// tmpfilesLine is one line of tmpfiles.d.
type tmpfilesLine struct {
	kind      byte
	modifiers string
	path      string
	mode      func(node.Entry) fs.FileMode
	uid, gid  int
	aged      bool
	argument  string
}

// tmpfile reads one line.
func (c *Changes) tmpfile(at Place, text string) {
	l, ok := readTmpfilesLine(text)
	if !ok {
		return
	}
	base := fileChange{Place: at, pattern: l.path, uid: -1, gid: -1}
	as := func(a action, deep, inside bool) {
		f := base
		f.action, f.deep, f.inside = a, deep, inside
		c.change(f)
	}
	plus := strings.Contains(l.modifiers, "+")
	switch l.kind {
	case 'w', 'F':
		c.writeGlob(at, l)
	case 'f', 'L', 'C', 'p', 'c', 'b':
		if plus && l.kind == 'f' {
			c.writeGlob(at, l)
		} else if plus {
			as(covers, true, false)
		}
		base.news = true
	case 'r':
		as(removes, false, false)
	case 'R':
		as(removes, true, false)
	case 'D':
		as(removes, true, true)
	case 'a', 'A':
		as(covers, l.kind == 'A', false)
	}
	if l.aged && strings.IndexByte("dDevqQC", l.kind) >= 0 {
		as(removes, true, true)
	}
	if strings.IndexByte("dDevqQzZfF", l.kind) >= 0 {
		base.mode, base.uid, base.gid, base.deep = l.mode, l.uid, l.gid, l.kind == 'Z'
	}
	if l.kind != 'w' {
		c.change(base)
	}
}

// writeGlob notes the text that a line writes.
func (c *Changes) writeGlob(at Place, l tmpfilesLine) {
	key, isKernel := strings.CutPrefix(l.path, "/proc/sys/")
	if !isKernel {
		c.change(fileChange{Place: at, action: writes, pattern: l.path, uid: -1, gid: -1})
		return
	}
	for _, k := range braces(key) {
		c.set(at, k, l.argument, true, true)
	}
}

// readTmpfilesLine takes a line apart; false where it does nothing, or nothing
// that can be told from files.
func readTmpfilesLine(text string) (tmpfilesLine, bool) {
	l := tmpfilesLine{uid: -1, gid: -1}
	if text == "" || text[0] == '#' {
		return l, false
	}
	fields, rest := cutFields(text, 6)
	if len(fields) < 2 || fields[0] == "" {
		return l, false
	}
	l.kind, l.modifiers = fields[0][0], fields[0][1:]
	where, ok := specified(fields[1])
	if !ok || !path.IsAbs(where) {
		return l, false
	}
	l.path = path.Clean(where)
	field := func(i int) string {
		if i < len(fields) && fields[i] != "-" {
			return fields[i]
		}
		return ""
	}
	if mode := strings.TrimLeft(field(2), "~"); mode != "" && mode[0] != ':' {
		if bits, err := strconv.ParseUint(mode, 8, 32); err == nil {
			l.mode = func(node.Entry) fs.FileMode { return permissions(bits) }
		}
	}
	l.uid, l.gid = identity(field(3)), identity(field(4))
	l.aged = field(5) != ""
	if argument, ok := specified(rest); ok {
		l.argument = unescape(argument)
	}
	return l, true
}

// identity is the number of a user or group: 0 for root, -1 where nothing is
// changed; whoever else it is, it is not root.
func identity(name string) int {
	switch {
	case name == "" || name[0] == ':':
		return -1
	case name == "root" || name == "0":
		return 0
	}
	if n, err := strconv.Atoi(name); err == nil {
		return n
	}
	return nobody
}

// nobody stands for any user or group that is not root and has no number here.
const nobody = 65534

// permissions turns the bits of a mode into Go's.
func permissions(bits uint64) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	for _, special := range []struct {
		bit uint64
		is  fs.FileMode
	}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}} {
		if bits&special.bit != 0 {
			m |= special.is
		}
	}
	return m
}

// cutFields cuts n words, which may be in quotes, and returns what is behind.
func cutFields(text string, n int) (fields []string, rest string) {
	for len(fields) < n && text != "" {
		var word strings.Builder
		quote, i := byte(0), 0
		for ; i < len(text); i++ {
			switch ch := text[i]; {
			case quote == 0 && (ch == ' ' || ch == '\t'):
			case quote == 0 && (ch == '"' || ch == '\''):
				quote = ch
				continue
			case ch == quote && quote != 0:
				quote = 0
				continue
			default:
				word.WriteByte(ch)
				continue
			}
			break
		}
		fields = append(fields, word.String())
		text = strings.TrimLeft(text[i:], " \t")
	}
	return fields, text
}

// specified replaces the specifiers whose meaning no boot decides.
func specified(text string) (string, bool) {
	known := map[byte]string{
		'%': "%", 'S': "/var/lib", 'C': "/var/cache", 'L': "/var/log", 't': "/run", 'h': "/root", 'T': "/tmp", 'V': "/var/tmp",
		'u': "root", 'U': "0", 'g': "root", 'G': "0",
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		i++
		s, ok := known[text[i]]
		if !ok {
			return "", false
		}
		out.WriteString(s)
	}
	return out.String(), true
}

// unescape reads the escapes of a text that is written.
func unescape(text string) string {
	if s, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`); err == nil {
		return s
	}
	return text
}

// braces are the alternatives that glob(7) makes of a pattern.
func braces(pattern string) []string {
	w, err := syntax.NewParser().Document(strings.NewReader(pattern))
	if err != nil || !syntax.SplitBraces(w) {
		return []string{pattern}
	}
	var out []string
	all, err := some(expand.BracesSeq(nil, w))
	if err != nil {
		return []string{pattern}
	}
	for _, b := range all {
		out = append(out, printed(b))
	}
	return out
}
