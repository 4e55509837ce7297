package report

import (
	"bytes"
	"encoding/xml"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzJUnitTexts holds attributes against encoding/xml's, and reads back what
// stands in character data.
func FuzzJUnitTexts(f *testing.F) {
	for b := range 256 {
		f.Add(string([]byte{'a', byte(b), 'z'}))
	}
	for _, s := range []string{"", nasty, "]]>", "]]>]]>", "a]]", "\uffff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var want bytes.Buffer
		require.NoError(t, xml.EscapeText(&want, []byte(s)))
		var d junitDoc
		d.attribute(`a`, s)
		require.Equal(t, ` a="`+want.String()+`"`, d.out.String())

		s = text(s) // as New makes every text
		d.out.Reset()
		d.add(`<e`)
		d.attribute(`a`, s)
		d.add(`>`)
		d.cdata(s)
		d.add(`</e>`)
		var got struct {
			A    string `xml:"a,attr"`
			Data string `xml:",chardata"`
		}
		require.NoError(t, xml.Unmarshal(d.out.Bytes(), &got), d.out.String())
		require.Equal(t, s, got.A)
		require.Equal(t, s, got.Data)
	})
}
