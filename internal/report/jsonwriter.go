package report

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonWriter writes every JSON format, token by token, laid out with two spaces
// and with <, > and & as themselves. A value of types would have to be made of
// the report first, and each of its parts be asked anew what it is: that takes
// twice as long. A member's name is empty for the elements of a list.
type jsonWriter struct {
	out *bytes.Buffer
	to  *jsontext.Encoder
	err error
}

// newJSONWriter makes a writer of about size bytes.
func newJSONWriter(size int) *jsonWriter {
	// The encoder grows a buffer that has less than a quarter of its text left.
	out := bytes.NewBuffer(make([]byte, 0, size+size/3+4096))
	// No name stands twice in what this package writes; to look for one takes long.
	return &jsonWriter{out: out, to: jsontext.NewEncoder(out, jsontext.WithIndent("  "), jsontext.AllowDuplicateNames(true))}
}

// file is what was written, with a line break at its end. It fails for a text
// that is not UTF-8, which New leaves none of.
func (w *jsonWriter) file() ([]byte, error) { return w.out.Bytes(), w.err }

// put writes a value or how it begins or ends.
func (w *jsonWriter) put(member string, t jsontext.Token) {
	if w.err == nil && member != "" {
		w.err = w.to.WriteToken(jsontext.String(member))
	}
	if w.err == nil {
		w.err = w.to.WriteToken(t)
	}
}

// object writes an object, whose members are written by members.
func (w *jsonWriter) object(member string, members func()) {
	w.put(member, jsontext.BeginObject)
	members()
	w.put("", jsontext.EndObject)
}

// list writes a list, whose elements are written by elements.
func (w *jsonWriter) list(member string, elements func()) {
	w.put(member, jsontext.BeginArray)
	elements()
	w.put("", jsontext.EndArray)
}

// text writes a string.
func (w *jsonWriter) text(member, s string) { w.put(member, jsontext.String(s)) }

// optional writes a string that is left out where it is empty.
func (w *jsonWriter) optional(member, s string) {
	if s != "" {
		w.text(member, s)
	}
}

// texts writes a list of strings.
func (w *jsonWriter) texts(member string, list ...string) {
	w.list(member, func() {
		for _, s := range list {
			w.text("", s)
		}
	})
}

func (w *jsonWriter) number(member string, n int) { w.put(member, jsontext.Int(int64(n))) }

func (w *jsonWriter) boolean(member string, b bool) { w.put(member, jsontext.Bool(b)) }
