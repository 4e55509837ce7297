package service

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// systemdCases are files of one service each, by path with NAME for the
// service's name.
var systemdCases = []map[string]string{
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s server\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s \\\n    server \\\n# comment\n\t'--kube-apiserver-arg=a=b c' \"--x=\\x41\\101 \\s\" foo\"bar baz\"q %% %n %N \\\n 'it'\"'\"'s'\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=-/bin/k3s 'a\\tb' \"c\\\"d\" e\\ f\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=@/bin/k3s argv0 server\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=+!/bin/k3s server\n"},
	{"/etc/systemd/system/NAME.service": "[Unit]\nExecStart=/bin/no\n[Service]\n  ExecStart  =  /bin/k3s   server   \n;c\nnonsense\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s server \"unbalanced\nExecStart=/bin/k3s agent\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s a\\\\\\\\b 'c\\\\d' \\\n\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s a\\qb\nExecStart=/bin/k3s ok\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s one\nExecStart=\nExecStart=/bin/k3s two\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s one\n", "/etc/systemd/system/NAME.service.d/10.conf": "[Service]\nExecStart=\nExecStart=/bin/k3s two\n"},
	{"/usr/lib/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s vendor\n", "/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s admin\n"},
	{
		"/usr/lib/systemd/system/NAME.service":          "[Service]\nExecStart=/bin/k3s one\n",
		"/usr/lib/systemd/system/NAME.service.d/z.conf": "[Service]\nExecStart=\nExecStart=/bin/k3s vendor-z\n",
		"/etc/systemd/system/NAME.service.d/a.conf":     "[Service]\nExecStart=\nExecStart=/bin/k3s admin-a\n",
	},
	{
		"/usr/lib/systemd/system/NAME.service":          "[Service]\nExecStart=/bin/k3s one\n",
		"/usr/lib/systemd/system/NAME.service.d/z.conf": "[Service]\nExecStart=\nExecStart=/bin/k3s vendor-z\n",
		"/etc/systemd/system/NAME.service.d/z.conf":     "[Service]\nEnvironment=A=1\n",
	},
	{
		"/etc/systemd/system/NAME.service":           "[Service]\nExecStart=/bin/k3s one\n",
		"/etc/systemd/system/dash-.service.d/b.conf": "[Service]\nEnvironment=P=prefix\n",
		"/etc/systemd/system/NAME.service.d/a.conf":  "[Service]\nEnvironment=P=own\n",
	},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s s\nEnvironment=A=1 \"B=2 3\" C='x y' D=%N E\nEnvironment=A=4 9X=1\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s s\nEnvironment=A=1\nEnvironment=\nEnvironment=B=2\n"},
	{"/etc/systemd/system/NAME.service": "\ufeff[Service]\r\nExecStart=/bin/k3s s\r\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s ; /bin/true\nType=oneshot\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s a \\; b\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s '' \"\" a''b\n"},
}

// TestSystemdAgrees lets the real systemd load the cases and random services,
// and compares what it understood with what we do.
func TestSystemdAgrees(t *testing.T) {
	if _, err := os.Stat(systemdProgram); os.Getuid() != 0 || err != nil {
		t.Skip("needs root (to become nobody), and systemd on this machine")
	}
	batches, size := 2, 60
	if os.Getenv("PACKER_ACC") != "" {
		batches, size = 15, 100
	}
	var fixed []unitTree
	for i, files := range systemdCases {
		tree := unitTree{name: fmt.Sprintf("dash-%d", i), files: map[string]string{}}
		for p, text := range files {
			tree.files[strings.ReplaceAll(p, "NAME", tree.name)] = text
		}
		fixed = append(fixed, tree)
	}
	var got unitTally
	got.compare(t, fixed)
	g := &unitGenerator{rand.New(rand.NewSource(7))}
	for range batches {
		got.compare(t, g.trees(size))
	}
	t.Logf("%d services, %d with a difference, of %d it is said that they cannot be judged", got.services, got.different, got.open)
}

const systemdProgram = "/usr/lib/systemd/systemd"

// unitTree is the files of one service, by path.
type unitTree struct {
	name  string
	files map[string]string // a text beginning with "-> " is a link, "/" a directory
}

type unitTally struct{ services, different, open int }

// compare loads all trees at once.
func (tally *unitTally) compare(t *testing.T, trees []unitTree) {
	root, err := os.MkdirTemp("", "units") //nolint:usetesting // nobody must be able to enter it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	require.NoError(t, os.Chmod(root, 0o755))
	all := "[Unit]\n"
	for _, tree := range trees {
		for p, text := range tree.files {
			writeUnit(t, root, p, text)
		}
		all += "Wants=" + tree.name + ".service\n"
	}
	writeUnit(t, root, "/etc/systemd/system/all.target", all)
	blocks := loadUnits(t, root)
	q := node.Query{{Path: "/", Depth: node.Deep, Content: true}}
	for _, tree := range trees {
		q = append(q, SystemdQuery(tree.name)...)
	}
	n, err := rootfs.At(root).Read(context.Background(), q)
	require.NoError(t, err)
	for _, tree := range trees {
		tally.services++
		want := blocks[tree.name]
		got, open := understood(t, n, tree.name)
		if open {
			tally.open++
			continue
		}
		if !assert.Equal(t, want.String(got), got.text, "%s\n%q\n%v\n%s", tree.name, tree.files, got.faults, want.said) {
			tally.different++
		}
	}
}

func writeUnit(t *testing.T, root, p, text string) {
	to := filepath.Join(root, p)
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	switch target, link := strings.CutPrefix(text, "-> "); {
	case text == "/":
		require.NoError(t, os.MkdirAll(to, 0o755))
	case link:
		if strings.HasPrefix(target, "/") && target != "/dev/null" { // systemd runs outside of the tree
			relative, err := filepath.Rel(filepath.Dir(p), target)
			require.NoError(t, err)
			target = relative
		}
		require.NoError(t, os.Symlink(target, to))
	default:
		require.NoError(t, os.WriteFile(to, []byte(text), 0o644))
	}
}

// loadUnits returns what systemd prints of each unit, by every name of it.
func loadUnits(t *testing.T, root string) map[string]unitBlock {
	runtime := filepath.Join(root, "runtime")
	require.NoError(t, os.Mkdir(runtime, 0o700))
	require.NoError(t, os.Chown(runtime, 65534, 65534))
	var path []string
	for _, dir := range unitDirs {
		path = append(path, filepath.Join(root, dir))
	}
	cmd := exec.Command(systemdProgram, "--test", "--system", "--unit=all.target", "--log-target=console")
	cmd.Env = []string{"XDG_RUNTIME_DIR=" + runtime, "HOME=/root", "SYSTEMD_UNIT_PATH=" + strings.Join(path, ":")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	dump, err := cmd.CombinedOutput()
	if !strings.Contains(string(dump), "-> Unit all.target") {
		t.Skipf("systemd does not run here: %v: %s", err, dump)
	}
	said, _, _ := strings.Cut(string(dump), "-> By units:")
	blocks := map[string]unitBlock{}
	for _, text := range strings.Split(string(dump), "-> Unit ")[1:] {
		text, _, _ = strings.Cut(text, "-> By jobs:")
		name, _, _ := strings.Cut(text, ".service:")
		b := unitBlock{name, root, text, strings.Join(regexp.MustCompile(`[^\n]*`+regexp.QuoteMeta(name)+`[^\n]*`).FindAllString(said, -1), "\n")}
		blocks[name] = b
		for _, alias := range b.all("Alias") {
			blocks[strings.TrimSuffix(alias, ".service")] = b
		}
	}
	return blocks
}

// unitBlock is what systemd prints of one unit.
type unitBlock struct{ name, root, text, said string }

// all returns the values printed under a label.
func (b unitBlock) all(label string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`\n\t*`+label+`: ([^\n]*)`).FindAllStringSubmatch(b.text, -1) {
		out = append(out, strings.ReplaceAll(m[1], b.root, ""))
	}
	return out
}

func (b unitBlock) commands() []string {
	_, section, _ := strings.Cut(b.text, "-> ExecStart:\n")
	section, _, _ = strings.Cut(section, "\t-> ")
	var out []string
	for _, m := range regexp.MustCompile(`Command Line: ([^\n]*)`).FindAllStringSubmatch(section, -1) {
		out = append(out, m[1])
	}
	return out
}

// String renders the block as understood does. The name that a program is
// given with the prefix @ is no word of ours.
func (b unitBlock) String(got unitText) string {
	state := strings.Join(b.all("Unit Load State"), "")
	switch state {
	case "", "not-found":
		return "not-found"
	case "masked":
		return state
	case "error", "bad-setting":
		return "refused"
	}
	commands := b.commands()
	for i := range commands {
		if i < len(got.commands) && got.renamed && (got.arguments[i] == "" || strings.HasSuffix(commands[i], " "+got.arguments[i])) {
			commands[i] = got.commands[i]
		}
	}
	aliases := append(b.all("Alias"), b.name+".service")
	sort.Strings(aliases)
	var environment []string
	for _, part := range strings.Split(b.text, "\n\t\tEnvironment: ")[1:] {
		part, _, _ = strings.Cut(part, "\n\t")
		environment = append(environment, strings.TrimSuffix(part, "\n"))
	}
	return renderUnit(aliases, b.all("Fragment Path"), b.all("DropIn Path"), commands, environment,
		b.all("EnvironmentFile"), b.all("PassEnvironment"), b.all("UnsetEnvironment"))
}

func renderUnit(aliases, fragment, dropIns, commands, environment, files, pass, unset []string) string {
	var b strings.Builder
	for _, l := range [][]string{environment, pass, unset} {
		sort.Strings(l)
	}
	fmt.Fprintf(&b, "names %q\nfile %q\ndrop-ins %q\n", aliases, fragment, dropIns)
	fmt.Fprintf(&b, "commands %q\nenvironment %q\nfiles %q\npass %q\nunset %q\n",
		commands, environment, slices.Compact(files), slices.Compact(pass), slices.Compact(unset))
	return b.String()
}

type unitText struct {
	text                string
	commands, arguments []string
	renamed             bool
	faults              []Fault
}

// understood renders what we make of a service; open tells that something of
// it is said to be not determinable.
func understood(t *testing.T, n *node.Node, name string) (got unitText, open bool) {
	d := NewSystemd(n)
	unit, err := d.finder.find(name)
	require.NoError(t, err)
	switch {
	case unit == nil:
		return unitText{text: "not-found"}, false
	case Masked(unit.Entry):
		return unitText{text: "masked"}, false
	case unit.Kind == node.KindLink: // which is none to systemd, and one that does not start to us
		return unitText{text: "not-found"}, false
	case unit.Kind != node.KindFile:
		return unitText{text: "refused"}, false
	}
	s := &Service{}
	p := unitParser{systemd: d, service: s, specifiers: specifiers{node: n, name: unit.names[0], aliased: len(unit.names) > 1}}
	loads, err := p.load(unit)
	require.NoError(t, err)
	if loads {
		p.command(unit.Path)
	}
	if slices.ContainsFunc(s.Faults, func(f Fault) bool { return f.Fatal }) {
		return unitText{text: "refused", faults: s.Faults}, false
	}
	open = len(p.fileFaults) > 0 || slices.ContainsFunc(s.Faults, func(f Fault) bool { return strings.Contains(f.Text, "prefix |") })
	for _, c := range p.start {
		open = open || slices.ContainsFunc(c.words, func(w Word) bool { return w.Open != "" })
		var words []string
		for _, w := range c.words {
			words = append(words, shellQuoted(w.Text))
		}
		got.commands = append(got.commands, strings.Join(words, " "))
		got.arguments = append(got.arguments, strings.Join(words[1:], " "))
	}
	var environment, files, pass, aliases, dropIns []string
	for _, v := range lastOfEach(p.assigned, nil) {
		open = open || v.Open != ""
		environment = append(environment, v.Name+"="+v.Value)
	}
	for _, f := range p.files {
		files = append(files, f.Text)
	}
	for _, w := range p.pass {
		pass = append(pass, w.Text)
	}
	for _, name := range unit.names {
		aliases = append(aliases, name+".service")
	}
	sort.Strings(aliases)
	entries, err := findDropIns(n, unit.names)
	require.NoError(t, err)
	for _, e := range entries {
		dropIns = append(dropIns, e.Path)
		got.renamed = got.renamed || strings.Contains(string(e.Data), "@")
	}
	got.renamed = got.renamed || strings.Contains(string(unit.Data), "@")
	got.text = renderUnit(aliases, []string{unit.Path}, dropIns, got.commands, environment, files, pass, slices.Clone(p.unset))
	return got, open
}

// unitGenerator makes services that are hard to read.
type unitGenerator struct{ *rand.Rand }

func (g *unitGenerator) one(of ...string) string { return of[g.Intn(len(of))] }

func (g *unitGenerator) rarely(n int) bool { return g.Intn(n) == 0 }

func (g *unitGenerator) trees(n int) []unitTree {
	var out []unitTree
	for i := range n {
		name := fmt.Sprintf(g.one("d%d-a-b", "d%d-x", "d%d--x", "d%d-x-y", "d%d@in-st", "d%d-x@in-st", "d%d"), i)
		files := map[string]string{}
		place := func(file string) string { return g.one(unitDirs...) + "/" + file + ".service" }
		own := name
		if prefix, _, ok := instanceOf(name); ok && g.rarely(2) {
			own = prefix + "@"
		}
		names := []string{name, own}
		switch g.Intn(10) {
		case 0:
			files[place(name)] = "-> " + g.one("/dev/null", "/nowhere", "real-"+name+".service", name+".service", "/opt/"+name+".service")
			files[place(name)] = g.unit()
		case 1, 2:
			real := "real-" + name
			names = append(names, real)
			files[place(real)] = g.unit()
			files[place(name)] = "-> " + place(g.one(real, real, real, real, name, "other.timer"))
			if g.rarely(3) {
				files[place("other-"+name)] = "-> " + place(g.one(name, real))
				names = append(names, "other-"+name)
			}
			if g.rarely(4) {
				files[place(real)] = g.unit()
			}
		case 3:
			files["/opt/"+name+".service"] = g.unit()
			files[place(name)] = "-> /opt/" + name + ".service"
		case 4:
			files[place(own)] = g.one("", "/", g.unit())
			files[place(name)] = g.one("", "/", g.unit())
		default:
			files[place(own)] = g.unit()
			if g.rarely(4) {
				files[place(own)] = g.unit()
			}
		}
		for range g.Intn(4) {
			dirs := append(dropInNames(g.one(names...)), dropInNames(name)...)
			file := g.one(unitDirs...) + "/" + g.one(dirs...) + "/" + g.one("10.conf", "20.conf", "z.conf", ".h.conf", "x.txt", "10.conf~", fmt.Sprintf("%d.conf", i))
			files[file] = g.dropIn()
		}
		out = append(out, unitTree{name, files})
	}
	if g.rarely(2) { // this one is read for all of them
		out[0].files[g.one(unitDirs...)+"/service.d/15.conf"] = g.dropIn()
	}
	return out
}

func (g *unitGenerator) dropIn() string {
	switch g.Intn(12) {
	case 0:
		return g.one("-> /dev/null", "-> /nowhere", "/", "")
	case 1, 2, 3:
		return "[Service]\nExecStart=\n" + g.lines(1+g.Intn(3))
	}
	return g.header() + "\n" + g.lines(g.Intn(4))
}

func (g *unitGenerator) unit() string {
	text := g.header() + "\n"
	if g.rarely(3) {
		text += "Type=oneshot\n"
	}
	text += g.lines(g.Intn(3)) + "ExecStart=" + g.command() + "\n" + g.lines(g.Intn(3))
	if g.rarely(8) {
		return strings.ReplaceAll(text, "\n", g.one("\r", "\r\n", "\x00", "\n\r"))
	}
	if g.rarely(15) {
		return "\ufeff" + text
	}
	return text
}

func (g *unitGenerator) header() string {
	if g.rarely(12) {
		return g.one("[Service", "[ Service ]", "[Unit]", "[X-Service]", "[Service]x", "[]", "[", "[Ser\\vice]", "[service]", " [Service] ", "Service]", "[Service]\\", "[Servi\\\nce]")
	}
	return "[Service]"
}

func (g *unitGenerator) lines(n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(g.one("", "", "", " ", "\t", "\v") + g.setting() + g.one("", "", "", "", " ", " \t", "\u00a0") + "\n")
	}
	return b.String()
}

func (g *unitGenerator) setting() string {
	switch g.Intn(14) {
	case 0:
		return g.header()
	case 1:
		return g.one("# c", "; c", "# c \\", "nonsense", "=x", "Exec Start=/x", "execstart=/x", "Description=\xff", "Description=\ufffe", "", "\\", "ExecStart=")
	case 2:
		return g.one("Type=oneshot", "Type=simple", "Type=", "Type=Notify", "Type=notify", "Restart=always", "Restart=no", "Restart=x", "WorkingDirectory=x", "WorkingDirectory=-x", "WorkingDirectory=/%Z", "WorkingDirectory=~", "WorkingDirectory=%t/x")
	case 3:
		return g.one("ExecStartPre=", "ExecStartPost=", "ExecReload=", "ExecCondition=") + g.command()
	case 4, 5, 6:
		return "Environment" + g.one("=", " = ", "=") + g.words("A=1", "B=", "A=%n", "C", "9=1", "A=b%c", "D=%t", "_=x", "A-B=1", "\"A=1 2\"", "A=", "'B=x", "A=\\q", "A=\\xff", "A=\\ud800", "B=%Z", "A=\xc3\xa4", "B=%%", "A=%", "B=%h/x")
	case 7:
		return "EnvironmentFile=" + g.one("", "-/etc/x", "/etc/x y", "x", "-x", "- /etc/x", "/%p", "-%E/x", "/%Z", "\"/x\"", "/x\\", "-/etc/./x//y/")
	case 8:
		return "PassEnvironment=" + g.words("A", "B", "A=1", "'A'", "\\A", "A\\x41", "9", "%p", "%Z", "'A")
	case 9:
		return "UnsetEnvironment=" + g.words("A", "B", "A=1", "'A'", "\\x41", "9", "%p", "%Z", "'A", "A=\\q")
	}
	return "ExecStart=" + g.one("", "", g.command(), g.command(), g.command())
}

func (g *unitGenerator) words(of ...string) string {
	var words []string
	for range g.Intn(4) {
		words = append(words, g.one(of...))
	}
	return strings.Join(words, g.one(" ", "  ", "\t", " \\\n ", " \\\n# c\n"))
}

func (g *unitGenerator) command() string {
	var b strings.Builder
	if g.rarely(3) {
		for range 1 + g.Intn(3) {
			b.WriteString(g.one("-", "@", ":", "+", "!", "!!", "-", "@"))
		}
	}
	if g.rarely(6) {
		b.WriteString(g.one("", " ", ";", "\"\"", "''", "/", "/bin/", "bin/k3s", "k3s", "|/bin/k3s", "/bin/k\\x223s", "/bin/./k3s", "/bin//k3s", "$A", "%h/k3s", "%Z", "%t", "/bin/\\\\x", "../x", ".", "..", "/..", "\"/bin/k 3s\"", "/bin/k3s;", "/"+strings.Repeat("x", 300), "/bin/\\n", "'/bin/k3s", "\";\""))
	} else {
		b.WriteString("/bin/k3s")
	}
	for range g.Intn(7) {
		if !g.rarely(5) {
			b.WriteString(" ")
		}
		b.WriteString(g.one(
			"a", "b=c", "server", "  ", "'", "'a'", `"`, `"a b"`, `\\`, `\`, `\n`, `\x41`, `\x4`, `\101`, `\777`, `\u00e4`, `\ud800`, `\Uffffffff`, `\U0001f600`, `\ufffe`, `\s`, `\q`, `\ `,
			"%%", "%n", "%N", "%p", "%P", "%i", "%I", "%j", "%J", "%f", "%d", "%h", "%t", "%E", "%S", "%C", "%L", "%T", "%V", "%u", "%U", "%g", "%G", "%Z", "%k", "%-", "%", "%é",
			"%H", "%m", "%v", ";x", ";", `\;`, `";"`, " ; /bin/b c", " ; -@/bin/b", " ; ", "\t", "\\\n", "\\\n#c\n", "\\\n;c\n", "\\\n\n", "\\\r\n", "#", "{}", "=", "$A", "${A}", "''", `""`, "ä", "\u00a0", "\v", "!", "*",
		))
	}
	return b.String()
}

// shellQuoted renders a word the way systemd prints command lines.
func shellQuoted(s string) string {
	if s != "" && validText(s) && !strings.ContainsAny(s, " \t\n\r\v\"\\'`$*?[]();&|<>!") {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch escaped, ok := map[rune]string{'\t': `\t`, '\n': `\n`, '\r': `\r`, '\v': `\v`, '"': `\"`, '\\': `\\`, '$': `\$`, '`': "\\`"}[r]; {
		case ok:
			b.WriteString(escaped)
		case r == utf8.RuneError || noncharacter(r) || r < ' ':
			_, size := utf8.DecodeRuneInString(s[i:])
			for _, c := range []byte(s[i : i+size]) {
				fmt.Fprintf(&b, "\\%03o", c)
			}
		default:
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}
