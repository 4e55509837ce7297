package safetext

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLine is how many characters of one text are shown. What a person can judge
// by is shorter; a hostile node's one-line file of a gigabyte is not.
const maxLine = 2000

// Line returns s as one line of printable UTF-8 of at most 2,000 characters.
// Control and invisible formatting characters (terminal escapes, direction
// overrides, what XML forbids) become visible escapes such as \x1b or \u202e, a
// line break becomes \n, bytes that are not UTF-8 become \xff. What is cut off
// is said at the end. Cleaning what is clean changes nothing.
func Line(s string) string { return clean(s, false) }

// Text does as Line does, but keeps line breaks: the limit is for the whole.
func Text(s string) string { return clean(unixLines(s), true) }

// Lines cleans each line of s as Line does and keeps the line breaks; there may
// be any number of lines.
func Lines(s string) string {
	if printable(strings.ReplaceAll(s, "\n", "")) && !overlong(s) {
		return s
	}
	lines := strings.Split(unixLines(s), "\n")
	for i, l := range lines {
		lines[i] = Line(l)
	}
	return strings.Join(lines, "\n")
}

func overlong(s string) bool {
	for line := range strings.Lines(s) {
		if len(line) > maxLine {
			return true
		}
	}
	return false
}

func unixLines(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }

func clean(s string, lines bool) string {
	if len(s) <= maxLine && printable(s) {
		return s // as nearly all are
	}
	var b strings.Builder
	n := 0
	for i := 0; i < len(s) && n <= maxLine; {
		r, size := utf8.DecodeRuneInString(s[i:])
		e := escape(s[i:i+size], r, lines)
		b.WriteString(e)
		n += utf8.RuneCountInString(e)
		i += size
	}
	if n <= maxLine {
		return b.String()
	}
	note := fmt.Sprintf("… (%d bytes in all)", len(s))
	return string([]rune(b.String())[:maxLine-utf8.RuneCountInString(note)]) + note
}

// printable reports whether s has nothing but ASCII that can be seen. It looks
// at bytes, which takes half as long as runes do: every text comes by here.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// escape is how clean shows r, which raw encodes.
func escape(raw string, r rune, lines bool) string {
	switch {
	case r == utf8.RuneError && len(raw) == 1:
		return fmt.Sprintf(`\x%02x`, raw[0])
	case r == '\n' && !lines:
		return `\n`
	case r == '\t':
		return " "
	case r == '\n', unicode.IsPrint(r):
		return raw
	case r < 0x80:
		return fmt.Sprintf(`\x%02x`, r)
	case r <= 0xffff:
		return fmt.Sprintf(`\u%04x`, r)
	default:
		return fmt.Sprintf(`\U%08x`, r)
	}
}
