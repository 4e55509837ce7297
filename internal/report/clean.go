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
func text(s string) string { return strings.TrimSpace(clean(s, true)) }

// clean returns s as printable UTF-8 of at most maxText characters. Control
// and invisible formatting characters (terminal escapes, direction overrides,
// what XML forbids) become visible escapes such as \x1b or \u202e, bytes that
// are not UTF-8 become \xff. Line breaks stay if lines is set. What is cut
// off is counted at the end.
func clean(s string, lines bool) string {
	var b strings.Builder
	n := 0
	for i := 0; i < len(s); n++ {
		if n == maxText {
			fmt.Fprintf(&b, "… (+%d bytes)", len(s)-i)
			break
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n' && lines, r == ' ':
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteByte(' ')
		case r < 0x80 && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		case !unicode.IsPrint(r) && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
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
