package service

import (
	"cmp"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// rawWord is a word and its offset in the text it was cut from.
type rawWord struct {
	text   string
	offset int
}

// wordSyntax is what systemd understands in the words of a setting
// (systemd.syntax(7)).
type wordSyntax struct {
	// escapes are those of C; without, a backslash takes what follows it as it
	// stands.
	escapes bool
	// unknown escapes stay as they stand; without, they are an error.
	unknown bool
	// open quotes end with the text; without, they are an error.
	open bool
}

var (
	errEscape = errors.New("an escape sequence that systemd does not know")
	errQuote  = errors.New("a quote that is never closed")
)

// cutWord returns the first word of s from offset i on, and where the next
// one begins; found is false where there is none.
func (y wordSyntax) cutWord(s string, i int) (w rawWord, next int, found bool, err error) {
	for i < len(s) && strings.IndexByte(Blank, s[i]) >= 0 {
		i++
	}
	if i == len(s) {
		return w, i, false, nil
	}
	w.offset = i
	var b strings.Builder
	var quote byte
	for ; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			n, err := y.escape(&b, s[i+1:], quote != 0)
			if err != nil {
				return w, i, false, err
			}
			i += n
		case c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote == 0 && strings.IndexByte(Blank, c) >= 0:
			w.text = b.String()
			for i < len(s) && strings.IndexByte(Blank, s[i]) >= 0 {
				i++
			}
			return w, i, true, nil
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 && !y.open {
		return w, i, false, errQuote
	}
	w.text = b.String()
	return w, i, true, nil
}

// escape writes what the escape sequence at the front of s (behind its
// backslash) stands for and returns its length.
func (y wordSyntax) escape(b *strings.Builder, s string, quoted bool) (int, error) {
	switch {
	case s == "" && y.unknown && (!quoted || y.open):
		b.WriteByte('\\')
		return 0, nil
	case s == "" && y.open:
		return 0, nil
	case s == "" && quoted:
		return 0, errQuote
	case s == "":
		return 0, errEscape
	case !y.escapes:
		b.WriteByte(s[0])
		return 1, nil
	}
	if n := unescape(b, s); n > 0 {
		return n, nil
	}
	if !y.unknown {
		return 0, errEscape
	}
	b.WriteString(`\` + s[:1])
	return 1, nil
}

// words returns the words of s up to the first that cannot be read.
func (y wordSyntax) words(s string) []rawWord {
	var out []rawWord
	for i := 0; ; {
		w, next, found, err := y.cutWord(s, i)
		if err != nil || !found {
			return out
		}
		out, i = append(out, w), next
	}
}

var simpleEscapes = map[byte]byte{
	'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v',
	'\\': '\\', '"': '"', '\'': '\'', 's': ' ',
}

// unescape writes what the C escape sequence at the front of s (behind its
// backslash) stands for and returns its length; 0 when there is no such
// sequence.
func unescape(b *strings.Builder, s string) int {
	if s == "" {
		return 0
	}
	if c, ok := simpleEscapes[s[0]]; ok {
		b.WriteByte(c)
		return 1
	}
	forms := map[byte]struct{ from, digits, base int }{'x': {1, 2, 16}, 'u': {1, 4, 16}, 'U': {1, 8, 16}}
	form, ok := forms[s[0]]
	if !ok {
		form.digits, form.base = 3, 8
	}
	end := form.from + form.digits
	if len(s) < end {
		return 0
	}
	v, err := strconv.ParseUint(s[form.from:end], form.base, 32)
	r := rune(v)
	switch {
	case err != nil || v == 0:
		return 0
	case form.digits <= 3 && v <= 0xff:
		b.WriteByte(byte(v))
	case form.digits == 4 && r >= 0xd800 && r <= 0xdfff: // written as it is, which makes no valid text
		b.Write([]byte{0xe0 | byte(r>>12), 0x80 | byte(r>>6)&0x3f, 0x80 | byte(r)&0x3f})
	case form.digits == 4, form.digits == 8 && v <= utf8.MaxRune && utf8.ValidRune(r) && !noncharacter(r):
		b.WriteRune(r)
	default:
		return 0
	}
	return end
}

// maxCommand is more than the kernel takes as arguments of a command, in bytes
// (execve(2): 6 MiB at the most).
const maxCommand = 6 << 20

// expand replaces environment variables in the words of a command line:
// ${NAME} anywhere, $NAME as a word of its own, which is split at blanks. used
// is told of every name that stands there, once. For more than maxCommand it
// returns nil.
func expand(words []Word, env []Variable, used func(name string, w Word)) []Word {
	value := make(map[string]Variable, len(env))
	for _, v := range env {
		value[v.Name] = v
	}
	told := map[string]bool{}
	use := func(name string, w Word) Variable {
		if !told[name] {
			told[name] = true
			used(name, w)
		}
		return value[name]
	}
	out := make([]Word, 0, len(words))
	size := 0
	for i, w := range words {
		if size > maxCommand {
			return nil
		}
		if name, ok := strings.CutPrefix(w.Text, "$"); i > 0 && ok && (name == "" || name[0] != '{' && name[0] != '$') {
			v := use(name, w)
			size += len(v.Value)
			for _, p := range (wordSyntax{open: true}).words(v.Value) {
				out = append(out, Word{p.text, v.Path, v.Line, v.Open})
			}
			continue
		}
		if i > 0 {
			w.Text = expandBraces(w.Text, func(name string) string {
				v := use(name, w)
				w.Open = cmp.Or(w.Open, v.Open)
				return v.Value
			})
		}
		size += len(w.Text)
		out = append(out, w)
	}
	if size > maxCommand {
		return nil
	}
	return out
}

// expandBraces replaces ${NAME}, and $$ by one of them. A name ends at the
// first brace; with a colon before that, all stays as it stands.
// What is longer than maxCommand is cut off.
func expandBraces(s string, value func(name string) string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found || b.Len() > maxCommand {
			return b.String()
		}
		if rest == "" {
			b.WriteByte('$')
			return b.String()
		}
		s = rest[1:]
		switch rest[0] {
		case '$':
			b.WriteByte('$')
		case '{':
			end := strings.IndexAny(s, "}:")
			if end >= 0 && s[end] == '}' {
				b.WriteString(value(s[:end]))
				s = s[end+1:]
				continue
			}
			if end < 0 {
				end = len(s)
			}
			b.WriteString("${" + s[:end])
			s = s[end:]
			if s != "" { // the colon
				b.WriteString(":")
				s = s[1:]
			}
		default:
			b.WriteString("$" + rest[:1])
		}
	}
}

// variableName says whether s is a valid name of an environment variable.
func variableName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || letterByte(c)
		if !letter && (i == 0 || !digitByte(c)) {
			return false
		}
	}
	return s != ""
}

func letterByte(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func digitByte(c byte) bool  { return c >= '0' && c <= '9' }
