package nodetest

import (
	"io/fs"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Files makes a node that was asked q and holds files, by their paths. A
// text that begins with "-> " is a link's target, one that begins with
// "unread: " a reason.
func Files(q node.Query, files map[string]string) *node.Node {
	var entries []node.Entry
	for p, text := range files {
		e := node.Entry{Path: p, Kind: node.KindFile, Mode: 0o644, Data: []byte(text), Size: int64(len(text))}
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			e = node.Entry{Path: p, Kind: node.KindLink, Target: target}
			if data, ok := files[target]; ok {
				e.Kind, e.Data, e.Size = node.KindFile, []byte(data), int64(len(data))
			}
		}
		if why, ok := strings.CutPrefix(text, "unread: "); ok {
			e = node.Entry{Path: p, Kind: node.KindFile, Size: 1, Unread: why}
		}
		entries = append(entries, e)
	}
	return node.New(q, entries)
}

// File is root's file at p.
func File(p string, mode fs.FileMode, data string) node.Entry {
	return node.Entry{Path: p, Kind: node.KindFile, Mode: mode, Size: int64(len(data)), Data: []byte(data)}
}

// Dir is root's directory at p.
func Dir(p string, mode fs.FileMode) node.Entry {
	return node.Entry{Path: p, Kind: node.KindDirectory, Mode: mode}
}
