package node

import "strings"

// filesNode makes a node that was asked q and holds files, by their paths. A
// text that begins with "-> " is a link's target, one that begins with
// "unread: " a reason.
func filesNode(q Query, files map[string]string) *Node {
	var entries []Entry
	for p, text := range files {
		e := Entry{Path: p, Kind: KindFile, Mode: 0o644, Data: []byte(text), Size: int64(len(text))}
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			e = Entry{Path: p, Kind: KindLink, Target: target}
			if data, ok := files[target]; ok {
				e.Kind, e.Data, e.Size = KindFile, []byte(data), int64(len(data))
			}
		}
		if why, ok := strings.CutPrefix(text, "unread: "); ok {
			e = Entry{Path: p, Kind: KindFile, Size: 1, Unread: why}
		}
		entries = append(entries, e)
	}
	return New(q, entries)
}
