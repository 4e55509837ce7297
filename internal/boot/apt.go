package boot

import (
	"regexp"
	"strings"
)

// aptCommand are the settings of apt whose values a shell runs as root (apt.conf(5)).
var aptCommand = regexp.MustCompile(`(?i)(-|::)invoke(-success)?$|pre-install-pkgs$|^(unattended-upgrade|apt::periodic)::.*(command|script)$`)

// aptString is a value in quotes, with the setting that it belongs to.
type aptString struct {
	name, text string
	line       int
}

// aptStrings are the values in quotes of a file in apt's syntax: names joined by ::,
// scopes in braces, comments as in C and C++ and behind a hash.
func aptStrings(text string) []aptString {
	var out []aptString
	var scopes []string
	var name strings.Builder // of the setting that is being read
	line := 1
	for i := 0; i < len(text); i++ {
		rest := text[i:]
		switch c := text[i]; {
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest, "*/")
			if end < 0 {
				return out
			}
			line += strings.Count(rest[:end], "\n")
			i += end + 1
		case strings.HasPrefix(rest, "//"), c == '#':
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				return out
			}
			i += end - 1
		case c == '"':
			value, length := aptQuoted(rest)
			out = append(out, aptString{strings.Trim(strings.Join(append(scopes[:len(scopes):len(scopes)], name.String()), "::"), ":"), value, line})
			line += strings.Count(rest[:length], "\n")
			i += length - 1
		case c == '{':
			scopes = append(scopes, strings.Trim(name.String(), ":"))
			name.Reset()
		case c == '}':
			if len(scopes) > 0 {
				scopes = scopes[:len(scopes)-1]
			}
			name.Reset()
		case c == ';':
			name.Reset()
		case c == '\n':
			line++
		case c != ' ' && c != '\t' && c != '\r':
			name.WriteByte(c)
		}
	}
	return out
}

// aptQuoted is the text in quotes that s begins with, and how long it is with
// them; one that does not end goes to the end.
func aptQuoted(s string) (string, int) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return strings.ReplaceAll(s[1:i], `\"`, `"`), i + 1
		}
	}
	return s[1:], len(s)
}
