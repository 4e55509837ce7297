package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/k3s-cis/packer-plugin-k3s/internal/cis"
)

// maxText is how many characters of one text a report shows. What a person
// can judge by is shorter; a hostile node's one-line file of a gigabyte is not.
const maxText = 2000

// line makes s one printable line.
func line(s string) string { return clean(s, false) }

// text makes s printable and keeps its line breaks.
func text(s string) string {
	return strings.TrimSpace(clean(strings.ReplaceAll(s, "\r\n", "\n"), true))
}

// clean returns s as printable UTF-8 of at most maxText characters. Control
// and invisible formatting characters (terminal escapes, direction overrides,
// what XML forbids) become visible escapes such as \x1b or \u202e, bytes that
// are not UTF-8 become \xff. Line breaks stay if lines is set. What is cut off
// is said at the end. Cleaning what is clean changes nothing.
func clean(s string, lines bool) string {
	if len(s) <= maxText && printable(s) {
		return s // as nearly all are
	}
	var b strings.Builder
	n := 0
	for i := 0; i < len(s) && n <= maxText; {
		r, size := utf8.DecodeRuneInString(s[i:])
		e := escape(s[i:i+size], r, lines)
		b.WriteString(e)
		n += utf8.RuneCountInString(e)
		i += size
	}
	if n <= maxText {
		return b.String()
	}
	note := fmt.Sprintf("… (%d bytes in all)", len(s))
	return string([]rune(b.String())[:maxText-utf8.RuneCountInString(note)]) + note
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

// cleanResult makes every text of res printable; see clean. It copies what it
// changes and leaves res alone.
func cleanResult(res cis.Result) cis.Result {
	for _, p := range []*string{&res.ID, &res.Key, &res.Title, &res.Section, &res.Found, &res.Expected} {
		*p = line(*p)
	}
	res.Reason = text(res.Reason)
	res.Remediation = text(res.Remediation)
	evidence := make([]cis.Evidence, 0, len(res.Evidence))
	for _, e := range res.Evidence {
		evidence = append(evidence, cis.Evidence{Source: line(e.Source), Line: max(e.Line, 0), Detail: line(e.Detail)})
	}
	res.Evidence = evidence
	if res.Waiver != nil {
		w := *res.Waiver
		w.Control, w.Owner, w.Role, w.Build = line(w.Control), line(w.Owner), line(w.Role), line(w.Build)
		w.Reason = text(w.Reason)
		w.Expires = w.Expires.UTC()
		res.Waiver = &w
	}
	return res
}
