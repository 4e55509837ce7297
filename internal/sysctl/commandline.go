package sysctl

import (
	"fmt"
	"iter"
	"strings"
	"unicode"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// commandLine is one line of kernel arguments.
type commandLine struct {
	input bool
	path  string
	line  int
	words []string
}

func commandLineQuery() node.Query {
	var q node.Query
	for _, s := range bootSources {
		pick := node.Pick{Path: s.path, Content: true}
		if s.suffix != "" {
			pick.Depth, pick.Section = max(s.depth, 1), s.section
		}
		q = append(q, pick)
	}
	for _, dir := range efiDirs {
		q = append(q, node.Pick{Path: dir + "/EFI", Depth: 2, Section: commandLineSection})
	}
	return q
}

// readCommandLines collects the kernel command lines that the node's files
// hold. A disk that another machine boots with a kernel of its own has none.
// What holds one and cannot be read, or says that one is where nothing was
// looked at, is an error.
func readCommandLines(n *node.Node) ([]commandLine, error) {
	var out []commandLine
	read := bootFiles()
	for _, s := range bootSources {
		files, err := s.files(n)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if f.Sections != nil && s.section != "" {
				out = append(out, unifiedLines(f.Path, f.Sections)...)
				continue
			}
			data, err := f.Content()
			if err != nil {
				return nil, fmt.Errorf("it may hold a kernel command line: %w%s", err, s.instead)
			}
			lines, err := s.format(s, read, f.Path, data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Path, err)
			}
			out = append(out, lines...)
		}
	}
	started, err := startedByEFI(n)
	return append(out, started...), err
}

// files are the node's files of one source.
func (s bootSource) files(n *node.Node) ([]node.Entry, error) {
	e, p := n.Lookup(s.path)
	switch {
	case p == node.Unknown:
		return nil, &node.UnknownPathError{Path: s.path, How: n.Undone(s.path)}
	case s.suffix == "" && e.Kind == node.KindFile && p == node.Present:
		return []node.Entry{e}, nil
	case s.suffix == "":
		return nil, nil
	case e.Unread != "":
		return nil, fmt.Errorf("%s cannot be listed: %s", e.Path, e.Unread)
	}
	var out []node.Entry
	for _, f := range n.Below(s.path) {
		depth := strings.Count(strings.TrimPrefix(f.Path, s.path), "/")
		switch {
		case f.Kind == node.KindDirectory && f.Unread != "" && depth < s.depth:
			return nil, fmt.Errorf("%s cannot be listed: %s", f.Path, f.Unread)
		case f.Kind == node.KindFile && depth <= max(s.depth, 1) && hasSuffixFold(f.Path, s.suffix):
			out = append(out, f)
		}
	}
	return out, nil
}

// hasSuffixFold is strings.HasSuffix for names on a file system that does not
// tell capitals from small letters.
func hasSuffixFold(name, suffix string) bool {
	return len(name) >= len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix)
}

// textLines are the command lines in a file of text.
func textLines(s bootSource, read []string, file string, data []byte) ([]commandLine, error) {
	var out []commandLine
	for i, line := range joinedLines(string(data)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if err := s.leads(line, read); err != nil {
			return nil, fmt.Errorf("line %d: %w", i, err)
		}
		c := commandLine{input: s.input, path: file, line: i}
		rest, ok := line, len(s.starts) == 0
		for _, start := range s.starts {
			if r, found := cutStart(line, start); found {
				rest, ok = r, true
				break
			}
		}
		if !ok && !s.script {
			continue
		}
		c.input = c.input || !ok
		c.words = strings.Fields(strings.NewReplacer(`"`, " ", `'`, " ").Replace(rest))
		if s.script {
			c.words = strings.FieldsFunc(rest, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`"';{}`, r) })
		}
		if c.input {
			c.words = withValues(c.words)
		}
		out = append(out, c)
	}
	return out, nil
}

// joinedLines yields the lines of a text by their numbers, from 1. A line that
// ends in a backslash goes on in the next one.
func joinedLines(text string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		begun, joined := 0, ""
		for i, line := range strings.Split(text, "\n") {
			if begun == 0 {
				begun = i + 1
			}
			more, goesOn := strings.CutSuffix(strings.TrimSuffix(line, "\r"), `\`)
			if joined += more; goesOn {
				continue
			}
			if !yield(begun, joined) {
				return
			}
			begun, joined = 0, ""
		}
		if begun > 0 {
			yield(begun, joined)
		}
	}
}

// withValues adds the values of variables that words set, which may be a
// parameter themselves: extra=sysctl.kernel.panic=0.
func withValues(words []string) []string {
	for _, word := range words {
		if _, value, ok := strings.Cut(word, "="); ok && strings.Contains(value, "=") {
			words = append(words, value)
		}
	}
	return words
}

// cutStart cuts a variable ("NAME=", matched exactly) or a word of a boot
// loader (in any case, a blank behind) from the front of line.
func cutStart(line, start string) (string, bool) {
	if strings.HasSuffix(start, "=") {
		return strings.CutPrefix(strings.Replace(line, "+=", "=", 1), start)
	}
	fields := strings.Fields(line)
	if !strings.EqualFold(fields[0], start) {
		return "", false
	}
	return line[len(fields[0]):], true
}

// bootSetting is a sysctl that one command line sets.
type bootSetting struct {
	value string
	// late settings (sysctl.NAME) are applied right before init starts; the
	// others (panic=, oops=panic) before any program runs, so that a sysctl
	// file always beats them (kernel-parameters.txt).
	late bool
}

// parameters returns the sysctl settings of one command line by their path;
// the last one of a name wins.
func (c commandLine) parameters() map[string]bootSetting {
	out := map[string]bootSetting{}
	for _, word := range c.words {
		name, value, ok := strings.Cut(word, "=")
		late, isLate := strings.CutPrefix(strings.Replace(name, "sysctl/", "sysctl.", 1), "sysctl.")
		switch {
		case !ok:
		case isLate:
			out[pathOf(late)] = bootSetting{value, true}
		case name == "panic":
			out["kernel/panic"] = bootSetting{value, false}
		case word == "oops=panic":
			out["kernel/panic_on_oops"] = bootSetting{"1", false}
		}
	}
	return out
}

// commandLine adds to p what the boot entries say of key. With a setting of a
// file only a contradicting sysctl.NAME matters; without one, the value counts
// when every boot entry gives it.
func (p *Parameter) commandLine(key string, lines []commandLine, set bool) {
	var said []Setting
	everywhere, entries := true, 0
	for _, line := range lines {
		v, ok := line.parameters()[key]
		if !line.input {
			entries++
			everywhere = everywhere && ok
		}
		if !ok {
			continue
		}
		s := Setting{Value: v.value, Path: line.path, Line: line.line, Note: "kernel command line"}
		if !set || (v.late && v.value != p.Setting.Value) {
			said = append(said, s)
		}
	}
	if set || len(said) == 0 {
		p.Conflicts = append(p.Conflicts, said...)
		return
	}
	for _, s := range said {
		everywhere = everywhere && s.Value == said[0].Value
	}
	if everywhere && entries > 0 && len(p.Conflicts) == 0 {
		p.Setting = said[0]
		return
	}
	p.Conflicts = append(p.Conflicts, said...)
}

// Argument is one word of a kernel command line.
type Argument struct {
	// Name is what stands before "=", and Value what stands behind it.
	Name, Value string
	// Path and Line say where it is.
	Path string
	Line int
}

// Arguments yields the kernel arguments of all command lines that a boot may have.
func (b *Parameters) Arguments() iter.Seq[Argument] {
	return func(yield func(Argument) bool) {
		for _, l := range b.lines {
			for _, word := range l.words {
				name, value, _ := strings.Cut(word, "=")
				if !yield(Argument{name, value, l.path, l.line}) {
					return
				}
			}
		}
	}
}
