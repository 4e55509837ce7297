package node

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// logicalLine is a line of a unit file after joining continuations.
type logicalLine struct {
	text   string
	starts []lineStart
}

// lineStart says that the text from offset on stands in line number line.
type lineStart struct{ offset, line int }

// at returns a function from an offset behind base to the line it stands in.
func (l logicalLine) at(base int) func(int) int {
	return func(offset int) int {
		line := 0
		for _, s := range l.starts {
			if s.offset <= base+offset {
				line = s.line
			}
		}
		return line
	}
}

// logicalLines joins continued lines the way systemd does: a backslash at the
// very end becomes a blank, comment lines between are left out, and so are
// comments elsewhere.
func logicalLines(text string) []logicalLine {
	var out []logicalLine
	var cur logicalLine
	open := false
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		trimmed := strings.TrimLeft(line, " \t")
		if trimmed != "" && (trimmed[0] == '#' || trimmed[0] == ';') {
			continue
		}
		cur.starts = append(cur.starts, lineStart{len(cur.text), i + 1})
		backslashes := len(line) - len(strings.TrimRight(line, `\`))
		if backslashes%2 == 1 {
			cur.text += line[:len(line)-1] + " "
			open = true
			continue
		}
		cur.text += line
		out = append(out, cur)
		cur, open = logicalLine{}, false
	}
	if open {
		out = append(out, cur)
	}
	return out
}

// rawWord is a word and its offset in the text it was cut from. bare tells
// that no part of it was quoted or escaped.
type rawWord struct {
	text   string
	offset int
	bare   bool
}

// splitWords splits by blanks with systemd's quoting (systemd.syntax(7)):
// single and double quotes where a word begins or inside it, C escapes.
func splitWords(s string) ([]rawWord, error) {
	var out []rawWord
	for i := 0; ; {
		for i < len(s) && strings.IndexByte(" \t\n\r", s[i]) >= 0 {
			i++
		}
		if i == len(s) {
			return out, nil
		}
		w := rawWord{offset: i, bare: true}
		if rest, ok := strings.CutPrefix(s[i:], `\;`); ok && (rest == "" || strings.IndexByte(" \t\n\r", rest[0]) >= 0) {
			out = append(out, rawWord{text: ";", offset: i}) // a semicolon that ends no command
			i += 2
			continue
		}
		var b strings.Builder
		var quote byte
		for ; i < len(s); i++ {
			c := s[i]
			if quote == 0 && strings.IndexByte(" \t\n\r", c) >= 0 {
				break
			}
			switch {
			case c == '\\':
				n := unescape(&b, s[i+1:])
				if n == 0 { // an unknown escape stays as it stands, with what follows
					b.WriteByte(c)
					if i+1 < len(s) {
						i++
						b.WriteByte(s[i])
					}
				}
				i += n
				w.bare = false
			case quote == 0 && (c == '\'' || c == '"'):
				quote, w.bare = c, false
			case c == quote:
				quote = 0
			default:
				b.WriteByte(c)
			}
		}
		if quote != 0 {
			return out, fmt.Errorf("unbalanced %c", quote)
		}
		w.text = b.String()
		out = append(out, w)
	}
}

var simpleEscapes = map[byte]byte{
	'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v',
	'\\': '\\', '"': '"', '\'': '\'', 's': ' ',
}

// unescape writes what the escape sequence at the front of s (behind its
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
	switch {
	case err != nil || v == 0:
		return 0
	case form.digits <= 3 && v <= 0xff:
		b.WriteByte(byte(v))
	case form.digits > 3 && utf8.ValidRune(rune(v)):
		b.WriteRune(rune(v))
	default:
		return 0
	}
	return end
}

// execWords splits an ExecStart value. literal tells of the ":" prefix, under
// which variables are not replaced. Of several commands in one line only the
// first is returned; systemd allows several only for oneshot services.
func execWords(unit, file, value string, where func(int) int) (words []Word, literal bool, err error) {
	raw, err := splitWords(value)
	if err != nil {
		return nil, false, err
	}
	for i, w := range raw {
		if i > 0 && w.bare && w.text == ";" {
			break
		}
		words = append(words, Word{specifiers(unit, w.text), file, where(w.offset)})
	}
	if len(words) == 0 {
		return nil, false, errors.New("no command")
	}
	program := strings.TrimLeft(words[0].Text, "-@:+!|")
	prefix := words[0].Text[:len(words[0].Text)-len(program)]
	words[0].Text = program
	if privilege := strings.NewReplacer("-", "", "@", "", ":", "", "!!", "!").Replace(prefix); len(privilege) > 1 {
		return nil, false, fmt.Errorf("the prefixes %s do not go together", prefix)
	}
	if strings.Contains(prefix, "@") && len(words) > 1 {
		words = append(words[:1], words[2:]...) // the second word is argv[0]
	}
	return words, strings.Contains(prefix, ":"), nil
}

// specifiers replaces those of systemd's % specifiers that follow from the
// unit's name alone; the others are left as they stand.
func specifiers(unit, s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	return strings.NewReplacer("%%", "%", "%n", unit+".service", "%N", unit, "%p", unit, "%i", "").Replace(s)
}

// expand replaces environment variables in the words of a command line:
// ${NAME} anywhere, $NAME as a word of its own, which is split at blanks.
func expand(words []Word, env []Variable, literal bool) []Word {
	if literal {
		return words
	}
	value := map[string]Variable{}
	for _, v := range env {
		value[v.Name] = v
	}
	out := make([]Word, 0, len(words))
	for i, w := range words {
		if name, ok := strings.CutPrefix(w.Text, "$"); i > 0 && ok && variableName(name) {
			v := value[name]
			parts, err := splitWords(v.Value)
			if err != nil {
				parts = nil
				for _, f := range strings.Fields(v.Value) {
					parts = append(parts, rawWord{text: f})
				}
			}
			for _, p := range parts {
				out = append(out, Word{p.text, v.Path, v.Line})
			}
			continue
		}
		w.Text = expandBraces(w.Text, value)
		out = append(out, w)
	}
	return out
}

func expandBraces(s string, value map[string]Variable) string {
	var b strings.Builder
	for s != "" {
		before, rest, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found {
			break
		}
		if after, ok := strings.CutPrefix(rest, "$"); ok {
			b.WriteByte('$')
			s = after
			continue
		}
		if name, after, ok := strings.Cut(strings.TrimPrefix(rest, "{"), "}"); ok && strings.HasPrefix(rest, "{") && variableName(name) {
			b.WriteString(value[name].Value)
			s = after
			continue
		}
		b.WriteByte('$')
		s = rest
	}
	return b.String()
}

// variableName says whether s is a valid name of an environment variable.
func variableName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
