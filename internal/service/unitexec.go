package service

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// command is one command line of a service.
type command struct {
	words []Word
	// called is the name that the program is given by the prefix @; "" for its own.
	called string
	// literal: variables are not replaced.
	literal bool
	// shell: the prefix | was given, for which older releases of systemd refuse
	// the whole file.
	shell bool
}

// execSyntax is that of the words of commands.
var execSyntax = wordSyntax{escapes: true, unknown: true}

// execReader reads the value of one Exec setting.
type execReader struct {
	specifiers
	file  string
	value string
	where func(offset int) int
	next  int
}

// commands returns the commands of the value, separated by semicolons. An
// error is what systemd refuses the file for; the commands before it count.
func (r *execReader) commands() ([]command, error) {
	var out []command
	for {
		first, next, found, err := execSyntax.cutWord(r.value, r.next)
		if err != nil || !found {
			return out, nil //nolint:nilerr // systemd passes the rest over
		}
		r.next = next
		if first.text == ";" {
			continue
		}
		c, more, err := r.command(first)
		var prefixed *prefixError
		switch {
		case errors.As(err, &prefixed):
			return out, nil
		case err != nil:
			return out, err
		}
		out = append(out, c)
		if !more {
			return out, nil
		}
	}
}

// prefixError is an error under the prefix "-", which makes it one to pass over.
type prefixError struct{ error }

// execPrefix is what stands before a program.
type execPrefix struct {
	ignore, argv0, literal, shell bool
	privilege                     string
}

// cut takes the prefixes from word as systemd does: each once, of + ! !! one.
func (p *execPrefix) cut(word string) string {
	for word != "" {
		switch c := word[0]; {
		case c == '-' && !p.ignore:
			p.ignore = true
		case c == '@' && !p.argv0:
			p.argv0 = true
		case c == ':' && !p.literal:
			p.literal = true
		case c == '|' && !p.shell:
			p.shell = true
		case (c == '+' || c == '!') && p.privilege == "":
			p.privilege = word[:1]
		case c == '!' && p.privilege == "!":
			p.privilege = "!!"
		default:
			return word
		}
		word = word[1:]
	}
	return word
}

// command reads the command whose first word was read; more tells that a
// semicolon follows it.
func (r *execReader) command(first rawWord) (c command, more bool, err error) {
	var prefix execPrefix
	name := prefix.cut(first.text)
	defer func() {
		if err != nil && prefix.ignore && !isUnknownPath(err) {
			err = &prefixError{err}
		}
	}()
	c.literal, c.shell = prefix.literal, prefix.shell
	program, err := r.word(name, first.offset)
	if err != nil {
		return c, false, err
	}
	if !c.shell && (program.Open == "" || program.Text[0] != '%') {
		if err := checkProgram(program.Text); err != nil {
			return c, false, err
		}
	}
	c.words = []Word{program}
	argv0 := prefix.argv0 // the next word is what the program sees as its name
	for r.next < len(r.value) {
		rest := r.value[r.next:]
		if separates(rest) {
			r.skip(1)
			more = true
			break
		}
		w := rawWord{text: ";", offset: r.next}
		unknown := ""
		if rest[0] == '\\' && separates(rest[1:]) {
			r.skip(2)
		} else {
			var found bool
			w, r.next, found, err = execSyntax.cutWord(r.value, r.next)
			if err != nil {
				return c, false, err
			}
			if !found {
				break
			}
			expanded, err := r.word(w.text, w.offset)
			if err != nil {
				return c, false, err
			}
			w.text, unknown = expanded.Text, expanded.Open
		}
		if argv0 {
			argv0, c.called = false, w.text
			continue
		}
		c.words = append(c.words, Word{w.text, r.file, r.where(w.offset), unknown})
	}
	if argv0 {
		return c, false, fmt.Errorf("no name for the program behind the prefix @")
	}
	return c, more, nil
}

// separates says whether s begins with a semicolon that stands alone.
func separates(s string) bool {
	return s != "" && s[0] == ';' && (len(s) == 1 || strings.IndexByte(Blank, s[1]) >= 0)
}

// skip steps over n bytes and the blanks behind.
func (r *execReader) skip(n int) {
	rest := r.value[r.next+n:]
	r.next = len(r.value) - len(strings.TrimLeft(rest, Blank))
}

// word replaces the specifiers of a word and notes one that is not known.
func (r *execReader) word(text string, offset int) (Word, error) {
	text, open, err := r.expand(text)
	if err != nil {
		return Word{}, err
	}
	return Word{text, r.file, r.where(offset), first(open)}, nil
}

func first(specifiers []string) string {
	if len(specifiers) == 0 {
		return ""
	}
	return specifiers[0]
}

// Undetermined says that what a specifier stands for matters and no file tells it.
func Undetermined(specifier string) string {
	return specifier + " is known on the running machine only, so what it stands for here is not judged: write the value"
}

// checkProgram says what systemd refuses a program for.
func checkProgram(p string) error {
	if p == "" {
		return errors.New("no program")
	}
	for _, c := range []byte(p) {
		if c < ' ' || c == 0x7f || strings.IndexByte(`"'\`, c) >= 0 {
			return errors.New("a quote, backslash or control character in the program's name")
		}
	}
	switch parts := strings.Split(p, "/"); {
	case strings.HasSuffix(p, "/"):
		return errors.New("a directory for a program")
	case !path.IsAbs(p) && (len(parts) > 1 || p == "." || p == ".."):
		return errors.New("a program that is neither an absolute path nor a plain name")
	case len(p) >= maxPath:
		return errors.New("a program whose path is too long")
	default:
		for _, part := range parts {
			if len(part) > maxName {
				return errors.New("a program whose name is too long")
			}
		}
	}
	return nil
}

const (
	maxPath = 4096 // with the zero byte
	maxName = 255
)
