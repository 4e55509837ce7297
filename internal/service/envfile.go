package service

import (
	"bytes"
	"errors"
	"strings"
)

// readEnvironment reads an environment file and says what systemd refuses it
// for as a whole.
func readEnvironment(path string, data []byte) ([]Variable, error) {
	if bytes.IndexByte(data, 0) >= 0 {
		return nil, errors.New("holds a zero byte")
	}
	vars, whole := parseEnvironment(path, data)
	if !whole {
		return nil, errors.New("holds text that is not UTF-8")
	}
	return vars, nil
}

// EnvironmentFile reads the syntax of systemd's EnvironmentFile (systemd.exec(5)):
// NAME=VALUE lines, comments with # or ;, single and double quotes around the
// value or parts of it, a backslash before a line break. A line that is no
// assignment, or whose name is not valid, is passed over as systemd does.
// Every assignment is returned, in order; the last of a name counts.
func EnvironmentFile(path string, data []byte) []Variable {
	out, _ := parseEnvironment(path, data)
	return out
}

// parseEnvironment also says whether all names and values are text: a file of
// which one is not is refused by systemd.
func parseEnvironment(path string, data []byte) (out []Variable, whole bool) {
	whole = true
	r := &envReader{s: data, line: 1}
	for r.i < len(r.s) {
		switch r.s[r.i] {
		case '\n', '\r', ' ', '\t':
			r.next()
		case '#', ';':
			r.comment()
		default:
			line := r.line
			if name, ok := r.name(); ok {
				value := r.value()
				whole = whole && validText(name) && validText(value)
				if variableName(name) {
					out = append(out, Variable{Name: name, Value: value, Path: path, Line: line})
				}
			}
		}
	}
	return out, whole
}

type envReader struct {
	s       []byte
	i, line int
}

// next returns the byte at the reader and steps over it.
func (r *envReader) next() byte {
	c := r.s[r.i]
	r.i++
	if c == '\n' {
		r.line++
	}
	return c
}

func (r *envReader) comment() {
	for r.i < len(r.s) {
		switch r.next() {
		case '\n', '\r':
			return
		case '\\':
			if r.i < len(r.s) {
				r.next() // a continued comment stays one
			}
		}
	}
}

func (r *envReader) name() (string, bool) {
	start := r.i
	r.next() // the first character belongs to the name, whatever it is
	for r.i < len(r.s) {
		switch r.next() {
		case '\n', '\r':
			return "", false
		case '=':
			return strings.TrimRight(string(r.s[start:r.i-1]), " \t"), true
		}
	}
	return "", false
}

// value reads up to the end of the line. Blanks before, between and behind
// quoted parts are dropped, and so are those behind an unquoted part.
func (r *envReader) value() string {
	var b strings.Builder
	trim := -1 // length of b without unquoted blanks at its end
	plain := false
	for r.i < len(r.s) {
		c := r.next()
		blank := c == ' ' || c == '\t'
		switch {
		case c == '\n' || c == '\r':
			return cut(b.String(), trim)
		case c == '\\':
			if r.i < len(r.s) {
				if e := r.next(); e != '\n' && e != '\r' {
					b.WriteByte(e)
				}
			}
			plain, trim = true, -1
		case !plain && c == '\'':
			r.quoted(&b, '\'')
			trim = -1
		case !plain && c == '"':
			r.quoted(&b, '"')
			trim = -1
		case !plain && blank:
		default:
			if !blank {
				trim = -1
			} else if trim < 0 {
				trim = b.Len()
			}
			plain = true
			b.WriteByte(c)
		}
	}
	return cut(b.String(), trim)
}

func cut(s string, n int) string {
	if n < 0 {
		return s
	}
	return s[:n]
}

func (r *envReader) quoted(b *strings.Builder, quote byte) {
	for r.i < len(r.s) {
		c := r.next()
		switch {
		case c == quote:
			return
		case quote == '"' && c == '\\' && r.i == len(r.s): // escapes nothing, and is lost
		case quote == '"' && c == '\\':
			e := r.next()
			if strings.IndexByte("\"\\`$", e) < 0 && e != '\n' {
				b.WriteByte('\\')
			}
			if e != '\n' {
				b.WriteByte(e)
			}
		default:
			b.WriteByte(c)
		}
	}
}
