package node

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
)

// Kind is what a path is.
type Kind string

// The kinds of entries. A symbolic link that leads somewhere is never an
// entry of kind KindLink: it shows what opening it gives (see Entry.Target).
const (
	KindFile      Kind = "file"
	KindDirectory Kind = "directory"
	// KindLink is a symbolic link that leads nowhere.
	KindLink Kind = "link"
	// KindOther is a device, pipe or socket.
	KindOther Kind = "other"
)

// Entry is one path of a node as opening it shows it: symbolic links are
// followed inside the node's root, so that Mode, UID, GID and Data are those
// of what K3s or systemd would open.
type Entry struct {
	// Path is absolute inside the node, clean, with forward slashes.
	Path string
	Kind Kind
	// Mode holds the permission bits, and fs.ModeSetuid, fs.ModeSetgid and
	// fs.ModeSticky; never a type bit.
	Mode fs.FileMode
	// UID and GID are numeric; 0 is root.
	UID, GID int
	// Size is the length of the file in bytes, also where Data was not asked.
	Size int64
	// Data holds a regular file's bytes where the query asked for them and
	// Unread is empty; an empty file has a non-nil, empty Data.
	Data []byte
	// Sections are what the sections of an EFI program (PE) hold whose name the
	// query has, in the order of the file, where Data is nil; they are nil where
	// they were not read, and empty where there are none.
	Sections [][]byte
	// Source is where the bytes of a file to write are, in the place of Data; nil
	// for Data, and in all that was collected.
	Source *Source
	// Target is what the path points to when it is a symbolic link, as
	// written; empty otherwise.
	Target string
	// Unread says why Data (of a file) or the children (of a directory) are
	// missing although the query asked for them.
	Unread string
	// Note says what gives the entry its mode or owner where it is not the disk.
	Note string
}

// Content returns the bytes of a regular file, or why there are none.
func (e Entry) Content() ([]byte, error) {
	switch {
	case e.Unread != "":
		return nil, fmt.Errorf("%s cannot be read: %s", e.Path, e.Unread)
	case e.Kind != KindFile:
		return nil, fmt.Errorf("%s is not a regular file", e.Path)
	case e.Data == nil && e.Size > 0:
		return nil, &UnknownPathError{Path: e.Path}
	}
	return e.Data, nil
}

// UnknownPathError says that a path matters of which nothing is known.
type UnknownPathError struct {
	Path string
	// How the path is removed or written anew at boot; empty where it was not
	// collected.
	How string
}

func (e *UnknownPathError) Error() string {
	if e.How != "" {
		return e.Path + " " + e.How
	}
	return e.Path + " was not looked at"
}

// Query says which paths are to be collected. What no Pick covers is unknown,
// and nothing may be concluded from it.
type Query []Pick

// Pick is one path to collect.
type Pick struct {
	// Path is absolute and clean.
	Path string
	// Depth is how far below Path entries are collected: 0 is Path alone,
	// 1 its children too, Deep the whole tree down to MaxDepth.
	Depth int
	// Content asks for the bytes of regular files.
	Content bool
	// Section asks for the sections of this name of EFI programs whose bytes are
	// not collected. Only trees on this host answer it.
	Section string
}

// Lacks returns the picks of other that q does not have word for word.
func (q Query) Lacks(other Query) Query {
	var out Query
	for _, p := range other {
		if !slices.Contains(q, p) && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// Deep is the Depth of a Pick that takes the whole tree below its Path.
const Deep = -1

// Limits of a collection. A tree that exceeds them is an error, never a
// shorter answer: evidence that was cut off must not look complete.
const (
	// MaxFileSize is the largest file whose bytes are collected, in bytes;
	// a larger one gets Entry.Unread.
	MaxFileSize = 4 << 20
	// MaxEntries is how many entries one collection may hold.
	MaxEntries = 20_000
	// MaxDepth is how far below a path a whole tree is collected, in levels; a
	// directory that is as deep gets Entry.Unread.
	MaxDepth = 64
	// MaxTotalSize is how many bytes of content one collection may hold.
	MaxTotalSize = 64 << 20
)

// Presence is what a node knows of a path.
type Presence int

// The three things a node can know of a path. Unknown is the zero value, so
// that a path which nobody looked at is never taken for an absent one.
const (
	Unknown Presence = iota
	Absent
	Present
)

// Node is what was collected from one machine or root directory. The zero
// value knows nothing. A Node is not changed after it was made.
type Node struct {
	query   Query
	hidden  map[string]string // why, by the path of what boot hides
	undone  map[string]string // how, by the path of what boot removes or writes anew
	entries map[string]Entry
	paths   []string // sorted
	// original is the node before it was changed; nil where it was not.
	original *Node
	// Kernel holds the running kernel's parameters (sysctl names with dots)
	// that were asked for; nil when the node is not a running machine.
	Kernel map[string]string
	// Mounts are the directories of a running machine on which something is
	// mounted now; nil where that is not known.
	Mounts []string
	// K3sVersion is the first line that the K3s binary on a running machine
	// prints for --version; empty where there is none or nothing was run.
	K3sVersion string
}

// New makes a node that answers q from entries. Entries outside q are kept;
// paths inside q without an entry are absent.
func New(q Query, entries []Entry) *Node {
	n := &Node{query: q, entries: make(map[string]Entry, len(entries))}
	for _, e := range entries {
		n.entries[e.Path] = e
	}
	for p := range n.entries {
		n.paths = append(n.paths, p)
	}
	sort.Strings(n.paths)
	return n
}

// Hiding returns the node with why nothing is known of some paths: something
// else is in their place once it has booted.
func (n *Node) Hiding(why map[string]string) *Node {
	if len(why) == 0 {
		return n
	}
	out := *n
	out.hidden = why
	return &out
}

// Changed returns the node with other modes and owners of some entries, and how
// some paths are removed or written anew, so that nothing is known of them. One
// that was changed already is left.
func (n *Node) Changed(entries map[string]Entry, undone map[string]string) *Node {
	if n.original != nil || len(entries) == 0 && len(undone) == 0 {
		return n
	}
	out := *n
	out.original, out.undone = n.WithoutHidden(), undone
	out.entries = maps.Clone(n.entries)
	maps.Copy(out.entries, entries)
	return &out
}

// Undone says how p, or a directory above it, is removed or written anew after
// the disk was read; empty where it is not.
func (n *Node) Undone(p string) string {
	if n == nil {
		return ""
	}
	how, _ := HiddenBy(n.undone, p)
	return how
}

// Lookup returns the entry at path p and whether it is known to be there.
func (n *Node) Lookup(p string) (Entry, Presence) {
	if n.Hidden(p) != "" || n.Undone(p) != "" {
		return Entry{}, Unknown
	}
	if e, ok := n.entries[p]; ok {
		return e, Present
	}
	if n == nil || !n.covers(p) {
		return Entry{}, Unknown
	}
	return Entry{}, Absent
}

// Hidden says what a booted node has in the place of p, or of a directory above
// it, so that nothing is known of p; empty where nothing hides it.
func (n *Node) Hidden(p string) string {
	if n == nil {
		return ""
	}
	why, _ := HiddenBy(n.hidden, p)
	return why
}

// HiddenBy looks up p and the directories above it.
func HiddenBy(hidden map[string]string, p string) (why string, found bool) {
	for len(hidden) > 0 {
		if why, found = hidden[p]; found || p == "/" || p == "." {
			return why, found
		}
		p = path.Dir(p)
	}
	return "", false
}

// HiddenBelow returns the first path below dir that something hides at boot,
// and what does; empty where nothing is hidden.
func (n *Node) HiddenBelow(dir string) (p, why string) { return firstBelow(n.hidden, dir) }

// UndoneBelow returns the first path below dir that is removed or written anew,
// and how; empty where none is.
func (n *Node) UndoneBelow(dir string) (p, how string) { return firstBelow(n.undone, dir) }

func firstBelow(paths map[string]string, dir string) (p, why string) {
	for _, at := range slices.Sorted(maps.Keys(paths)) {
		if Within(dir, at) {
			return at, paths[at]
		}
	}
	return "", ""
}

// WithoutHidden returns the node as the image holds it, whether or not boot
// hides or changes some of that.
func (n *Node) WithoutHidden() *Node {
	if n != nil && n.original != nil {
		return n.original
	}
	if n == nil || n.hidden == nil {
		return n
	}
	out := *n
	out.hidden = nil
	return &out
}

// Without returns the node as it would be if paths, and all that is below them,
// were not there, nor anything else that a boot puts in their very place; ""
// stands for none.
func (n *Node) Without(paths ...string) *Node {
	paths = slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return p == "" })
	if n == nil || len(paths) == 0 {
		return n
	}
	out := *n
	out.entries, out.paths = map[string]Entry{}, nil
	for _, p := range n.paths {
		if !slices.ContainsFunc(paths, func(gone string) bool { return Within(gone, p) }) {
			out.entries[p], out.paths = n.entries[p], append(out.paths, p)
		}
	}
	out.hidden = maps.Clone(n.hidden)
	maps.DeleteFunc(out.hidden, func(p, _ string) bool { return slices.Contains(paths, p) })
	return &out
}

// Below returns the entries under directory dir (dir itself excluded), down to
// any depth, sorted by path.
func (n *Node) Below(dir string) []Entry {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	first := sort.SearchStrings(n.paths, prefix)
	last := first
	for last < len(n.paths) && strings.HasPrefix(n.paths[last], prefix) {
		last++
	}
	var out []Entry
	if last > first {
		out = make([]Entry, 0, last-first)
	}
	for _, p := range n.paths[first:last] {
		if n.Hidden(p) == "" && n.Undone(p) == "" {
			out = append(out, n.entries[p])
		}
	}
	return out
}

// Entries returns everything collected, sorted by path.
func (n *Node) Entries() []Entry {
	out := make([]Entry, 0, len(n.paths))
	for _, p := range n.paths {
		out = append(out, n.entries[p])
	}
	return out
}

// Query returns what was asked when the node was collected.
func (n *Node) Query() Query { return n.query }

// Covers says whether some pick would have collected p, had it existed. A
// parent that could not be listed leaves its children unknown.
func (n *Node) covers(p string) bool {
	for dir := path.Dir(p); ; dir = path.Dir(dir) {
		if e, ok := n.entries[dir]; ok && e.Unread != "" {
			return false
		}
		if dir == "/" || dir == "." { // a relative path was never collected
			break
		}
	}
	return n.query.Covers(p)
}

// Covers says whether some pick of q is p, or has p below it.
func (q Query) Covers(p string) bool {
	return slices.ContainsFunc(q, func(pick Pick) bool { return pick.covers(p) })
}

// WantsContent says whether q asks for the bytes of the file at p.
func (q Query) WantsContent(p string) bool {
	return slices.ContainsFunc(q, func(pick Pick) bool { return pick.Content && pick.covers(p) })
}

// Follows says whether q picks the whole tree behind a symbolic link by its name,
// so that a walk that meets the link misses nothing; content says whether that
// walk wants the bytes of files.
func (q Query) Follows(link string, content bool) bool {
	return slices.ContainsFunc(q, func(pick Pick) bool {
		return pick.Path == link && pick.Depth == Deep && (pick.Content || !content)
	})
}

func (k Pick) covers(p string) bool {
	if k.Path == p {
		return true
	}
	root := strings.TrimSuffix(k.Path, "/")
	if k.Depth == 0 || len(p) <= len(root) || p[len(root)] != '/' || p[:len(root)] != root {
		return false
	}
	return k.Depth == Deep || strings.Count(p[len(root):], "/") <= k.Depth
}

// Within says whether p is dir or lies below it.
func Within(dir, p string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
