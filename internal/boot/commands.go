package boot

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// call is one command: its words, and what it reads from a pipe where that is
// known.
func (s *shell) call(at Place, words []word, input string, known bool) {
	words = s.bare(words)
	if len(words) == 0 {
		return
	}
	if len(words) == 1 && words[0].known && strings.Contains(words[0].text, " ") {
		s.changes.run(at.Path, at.Line, words[0].text) // as a wrapper is given behind -c
		return
	}
	name := path.Base(words[0].text)
	c := command{shell: s, at: at, name: name, args: words[1:], input: input, inputKnown: known}
	if does, ok := commands[name]; ok && words[0].known && s.functions[words[0].text] == nil {
		does(c)
		return
	}
	if words[0].known {
		s.changes.called(at, name, words[1:])
	}
	switch {
	case !words[0].known:
	case path.IsAbs(words[0].text):
		s.follow(at, words[0].text, words[1:])
	case !strings.Contains(words[0].text, "/"):
		s.lookUp(at, words)
	}
}

// ownPrograms are where a node's own programs are found by their bare names.
var ownPrograms = []string{"/usr/local/sbin", "/usr/local/bin"}

// lookUp follows a program that is run by its bare name, where it is one of the
// node's own.
func (s *shell) lookUp(at Place, words []word) {
	for _, dir := range ownPrograms {
		p := path.Join(dir, words[0].text)
		if _, presence := s.changes.node.Lookup(p); presence == node.Present {
			s.follow(at, p, words[1:])
			return
		}
	}
}

// command is a command whose program is known.
type command struct {
	*shell
	at         Place
	name       string
	args       []word
	input      string
	inputKnown bool
	// only limits what is below its operands to base names of that pattern; ""
	// for all.
	only string
}

// commands are the programs that change files or the kernel, or run something.
var commands map[string]func(command)

func init() { //nolint:gochecknoinits // the table's functions use it
	commands = map[string]func(command){
		"sysctl": command.sysctl,
		"chmod":  command.chmod, "chown": command.chown, "chgrp": command.chgrp, "setfacl": command.covers,
		"rm": command.remove, "rmdir": command.remove, "unlink": command.remove, "shred": command.covers, "truncate": command.covers,
		"mv": command.move, "cp": command.copy, "install": command.copy, "ln": command.copy, "rsync": command.copy, "mount": command.mount, "cd": command.enter,
		"tee": command.tee, "dd": command.dd, "sed": command.edit, "perl": command.edit, "yq": command.edit, "gawk": command.edit, "awk": command.edit,
		"ed": command.covers, "ex": command.covers, "patch": command.covers, "crudini": command.covers, "augtool": command.covers,
		"python": command.interpret, "python3": command.interpret, "ruby": command.interpret,
		"curl": command.fetch, "wget": command.fetch, "find": command.find,
		"tar": command.unpack, "bsdtar": command.unpack, "unzip": command.unpack, "cpio": command.unpack, "git": command.checkOut,
		"sponge": command.tee, "sort": command.fetch, "touch": command.touch, "checkpath": command.checkPath,
		"su": command.asUser, "runuser": command.asUser, "trap": command.trap,
		"sh": command.interpret, "bash": command.interpret, "dash": command.interpret, "ash": command.interpret,
		"ksh": command.interpret, "zsh": command.interpret, ".": command.source, "source": command.source, "eval": command.eval,
	}
}

// operands are the words that are no options; value lists options that take
// one more word.
func (c command) operands(value ...string) (operands []word, options []string) {
	for i := 0; i < len(c.args); i++ {
		w := c.args[i]
		switch {
		case w.known && w.text == "--":
			return append(operands, c.args[i+1:]...), options
		case slices.Contains(value, w.text) && i+1 < len(c.args):
			options = append(options, w.text+"="+c.args[i+1].text)
			i++
		case strings.HasPrefix(w.text, "-") && len(w.text) > 1:
			options = append(options, w.text)
		default:
			operands = append(operands, w)
		}
	}
	return operands, options
}

// short says whether a one-letter option is among options.
func short(options []string, letter string) bool {
	return slices.ContainsFunc(options, func(o string) bool {
		return !strings.HasPrefix(o, "--") && strings.Contains(strings.SplitN(o, "=", 2)[0], letter)
	})
}

func (c command) each(all []word, f fileChange) {
	f.Place = c.at
	for _, w := range all {
		if !w.known {
			c.changes.named(c.at, w.text)
			continue
		}
		f.pattern = strings.TrimSuffix(c.absolute(w.text), "/.")
		if c.only != "" && f.deep {
			itself, _ := path.Match(c.only, path.Base(f.pattern))
			f.name, f.inside = c.only, !itself
		}
		c.changes.change(f)
	}
}

// touch makes files that are not there.
func (c command) touch() {
	operands, _ := c.operands("-d", "-r", "-t")
	f := asItIs
	f.news = true
	c.each(operands, f)
}

// asUser is su or runuser, which runs the text behind -c, or what follows a user's
// name.
func (c command) asUser() {
	if u := slices.IndexFunc(c.args, func(w word) bool { return w.text == "-u" || w.text == "--user" }); c.name == "runuser" && u >= 0 && u+2 < len(c.args) {
		rest := c.args[u+2:]
		if rest[0].text == "--" {
			rest = rest[1:]
		}
		c.call(c.at, rest, c.input, c.inputKnown)
		return
	}
	for i, w := range c.args {
		text, given := strings.CutPrefix(w.text, "--command=")
		if (w.text == "-c" || w.text == "-lc" || w.text == "--command") && i+1 < len(c.args) {
			w, text, given = c.args[i+1], c.args[i+1].text, true
		}
		switch {
		case given && w.known:
			c.changes.run(c.at.Path, c.at.Line, text)
		case given:
			c.changes.named(c.at, text)
		}
	}
}

// trap runs its first operand, some time.
func (c command) trap() {
	if operands, _ := c.operands(); len(operands) > 0 && operands[0].known {
		c.changes.run(c.at.Path, c.at.Line, operands[0].text)
	}
}

var asItIs = fileChange{uid: -1, gid: -1}

func (c command) covers() {
	operands, _ := c.operands()
	f := asItIs
	f.action = covers
	c.each(operands, f)
}

// sysctl sets parameters, or reads files that do.
func (c command) sysctl() {
	loads := false
	for _, w := range c.args {
		switch key, value, assigns := strings.Cut(w.text, "="); {
		case len(w.text) > 1 && w.text[0] == '-':
			load := strings.HasPrefix(w.text, "--load") || !strings.HasPrefix(w.text, "--") && strings.ContainsAny(w.text, "pf")
			loads = loads || load
			if file, ok := strings.CutPrefix(w.text, "--load="); ok {
				c.changes.loads(file)
			}
		case loads && w.text == "-" && c.inputKnown:
			c.changes.settings(c.at.Path, c.at.Line, c.input)
		case loads && !assigns:
			c.changes.loads(w.text)
		case assigns:
			c.changes.set(c.at, parameterPath(key), value, w.known, false)
		case !w.known:
			c.changes.named(c.at, w.text)
		}
	}
}

// parameterPath is the path below /proc/sys of a parameter's name.
func parameterPath(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		return strings.NewReplacer(".", "/", "/", ".").Replace(name)
	}
	return name
}

func (c command) chmod() {
	var options []string
	var operands []word
	for _, w := range c.args {
		if strings.HasPrefix(w.text, "-") && !symbolic.MatchString(w.text) {
			options = append(options, w.text)
			continue
		}
		operands = append(operands, w)
	}
	if len(operands) == 0 {
		return
	}
	f := asItIs
	f.deep = short(options, "R") || slices.Contains(options, "--recursive")
	mode := operands[0]
	if i := slices.IndexFunc(options, func(o string) bool { return strings.HasPrefix(o, "--reference") }); i >= 0 {
		mode = word{}
	} else {
		operands = operands[1:]
	}
	if change, ok := modeChange(mode.text); ok && mode.known {
		// Until it runs the file is as it was, and it may fail: what it takes away proves nothing.
		f.mode = func(e node.Entry) fs.FileMode { return e.Mode | change(e) }
	} else {
		f.action = covers
	}
	c.each(operands, f)
}

// checkPath is OpenRC's way to make files and directories with a mode and an owner,
// or to give these to what is there (openrc-run(8)).
func (c command) checkPath() {
	operands, options := c.operands("-m", "--mode", "-o", "--owner")
	f := asItIs
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		switch name {
		case "-m", "--mode":
			change, known := modeChange(value)
			if f.mode = func(e node.Entry) fs.FileMode { return e.Mode | change(e) }; !known {
				f.mode, f.action = nil, covers
			}
		case "-o", "--owner":
			user, group, _ := strings.Cut(value, ":")
			f.uid, f.gid = toOthers(user), toOthers(group)
		case "-D", "--directory-truncate":
			emptied := asItIs
			emptied.action, emptied.deep, emptied.inside = removes, true, true
			c.each(operands, emptied)
		case "-F", "--file-truncate":
			emptied := asItIs
			emptied.action = writes
			c.each(operands, emptied)
		}
	}
	c.each(operands, f)
}

var symbolic = regexp.MustCompile(`^[ugoa]*[-+=][rwxXst]*(,[ugoa]*[-+=][rwxXst]*)*$`)

// modeChange reads a mode of chmod, in octal or with letters.
func modeChange(text string) (func(node.Entry) fs.FileMode, bool) {
	if bits, err := strconv.ParseUint(text, 8, 16); err == nil {
		return func(node.Entry) fs.FileMode { return permissions(bits) }, true
	}
	if !symbolic.MatchString(text) {
		return nil, false
	}
	return func(e node.Entry) fs.FileMode {
		m := e.Mode
		for _, clause := range strings.Split(text, ",") {
			m = applyClause(m, clause, e.Kind == node.KindDirectory)
		}
		return m
	}, true
}

// applyClause applies one clause such as go-rwx; what is sticky or of another
// user is left.
func applyClause(m fs.FileMode, clause string, dir bool) fs.FileMode {
	op := strings.IndexAny(clause, "-+=")
	who, what := clause[:op], clause[op+1:]
	if who == "" || strings.Contains(who, "a") {
		who = "ugo"
	}
	var bits fs.FileMode
	for _, r := range what {
		switch {
		case r == 'r':
			bits |= 4
		case r == 'w':
			bits |= 2
		case r == 'x' || r == 'X' && (dir || m&0o111 != 0):
			bits |= 1
		}
	}
	for _, w := range who {
		shift := map[rune]uint{'u': 6, 'g': 3, 'o': 0}[w]
		switch clause[op] {
		case '+':
			m |= bits << shift
		case '-':
			m &^= bits << shift
		case '=':
			m = m&^(7<<shift) | bits<<shift
		}
	}
	return m
}

func (c command) chown() {
	operands, options := c.operands("--from")
	if len(operands) == 0 {
		return
	}
	f := asItIs
	f.deep = short(options, "R") || slices.Contains(options, "--recursive")
	if slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "--reference") }) {
		f.action = covers
		c.each(operands, f)
		return
	}
	user, group, _ := strings.Cut(strings.Replace(operands[0].text, ".", ":", 1), ":")
	f.uid, f.gid = toOthers(user), toOthers(group)
	if !operands[0].known {
		f.action = covers
	}
	c.each(operands[1:], f)
}

// toOthers is who a file is given to, -1 for root: until the command runs the file is
// another's, and it may fail, so that what it gives back proves nothing.
func toOthers(name string) int {
	id := identity(name)
	if id == 0 {
		return -1
	}
	return id
}

func (c command) chgrp() {
	operands, options := c.operands()
	if len(operands) == 0 {
		return
	}
	f := asItIs
	f.deep = short(options, "R")
	f.gid = toOthers(operands[0].text)
	c.each(operands[1:], f)
}

func (c command) remove() {
	operands, options := c.operands()
	f := asItIs
	f.action, f.deep = removes, short(options, "r") || short(options, "R") || slices.Contains(options, "--recursive")
	c.each(operands, f)
}

func (c command) move() {
	operands, _ := c.operands("-t", "-S")
	if len(operands) > 1 {
		f := asItIs
		f.action, f.deep = removes, true
		c.each(operands[:len(operands)-1], f)
	}
	c.copy()
}

// copy writes to its last operand, or into it.
func (c command) copy() {
	operands, options := c.operands("-t", "-m", "-o", "-g", "-S", "--mode")
	for _, o := range options {
		if dir, ok := strings.CutPrefix(o, "-t="); ok {
			operands = append(operands, word{dir, true})
		}
	}
	if len(operands) < 2 || short(options, "d") {
		return
	}
	to := operands[len(operands)-1]
	if e, presence := c.changes.node.Lookup(path.Clean(to.text)); !to.known || presence != node.Present || e.Kind != node.KindDirectory {
		c.written(c.at, to, "", false)
		return
	}
	f := asItIs
	f.action, f.news = writes, true
	for _, from := range operands[:len(operands)-1] {
		if from.known {
			c.each([]word{{path.Join(to.text, path.Base(from.text)), true}}, f)
		}
	}
}

// mount puts something else over its last operand.
func (c command) mount() {
	operands, options := c.operands("-t", "-o", "-L", "-U", "--types", "--options")
	again := slices.ContainsFunc(options, func(o string) bool { return strings.Contains(o, "remount") })
	if len(operands) > 0 && !again && operands[len(operands)-1].text != "/" {
		f := asItIs
		f.action, f.deep = covers, true
		c.each(operands[len(operands)-1:], f)
	}
}

// enter changes the directory that what follows is meant from.
func (c command) enter() {
	c.dir = ""
	if len(c.args) == 1 && c.args[0].known && path.IsAbs(c.args[0].text) {
		c.dir = c.args[0].text
	}
}

func (c command) tee() {
	operands, _ := c.operands()
	for _, w := range operands {
		c.written(c.at, w, c.input, c.inputKnown)
	}
}

func (c command) dd() {
	for _, w := range c.args {
		if file, ok := strings.CutPrefix(w.text, "of="); ok {
			c.written(c.at, word{file, w.known}, "", false)
		}
	}
}

// edit is a program that changes files only when it is asked to.
func (c command) edit() {
	operands, options := c.operands("-e", "-f")
	if !short(options, "i") && !slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "--in-place") || o == "--inplace" }) {
		return
	}
	f := asItIs
	f.action = writes
	c.each(operands, f)
}

func (c command) fetch() {
	for i, w := range c.args {
		if output.MatchString(w.text) && i+1 < len(c.args) {
			c.written(c.at, c.args[i+1], "", false)
		}
	}
	_, options := c.operands()
	for _, o := range options {
		for _, name := range []string{"--output=", "--output-document="} {
			if file, ok := strings.CutPrefix(o, name); ok {
				c.written(c.at, word{file, true}, "", false)
			}
		}
	}
}

var output = regexp.MustCompile(`^(-[a-zA-Z]*[oO]|--output|--output-document)$`)

// find runs a command on what it finds, or removes it.
func (c command) find() {
	var roots []word
	for _, w := range c.args {
		if strings.HasPrefix(w.text, "-") || w.text == "(" || w.text == "!" {
			break
		}
		roots = append(roots, w)
	}
	for i, w := range c.args {
		switch {
		case w.text == "-delete":
			f := asItIs
			f.action, f.deep, f.inside, f.name = removes, true, true, findName(c.args)
			c.each(roots, f)
		case (w.text == "-exec" || w.text == "-execdir") && i+1 < len(c.args):
			run := c.args[i+1:]
			if end := slices.IndexFunc(run, func(w word) bool { return w.text == "{}" }); end >= 0 {
				run = run[:end]
			}
			if len(run) > 1 && slices.Contains([]string{"chmod", "chown", "chgrp", "rm"}, path.Base(run[0].text)) {
				run = slices.Insert(slices.Clone(run), 1, word{"-R", true})
			}
			c.onFound(append(slices.Clone(run), roots...))
		}
	}
}

// onFound runs a command that find is given, on what has the name that it looks for.
func (c command) onFound(words []word) {
	words = c.bare(words)
	does, ok := commands[path.Base(words[0].text)]
	if name := findName(c.args); ok && words[0].known && name != "" {
		does(command{shell: c.shell, at: c.at, args: words[1:], only: name})
		return
	}
	c.call(c.at, words, "", false)
}

// findName is the pattern of names that find looks for; "" for all, or where more
// than one word decides.
func findName(args []word) string {
	name := ""
	for i, w := range args {
		switch w.text {
		case "!", "-not", "-o", "-or":
			return ""
		case "-name", "-iname":
			if name != "" || i+1 == len(args) || !args[i+1].known {
				return ""
			}
			name = args[i+1].text
			if w.text == "-iname" {
				name = strings.ToLower(name) // as the files' own are
			}
		}
	}
	return name
}

// interpret runs a file, or the text behind -c.
func (c command) interpret() {
	operands, options := c.operands("-o", "-O")
	switch {
	case len(operands) == 0:
		if c.inputKnown {
			c.changes.run(c.at.Path, c.at.Line, c.input)
		}
	case short(options, "c"):
		if operands[0].known {
			c.changes.run(c.at.Path, c.at.Line, operands[0].text)
		} else {
			c.changes.named(c.at, operands[0].text)
		}
	case operands[0].known:
		c.follow(c.at, operands[0].text, operands[1:])
	}
}

func (c command) source() {
	if len(c.args) > 0 && c.args[0].known {
		c.follow(c.at, c.args[0].text, nil)
	}
}

func (c command) eval() {
	var all []string
	for _, w := range c.args {
		if !w.known {
			c.changes.named(c.at, w.text)
		}
		all = append(all, w.text)
	}
	c.changes.run(c.at.Path, c.at.Line, strings.Join(all, " "))
}

// vendors are where a distribution has its own programs, which change nothing of
// what K3s runs with, and what scripts take variables from.
var vendors = []string{
	"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/lib", "/usr/lib", "/usr/libexec", "/lib64", "/usr/share", "/etc/default", "/etc/sysconfig", "/etc/conf.d",
	"/dev", "/proc", "/run", "/sys", "/tmp", "/var/run", "/etc/os-release", "/etc/profile", "/etc/udev", "/etc/environment",
}

// Distribution says whether p lies where a distribution has its own programs, or
// nothing of an image is.
func Distribution(p string) bool {
	return slices.ContainsFunc(vendors, func(dir string) bool { return node.Within(dir, p) })
}

// follow reads the script that is run; of another program that is not the
// distribution's it is only known what it is told.
func (s *shell) follow(at Place, program string, args []word) {
	program = path.Clean(program)
	if !path.IsAbs(program) || Distribution(program) || path.Base(program) == "k3s" {
		return
	}
	for _, w := range args {
		s.changes.told(at, program, w.text)
	}
	s.changes.script(program)
}

// told notes that a program of which nothing is known is given a path of the
// node, unless it is a script that can be read.
func (c *Changes) told(at Place, program, text string) {
	if e, presence := c.node.Lookup(program); presence == node.Present && e.Kind == node.KindFile {
		c.named(at, text)
	}
}
