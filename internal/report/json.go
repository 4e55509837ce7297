package report

import (
	"bytes"
	"encoding/json"
	"strings"
)

// renderJSON renders report.json; docs/report.schema.json is its schema.
func renderJSON(v *view) ([]byte, error) { return v.json() }

// marshal is how every JSON format is laid out: two spaces, a line break at
// the end, and <, > and & as themselves.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return indent(b.Bytes()), nil
}

// indent lays out compact JSON as json.Indent does. That function checks each
// byte's place in the grammar, which takes longer than all else that rendering
// does; this one takes the encoder's output for what it is.
func indent(compact []byte) []byte {
	out := make([]byte, 0, 2*len(compact))
	depth := 0
	newline := func() {
		out = append(out, '\n')
		out = append(out, strings.Repeat("  ", depth)...)
	}
	for i := 0; i < len(compact); {
		switch c := compact[i]; c {
		case '"':
			end := i + stringLength(compact[i:])
			out = append(out, compact[i:end]...)
			i = end
			continue
		case '{', '[':
			out = append(out, c)
			if next := compact[i+1]; next == '}' || next == ']' {
				out = append(out, next)
				i += 2
				continue
			}
			depth++
			newline()
		case '}', ']':
			depth--
			newline()
			out = append(out, c)
		case ',':
			out = append(out, c)
			newline()
		case ':':
			out = append(out, c, ' ')
		default:
			out = append(out, c)
		}
		i++
	}
	return out
}

// stringLength is the length of the JSON string, quotes included, that data
// begins with.
func stringLength(data []byte) int {
	for i := 1; ; i++ {
		i += bytes.IndexByte(data[i:], '"')
		escapes := 0
		for data[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i + 1
		}
	}
}
