package boot

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// maxScript is how long a script may be whose grammar is read, in bytes; a
// longer one is searched for what it names.
const maxScript = 64 << 10

// shell is one script, or one command line, on its way through.
type shell struct {
	changes *Changes
	// file and first are where the text begins.
	file  string
	first int
	vars  map[string]expand.Variable
	// dir is where relative paths begin; "" where that is not known.
	dir string
	// functions are those that the text defines itself.
	functions map[string]*syntax.Stmt
	// steps counts what was run again: bodies of loops and functions.
	steps int
}

// word is one word of a command as the shell would expand it; known is false
// where that needs what only the running machine has.
type word struct {
	text  string
	known bool
}

// Get implements [expand.Environ].
func (s *shell) Get(name string) expand.Variable { return s.vars[name] }

// Each implements [expand.Environ].
func (s *shell) Each(f func(string, expand.Variable) bool) {
	for name, v := range s.vars {
		if !f(name, v) {
			return
		}
	}
}

// run reads a text that a shell runs; line is where it begins in file.
func (c *Changes) run(file string, line int, text string) {
	s := &shell{changes: c, file: file, first: line, vars: map[string]expand.Variable{}, functions: map[string]*syntax.Stmt{}}
	if len(text) > maxScript {
		c.search(file, line, text)
		return
	}
	parsed, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		c.search(file, line, text)
		return
	}
	s.walk(parsed)
}

// walk goes through a part of the text in its order.
func (s *shell) walk(part syntax.Node) {
	syntax.Walk(part, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.FuncDecl:
			if n.Name != nil {
				s.functions[n.Name.Value] = n.Body
			}
		case *syntax.DeclClause:
			s.assign(n.Args)
		case *syntax.ForClause:
			return !s.loop(n)
		case *syntax.Stmt:
			s.redirections(n)
		case *syntax.BinaryCmd:
			s.pipe(n)
		case *syntax.CallExpr:
			if len(n.Args) == 0 {
				s.assign(n.Assigns)
			}
			words := s.words(n.Args)
			s.call(s.at(n), words, "", false)
			s.function(words)
		}
		return true
	})
}

// maxSteps is how often bodies of loops and functions are run.
const maxSteps = 200

// again says whether another body may be run.
func (s *shell) again() bool {
	s.steps++
	return s.steps <= maxSteps
}

// loop runs the body of a loop over words that are known for each of them.
func (s *shell) loop(n *syntax.ForClause) bool {
	iter, ok := n.Loop.(*syntax.WordIter)
	if !ok {
		return false
	}
	items := s.words(iter.Items)
	if len(items) == 0 || slices.ContainsFunc(items, func(w word) bool { return !w.known }) {
		return false
	}
	for _, item := range items {
		if !s.again() {
			return false
		}
		s.vars[iter.Name.Value] = variable(item.text)
		for _, stmt := range n.Do {
			s.walk(stmt)
		}
	}
	return true
}

// function runs the body of a function of the text with its arguments.
func (s *shell) function(words []word) {
	if len(words) == 0 || !words[0].known || s.functions[words[0].text] == nil || !s.again() {
		return
	}
	body := s.functions[words[0].text]
	delete(s.functions, words[0].text) // which a body does not call again
	defer func() { s.functions[words[0].text] = body }()
	for i, w := range words[1:] {
		if w.known && len(w.text) <= maxVariable {
			s.vars[strconv.Itoa(i+1)] = variable(w.text)
			defer delete(s.vars, strconv.Itoa(i+1))
		}
	}
	s.walk(body)
}

func variable(text string) expand.Variable {
	return expand.Variable{Set: true, Kind: expand.String, Str: text}
}

func (s *shell) at(n syntax.Node) Place {
	return Place{s.file, s.first + int(min(n.Pos().Line(), 1<<30)) - 1}
}

// maxVariable is how long the text of a variable may be, in bytes: it may stand
// in the next one any number of times.
const maxVariable = 4096

// assign notes the variables whose values the text tells.
func (s *shell) assign(all []*syntax.Assign) {
	for _, a := range all {
		if a.Name == nil {
			continue
		}
		delete(s.vars, a.Name.Value)
		if w := s.word(a.Value); a.Value != nil && w.known && len(w.text) <= maxVariable {
			s.vars[a.Name.Value] = variable(w.text)
		}
	}
}

// errRuns says that a word depends on what a command prints.
var errRuns = errors.New("a command would have to be run")

func (s *shell) config() *expand.Config {
	return &expand.Config{
		Env: s, NoUnset: true,
		CmdSubst:  func(io.Writer, *syntax.CmdSubst) error { return errRuns },
		ProcSubst: func(*syntax.ProcSubst) (string, error) { return "", errRuns },
	}
}

// expanded calls f, which expands words; a word that the library cannot expand
// is one that is not known.
func expanded[T any](f func() (T, error)) (out T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("expanding a word: %v", p)
		}
	}()
	return f()
}

// word expands a word without splitting it.
func (s *shell) word(w *syntax.Word) word {
	if w == nil {
		return word{}
	}
	if text, err := expanded(func() (string, error) { return expand.Literal(s.config(), w) }); err == nil {
		return word{text, true}
	}
	return word{printed(w), false}
}

// words expands the words of a command.
func (s *shell) words(all []*syntax.Word) []word {
	var out []word
	for _, w := range all {
		fields, err := expanded(func() ([]string, error) { return some(expand.FieldsSeq(s.config(), w)) })
		if err != nil {
			out = append(out, word{printed(w), false})
			continue
		}
		for _, f := range fields {
			out = append(out, word{f, true})
		}
	}
	return out
}

// maxFields is how many words one word may become.
const maxFields = 1000

// errMany says that a word becomes more words than are looked at.
var errMany = errors.New("a word becomes too many")

// some takes what a sequence has, up to maxFields.
func some[T any](all iter.Seq2[T, error]) ([]T, error) {
	var out []T
	for v, err := range all {
		if err != nil {
			return nil, err
		}
		if out = append(out, v); len(out) > maxFields {
			return nil, errMany
		}
	}
	return out, nil
}

// printed is a word as it is written.
func printed(w *syntax.Word) string {
	var out strings.Builder
	_ = syntax.NewPrinter().Print(&out, w)
	return out.String()
}

// redirections notes what a statement writes to files.
func (s *shell) redirections(stmt *syntax.Stmt) {
	for _, r := range stmt.Redirs {
		switch r.Op {
		case syntax.RdrOut, syntax.AppOut, syntax.RdrAll, syntax.AppAll, syntax.RdrClob, syntax.RdrInOut:
			value, known := s.printed(stmt)
			s.written(s.at(r), s.word(r.Word), value, known)
		case syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc:
			s.fed(stmt, r)
		}
	}
}

// fed notes what a shell, or sysctl, does that reads a here-document.
func (s *shell) fed(stmt *syntax.Stmt, r *syntax.Redirect) {
	call, ok := stmt.Cmd.(*syntax.CallExpr)
	if !ok {
		return
	}
	text := s.word(r.Hdoc)
	if r.Op == syntax.WordHdoc {
		text = s.word(r.Word)
	}
	s.call(s.at(r), s.words(call.Args), text.text, text.known)
}

// pipe notes what "echo 1 | tee FILE" and "echo chmod 644 FILE | sh" do.
func (s *shell) pipe(b *syntax.BinaryCmd) {
	call, ok := b.Y.Cmd.(*syntax.CallExpr)
	if !ok || b.Op != syntax.Pipe && b.Op != syntax.PipeAll {
		return
	}
	value, known := s.printed(b.X)
	words := s.words(call.Args)
	if len(words) > 1 && path.Base(words[0].text) == "xargs" {
		s.xargs(s.at(call), b.X, words[1:], value, known)
		return
	}
	s.call(s.at(call), words, value, known)
}

// xargs runs a command on what find finds, or on what is printed.
func (s *shell) xargs(at Place, from *syntax.Stmt, words []word, value string, known bool) {
	for len(words) > 0 && strings.HasPrefix(words[0].text, "-") {
		words = words[1:]
	}
	if call, ok := from.Cmd.(*syntax.CallExpr); ok && len(call.Args) > 0 && len(words) > 0 {
		finds := s.words(call.Args)
		if path.Base(finds[0].text) == "find" {
			words = append([]word{{"find", true}}, append(slices.Clone(finds[1:]), append([]word{{"-exec", true}}, append(slices.Clone(words), word{"{}", true})...)...)...)
			s.call(at, words, "", false)
			return
		}
	}
	if known {
		for _, field := range strings.Fields(value) {
			words = append(words, word{field, true})
		}
		s.call(at, words, "", false)
	}
}

// printed is what a statement writes to its standard output: of echo, printf
// and a here-document, where every word is known.
func (s *shell) printed(stmt *syntax.Stmt) (string, bool) {
	call, ok := stmt.Cmd.(*syntax.CallExpr)
	if !ok || len(call.Args) == 0 {
		return "", false
	}
	words := s.words(call.Args)
	args := texts(words[1:])
	if slices.ContainsFunc(words, func(w word) bool { return !w.known }) {
		if name := path.Base(words[0].text); name == "echo" || name == "printf" {
			return strings.Join(args, " "), false
		}
		return "", false
	}
	switch path.Base(words[0].text) {
	case "echo":
		for len(args) > 0 && slices.Contains([]string{"-n", "-e", "-E", "-ne", "-en"}, args[0]) {
			args = args[1:]
		}
		return strings.TrimSuffix(strings.Join(args, " "), `\n`), true
	case "printf":
		if len(args) == 2 && (args[0] == "%s" || args[0] == `%s\n` || args[0] == "%d" || args[0] == `%d\n`) {
			return args[1], true
		}
		return strings.TrimSuffix(strings.Join(args, " "), `\n`), len(args) == 1 && !strings.Contains(args[0], "%")
	case "cat":
		for _, r := range stmt.Redirs {
			if r.Hdoc != nil {
				w := s.word(r.Hdoc)
				return w.text, w.known
			}
		}
	}
	return "", false
}

func texts(words []word) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w.text
	}
	return out
}

// absolute is a path from the directory that the text has entered.
func (s *shell) absolute(p string) string {
	if path.IsAbs(p) || s.dir == "" {
		return p
	}
	return path.Join(s.dir, p)
}

// written notes a write to the file that w names.
func (s *shell) written(at Place, w word, value string, known bool) {
	s.changes.wroteUnit(at, w, value)
	switch {
	case w.known && strings.HasPrefix(w.text, "/dev/"):
	case w.known:
		w.text = s.absolute(w.text)
		s.changes.write(at, w.text, value, known, false)
		s.changes.change(fileChange{Place: at, pattern: w.text, uid: -1, gid: -1, news: value == "" || concerns.MatchString(value)})
	default:
		s.changes.named(at, w.text)
	}
}

// concerns are the keys in whose place a new configuration file could put others.
var concerns = regexp.MustCompile(`-arg\b|protect-kernel|secrets-encryption|disable|ubelet|NetworkPolicy|\bkernel\b|\bvm\b|Exec|write-kubeconfig-|` +
	`data-dir|rootless|datastore-endpoint|K3S_(?:KUBECONFIG|CONFIG|DATA)|ServiceAccount|pod-security|\bUser=|EnvironmentFile`)

// named notes that what a text names may be changed: the parameters and the
// paths in it.
func (c *Changes) named(at Place, text string) {
	for _, key := range parameterNames.FindAllString(text, -1) {
		key = strings.TrimPrefix(key, "/proc/sys/")
		c.set(at, strings.ReplaceAll(key, ".", "/"), "", false, false)
	}
	for _, p := range pathNames.FindAllString(text, -1) {
		if e, presence := c.node.Lookup(path.Clean(p)); presence == node.Present && e.Kind == node.KindFile {
			c.change(fileChange{Place: at, action: covers, pattern: p, uid: -1, gid: -1})
		}
	}
}

var (
	parameterNames = regexp.MustCompile(`\b(?:/proc/sys/)?(?:vm|kernel)[./][a-z_]+(?:[./][a-z_]+)*`)
	pathNames      = regexp.MustCompile(`/(?:etc|var|usr|opt|srv)(?:/[\w.@+-]+)+`)
)

// search looks for what a text that is no shell script, or too long to be read
// as one, names.
func (c *Changes) search(file string, first int, text string) {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' {
			c.named(Place{file, first + i}, line)
		}
	}
}
