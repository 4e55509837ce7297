package k3s

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	yamlv2 "go.yaml.in/yaml/v2"
	yaml "go.yaml.in/yaml/v3"
)

// decodeV2 unmarshals the first document of a file into its pairs, in order,
// doubles included. The library guards against aliases that expand without
// bound.
func decodeV2(data []byte) (items yamlv2.MapSlice, err error) {
	defer func() {
		if p := recover(); p != nil {
			items, err = nil, fmt.Errorf("%v", p)
		}
	}()
	err = yamlv2.Unmarshal(data, &items)
	return items, err
}

// scalar renders a value the way K3s's conversion does (wrangler:
// convert.ToString): of a list its first element, printed, without blanks
// around it.
func scalar(v any) string {
	if list, ok := v.([]any); ok {
		v = nil
		if len(list) > 0 {
			v = list[0]
		}
	}
	if v == nil {
		return ""
	}
	return strings.TrimSpace(fmt.Sprint(v))
}

// position is where a pair of the root mapping stands.
type position struct {
	line, value int
	items       []int
}

// positions finds the lines of the pairs of the first document's root mapping,
// and whether more documents follow. It returns no positions when the mapping
// does not have exactly want pairs.
func positions(data []byte, want int) (out []position, several bool) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	if dec.Decode(&doc) != nil {
		return nil, false
	}
	err := dec.Decode(&next)
	several = !errors.Is(err, io.EOF)
	if len(doc.Content) != 1 {
		return nil, several
	}
	pairs := doc.Content[0].Content
	for i := 0; i+1 < len(pairs); i += 2 {
		value := pairs[i+1]
		if pairs[i].Tag == "!!merge" { // what it brings in is lost on K3s
			continue
		}
		p := position{line: pairs[i].Line, value: value.Line}
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if value.Kind == yaml.SequenceNode {
			for _, item := range value.Content {
				p.items = append(p.items, item.Line)
			}
		}
		out = append(out, p)
	}
	if len(out) != want {
		return nil, several
	}
	return out, several
}
