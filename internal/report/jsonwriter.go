package report

import (
	"encoding/json"
	"strconv"
)

// member is the name of an object's member, and empty for the elements of a
// list. Constants become members by themselves; what else becomes one goes
// through memberOf, since it is written as it is.
type member string

// memberOf is s as a member.
func memberOf(s string) member {
	quoted := appendText(nil, s)
	return member(quoted[1 : len(quoted)-1])
}

// jsonWriter writes every JSON format, laid out as json.Indent does with two
// spaces, and <, > and & as themselves. encoding/json would have to lay out
// what it wrote in a second step, and asks each value anew what it is: that
// takes more than twice as long.
type jsonWriter struct {
	out   []byte
	depth int
	// empty: the innermost object or list has nothing yet.
	empty bool
}

// newJSONWriter makes a writer of about size bytes.
func newJSONWriter(size int) *jsonWriter {
	return &jsonWriter{out: make([]byte, 0, size+4096)}
}

// file is what was written, with a line break at its end.
func (w *jsonWriter) file() []byte { return append(w.out, '\n') }

// lineBreak is a line break and more indentation than any format has.
const lineBreak = "\n                                                                "

// newLine ends the line.
func (w *jsonWriter) newLine() { w.out = append(w.out, lineBreak[:1+2*w.depth]...) }

// begin writes what stands before a value.
func (w *jsonWriter) begin(m member) {
	if w.depth > 0 {
		if !w.empty {
			w.out = append(w.out, ',')
		}
		w.newLine()
	}
	w.empty = false
	if m != "" {
		w.out = append(w.out, '"')
		w.out = append(w.out, m...)
		w.out = append(w.out, `": `...)
	}
}

// object writes an object, whose members are written by members.
func (w *jsonWriter) object(m member, members func()) {
	w.begin(m)
	w.out = append(w.out, '{')
	w.inside(members)
	w.out = append(w.out, '}')
}

// list writes a list, whose elements are written by elements.
func (w *jsonWriter) list(m member, elements func()) {
	w.begin(m)
	w.out = append(w.out, '[')
	w.inside(elements)
	w.out = append(w.out, ']')
}

// inside writes what stands in an object or list.
func (w *jsonWriter) inside(parts func()) {
	w.empty = true
	w.depth++
	parts()
	w.depth--
	if !w.empty {
		w.newLine()
	}
	w.empty = false
}

// text writes a string.
func (w *jsonWriter) text(m member, s string) {
	w.begin(m)
	w.out = appendText(w.out, s)
}

// optional writes a string that is left out where it is empty.
func (w *jsonWriter) optional(m member, s string) {
	if s != "" {
		w.text(m, s)
	}
}

// texts writes a list of strings.
func (w *jsonWriter) texts(m member, list ...string) {
	w.list(m, func() {
		for _, s := range list {
			w.text("", s)
		}
	})
}

func (w *jsonWriter) number(m member, n int) {
	w.begin(m)
	w.out = strconv.AppendInt(w.out, int64(n), 10)
}

func (w *jsonWriter) boolean(m member, b bool) {
	w.begin(m)
	w.out = strconv.AppendBool(w.out, b)
}

// appendText appends s as a JSON string.
func appendText(out []byte, s string) []byte {
	start := len(out)
	out = append(out, '"')
	plain := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			out = append(out, s[plain:i]...)
			out = append(out, '\\')
			plain = i
		case c < ' ' || c > '~':
			return appendAnyText(out[:start], s)
		}
	}
	out = append(out, s[plain:]...)
	return append(out, '"')
}

// appendAnyText does what appendText does, in encoding/json's way, which knows
// of control characters and of what is not UTF-8.
func appendAnyText(out []byte, s string) []byte {
	to := appender{out}
	e := json.NewEncoder(&to)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // neither a string nor memory fails
	return to.out[:len(to.out)-1]
}

// appender keeps what is written to it.
type appender struct{ out []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.out = append(a.out, p...)
	return len(p), nil
}
