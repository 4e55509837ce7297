package sysctl

import (
	"fmt"
	"strings"
)

// maxAlternatives is how many patterns the braces of one key may stand for.
const maxAlternatives = 1024

// isGlob says whether systemd-sysctl takes a key for a glob. Braces alone make
// none.
func isGlob(key string) bool { return strings.ContainsAny(key, "*?[") }

// keyPattern is a glob(3) pattern without braces, its parts between slashes.
type keyPattern struct {
	parts []string
	// crooked patterns name a parameter in another spelling (kernel//panic),
	// in which systemd-sysctl does not see that it is set by its whole name.
	crooked bool
}

// keyPatterns expands the braces of a glob.
func keyPatterns(glob string) ([]keyPattern, error) {
	left := maxAlternatives
	var out []keyPattern
	for _, text := range expandAlternatives(glob, &left) {
		if p, ok := newKeyPattern(text); ok {
			out = append(out, p)
		}
	}
	if left < 0 {
		return nil, fmt.Errorf("the braces of a key stand for more than %d patterns, so what they set is not judged: write fewer", maxAlternatives)
	}
	return out, nil
}

// newKeyPattern takes a pattern apart; one that can match nothing that is
// written is none.
func newKeyPattern(text string) (keyPattern, bool) {
	var p keyPattern
	all := strings.Split(text, "/")
	for i, part := range all {
		switch plain := unescaped(part); {
		case plain == "..":
			return p, false // systemd-sysctl writes nothing there
		case plain != "" && plain != ".":
			p.parts = append(p.parts, part)
		case i == len(all)-1:
			return p, false // a directory
		case len(p.parts) > 0:
			p.crooked = true
		}
	}
	return p, true
}

// match says whether the pattern matches a path of these parts.
func (p keyPattern) match(parts []string) bool {
	if len(p.parts) != len(parts) {
		return false
	}
	for i, part := range p.parts {
		if !matchName(part, parts[i]) {
			return false
		}
	}
	return true
}

// expandAlternatives expands {a,b} as glob(3) does with GLOB_BRACE: a brace
// that is never closed leaves what it stands in as it is. left is counted down
// by the patterns made and ends the work below zero.
func expandAlternatives(s string, left *int) []string {
	open := 0
	for open < len(s) && s[open] != '{' {
		if s[open] == '\\' {
			open++
		}
		open++
	}
	var inner []string
	end := open
	for end < len(s) && (end == open || s[end] == ',') {
		stop := braceEnd(s, end+1)
		if stop < len(s) {
			inner = append(inner, s[end+1:stop])
		}
		end = stop
	}
	if *left--; *left < 0 {
		return nil
	}
	if open >= len(s) || end >= len(s) {
		return []string{s}
	}
	var out []string
	for _, alternative := range inner {
		out = append(out, expandAlternatives(s[:open]+alternative+s[end+1:], left)...)
	}
	return out
}

// braceEnd returns where, from i on, the next comma or closing brace of the
// same depth stands; len(s) where there is none.
func braceEnd(s string, i int) int {
	for depth := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(s)
}

// matchName matches one file name as fnmatch(3) does with FNM_PERIOD, byte by
// byte.
func matchName(pattern, name string) bool {
	if strings.HasPrefix(name, ".") && !strings.HasPrefix(pattern, ".") && !strings.HasPrefix(pattern, `\.`) {
		return false
	}
	// after the last star seen, and where in name it stands for the least
	star, retry := -1, 0
	p, n := 0, 0
	for n < len(name) || p < len(pattern) {
		if p < len(pattern) && pattern[p] == '*' {
			star, retry = p+1, n
			p++
			continue
		}
		if n < len(name) {
			if length := matchByte(pattern[p:], name[n]); length > 0 {
				p += length
				n++
				continue
			}
		}
		if star < 0 || retry >= len(name) {
			return false
		}
		retry++
		p, n = star, retry
	}
	return true
}

// matchByte returns the length of the element at the front of pattern if it
// matches c, else 0.
func matchByte(pattern string, c byte) int {
	if pattern == "" {
		return 0
	}
	length, ok := 1, pattern[0] == c
	switch pattern[0] {
	case '?':
		ok = true
	case '\\':
		if len(pattern) == 1 {
			return 0
		}
		length, ok = 2, pattern[1] == c
	case '[':
		if l, in := matchBracket(pattern, c); l > 0 {
			length, ok = l, in
		}
	}
	if !ok {
		return 0
	}
	return length
}

// characterClasses are those of POSIX in the C locale.
var characterClasses = map[string]func(c byte) bool{
	"alpha":  isLetter,
	"digit":  isDigit,
	"alnum":  func(c byte) bool { return isLetter(c) || isDigit(c) },
	"upper":  func(c byte) bool { return c >= 'A' && c <= 'Z' },
	"lower":  func(c byte) bool { return c >= 'a' && c <= 'z' },
	"space":  func(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' },
	"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
	"cntrl":  func(c byte) bool { return c < ' ' || c == 0x7f },
	"graph":  func(c byte) bool { return c > ' ' && c < 0x7f },
	"print":  func(c byte) bool { return c >= ' ' && c < 0x7f },
	"punct":  func(c byte) bool { return c > ' ' && c < 0x7f && !isLetter(c) && !isDigit(c) },
	"xdigit": func(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' },
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// matchBracket reads the bracket expression at the front of pattern and
// returns its length, 0 if it is never closed, and whether c is in it.
func matchBracket(pattern string, c byte) (length int, in bool) {
	i := 1
	negated := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if negated {
		i++
	}
	for first := i; i < len(pattern); {
		if pattern[i] == ']' && i > first {
			return i + 1, in != negated
		}
		if name, rest, ok := strings.Cut(strings.TrimPrefix(pattern[i:], "[:"), ":]"); ok && strings.HasPrefix(pattern[i:], "[:") {
			class, known := characterClasses[name]
			if known {
				in = in || class(c)
				i = len(pattern) - len(rest)
				continue
			}
		}
		low, next := bracketByte(pattern, i)
		high := low
		if next+1 < len(pattern) && pattern[next] == '-' && pattern[next+1] != ']' {
			high, next = bracketByte(pattern, next+1)
		}
		in = in || low <= c && c <= high
		i = next
	}
	return 0, false
}

// bracketByte returns the byte that stands at i in a bracket expression, also
// as [.c.] or [=c=], and where the next one does.
func bracketByte(pattern string, i int) (c byte, next int) {
	if rest := pattern[i:]; len(rest) >= 5 && (rest[:2] == "[." && rest[3:5] == ".]" || rest[:2] == "[=" && rest[3:5] == "=]") {
		return rest[2], i + 5
	}
	if pattern[i] == '\\' && i+1 < len(pattern) {
		i++
	}
	return pattern[i], i + 1
}

// unescaped takes away the backslashes of a pattern.
func unescaped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
