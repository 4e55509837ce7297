package seal

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// patternCharacters are those that path.Match takes for more than themselves.
const patternCharacters = `*?[\`

// Found is a path of an item that is there.
type Found struct {
	Item Item
	// Path is the path itself.
	Path string
	// Deferred is true where it goes at the shutdown or the first boot.
	Deferred bool
	// Emptied is true where the file stays without content.
	Emptied bool
}

// Plan is what sealing a node means.
type Plan struct {
	// Change is what is to be done now.
	Change node.Change
	// Found is what there is to remove, in the order of Items.
	Found []Found
}

// Gone are the paths that are there no more after the change.
func (p *Plan) Gone() []string { return slices.Concat(p.Change.Remove, p.Change.RemoveAll) }

// Text says of each item what is done with it, one line an item; empty where
// there is nothing to do.
func (p *Plan) Text() string {
	var b strings.Builder
	for _, it := range slices.Concat(items, resetItems) {
		for _, how := range []struct {
			does string
			is   Found
		}{{"removed", Found{}}, {"emptied", Found{Emptied: true}}, {"deferred to the shutdown, or the first boot", Found{Deferred: true}}} {
			var paths []string
			for _, f := range p.Found {
				if f.Item.Name == it.Name && f.Deferred == how.is.Deferred && (f.Deferred || f.Emptied == how.is.Emptied) {
					paths = append(paths, f.Path)
				}
			}
			if len(paths) > 0 {
				does := how.does
				if it.do == lock && how.is.Emptied {
					does = "locked"
				}
				fmt.Fprintf(&b, "  %s: %s (%s): %s\n", it.Name, does, it.Why, few(paths))
			}
		}
	}
	var added []string
	for _, e := range p.Change.Write {
		if e.Kind == node.KindFile && strings.Contains(e.Path, ServiceName) {
			added = append(added, e.Path)
		}
	}
	if len(added) > 0 {
		fmt.Fprintf(&b, "  until the first boot of a node there is the service %s, which removes itself: %s\n", ServiceName, strings.Join(added, ", "))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// few names the first of many paths.
func few(paths []string) string {
	const most = 20
	if len(paths) <= most {
		return strings.Join(paths, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(paths[:most], ", "), len(paths)-most)
}

// Query is what Make wants to know of a node.
func Query(o Options) node.Query {
	q := append(node.Query{{Path: machineID, Content: true}, {Path: "/etc/ssh/sshd_config"}}, serviceQuery()...)
	for _, it := range o.items() {
		if o.Live && it.when == last {
			continue
		}
		for _, p := range it.Paths {
			dir, depth := patternRoot(p)
			if it.below() {
				depth = node.Deep
			}
			q = append(q, node.Pick{Path: dir, Depth: depth, Content: it.do == lock})
		}
	}
	if !slices.Contains(o.Keep, sudoRule) {
		q = append(q, node.Pick{Path: "/etc/sudoers.d", Depth: 1, Content: true}, node.Pick{Path: "/etc/doas.d", Depth: 1, Content: true})
	}
	if !slices.Contains(o.Keep, privateKeys) {
		for _, p := range o.expand(keyFiles) {
			dir, depth := patternRoot(p)
			q = append(q, node.Pick{Path: dir, Depth: depth})
		}
	}
	return node.Query{}.Lacks(q)
}

// FollowUp is what Make wants to know of what is there.
func FollowUp(o Options, n *node.Node) node.Query {
	var q node.Query
	for _, e := range mayBeKeys(o, n) {
		if e.Data == nil && e.Unread == "" {
			q = append(q, node.Pick{Path: e.Path, Content: true})
		}
	}
	return q
}

// keyFiles are patterns of the files that are private keys if they say so.
var keyFiles = []string{"~/.ssh/*", "~/*.json", "~/*.pem", "~/*key*", "~/id_*"}

// maxKeyFile is how large a file with a private key is at most, in bytes.
const maxKeyFile = 1 << 20

// mayBeKeys are the files that may be private keys.
func mayBeKeys(o Options, n *node.Node) []node.Entry {
	if slices.Contains(o.Keep, privateKeys) {
		return nil
	}
	var out []node.Entry
	for _, pattern := range o.expand(keyFiles) {
		entries, err := matches(n.WithoutHidden(), pattern, false)
		if err != nil {
			continue // which the item says
		}
		out = append(out, slices.DeleteFunc(entries, func(e node.Entry) bool { return e.Kind != node.KindFile || e.Target != "" || e.Size > maxKeyFile })...)
	}
	return out
}

// Make plans how have is sealed. Its error lists all that could not be looked at.
func Make(o Options, have *node.Node) (*Plan, error) {
	p := &planner{o: o, have: have.WithoutHidden(), hidden: have, plan: &Plan{}}
	var unseen []string
	for _, it := range o.items() {
		if err := p.item(it); err != nil {
			unseen = append(unseen, fmt.Sprintf("%s: %v; see to that, or write keep = [%q]", it.Name, err, it.Name))
		}
	}
	if len(unseen) > 0 {
		return nil, fmt.Errorf("the node cannot be sealed:\n%s", strings.Join(unseen, "\n"))
	}
	if o.Live {
		p.plan.Change.Rest = rest(o.dataDirs(), o.Reset)
	}
	if err := p.service(); err != nil {
		return nil, fmt.Errorf("the node cannot be sealed: %w", err)
	}
	return p.plan, nil
}

// Left is what there is to remove now: nothing, of the plan of a node that is
// sealed.
func (p *Plan) Left() []Found {
	return slices.DeleteFunc(slices.Clone(p.Found), func(f Found) bool { return f.Deferred })
}

type planner struct {
	o Options
	// have is the node as the image holds it, hidden the same with what boot
	// hides.
	have, hidden *node.Node
	plan         *Plan
	// gone are the directories that go with all below them.
	gone []string
	// script is what the service does of each item.
	script []string
	keys   bool
}

func (p *planner) item(it Item) error {
	paths := it.Paths
	switch it.Name {
	case privateKeys:
		for _, e := range mayBeKeys(p.o, p.have) {
			if bytes.Contains(e.Data, []byte("PRIVATE KEY-----")) {
				paths = append(paths, escaped(e.Path))
			}
		}
	case sudoRule:
		rules, err := p.rules()
		if err != nil || len(rules) == 0 {
			return err
		}
		paths = rules
	}
	if p.o.Live && it.when != now {
		p.script = append(p.script, line(it, paths))
	}
	if p.o.Live && it.when == last {
		for _, pattern := range paths {
			p.plan.Found = append(p.plan.Found, Found{Item: it, Path: pattern, Deferred: true, Emptied: it.do == empty})
		}
		p.keys = p.keys || it.Name == hostKeys
		return nil
	}
	for _, pattern := range paths {
		entries, err := matches(p.have, pattern, it.below())
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Unread != "" && it.do == lock {
				return fmt.Errorf("%s could not be looked at: it %s", e.Path, e.Unread)
			}
			p.entry(it, e)
		}
	}
	return nil
}

// entry plans what is done with one path.
func (p *planner) entry(it Item, e node.Entry) {
	if slices.ContainsFunc(p.plan.Found, func(f Found) bool { return f.Path == e.Path }) {
		return // more than one pattern names it
	}
	within := func(dir string) bool { return node.Within(dir, e.Path) }
	if slices.ContainsFunc(p.gone, within) || slices.ContainsFunc(it.except, within) {
		return // goes with a directory, or is another item's
	}
	link := e.Target != ""
	hidden := p.hidden.Hidden(e.Path) != ""
	c := &p.plan.Change
	switch {
	case it.do == clear && (link || e.Kind != node.KindFile), it.do == files && !link && e.Kind == node.KindDirectory:
		return
	case it.do == clear && (rotated(e.Path) || hidden), it.do == remove, it.do == files:
		if it.Control == "node.hygiene.machine-id" && link {
			return
		}
		if hidden || !link && e.Kind == node.KindDirectory {
			// Also where a booted node does not see it: the image has it.
			c.RemoveAll = append(c.RemoveAll, e.Path)
			p.gone = append(p.gone, e.Path)
		} else {
			c.Remove = append(c.Remove, e.Path)
		}
	case e.Kind != node.KindFile || e.Size == 0:
		return // nothing to empty
	case it.do == lock:
		locked := withoutPasswords(e.Data)
		if bytes.Equal(locked, e.Data) {
			return
		}
		c.Write = append(c.Write, node.Entry{Path: e.Path, Kind: node.KindFile, Mode: e.Mode, UID: e.UID, GID: e.GID, Data: locked})
	case it.Name == "machine-id":
		if strings.TrimSpace(string(e.Data)) == "uninitialized" {
			return // no identity, and more is done at the first boot than without it
		}
		c.Write = append(c.Write, node.Entry{Path: e.Path, Kind: node.KindFile, Mode: 0o444, Data: []byte{}})
	default:
		c.Write = append(c.Write, node.Entry{Path: e.Path, Kind: node.KindFile, Mode: e.Mode, UID: e.UID, GID: e.GID, Data: []byte{}})
	}
	p.keys = p.keys || it.Name == hostKeys
	p.plan.Found = append(p.plan.Found, Found{Item: it, Path: e.Path, Emptied: it.do != remove && it.do != files && !rotated(e.Path) && !hidden})
}

// password is a password in a line of shadow(5): one that is empty, or a hash.
var password = regexp.MustCompile(`(?m)^([^:#\n][^:\n]*):(?:\$[^:\n]*|[^:!*\n]{13})?:`)

func withoutPasswords(shadow []byte) []byte { return password.ReplaceAll(shadow, []byte("$1:!:")) }

// rotated says whether a log was put aside, so that nobody writes to it.
func rotated(name string) bool {
	base := path.Base(name)
	return slices.ContainsFunc([]string{"*.gz", "*.xz", "*.bz2", "*.zst", "*.old", "*.[0-9]", "*.[0-9][0-9]", "*-20[0-9][0-9][0-9][0-9][0-9][0-9]"}, func(pattern string) bool {
		ok, _ := path.Match(pattern, base) // the patterns are good
		return ok
	})
}

// matches are the entries of n that pattern names, or all below it. A link on the
// way below the pattern's own directory is not followed.
func matches(n *node.Node, pattern string, below bool) ([]node.Entry, error) {
	dir, depth := patternRoot(pattern)
	e, presence := n.Lookup(dir)
	switch {
	case presence == node.Unknown:
		return nil, fmt.Errorf("%s could not be looked at", dir)
	case presence == node.Absent || e.Kind == node.KindLink && (depth > 0 || below):
		return nil, nil
	case depth == 0 && !below:
		return []node.Entry{e}, nil
	case e.Unread != "":
		return nil, fmt.Errorf("%s could not be looked at: it %s", dir, e.Unread)
	}
	elements := strings.Split(pattern, "/")
	var out []node.Entry
	for _, e := range n.Below(dir) {
		level := strings.Count(e.Path, "/") + 1
		if !below && level > len(elements) {
			continue
		}
		if !below {
			if ok, err := path.Match(strings.Join(elements[:level], "/"), e.Path); err != nil || !ok {
				continue
			}
		}
		if e.Unread != "" && e.Target == "" && (below || level < len(elements)) {
			return nil, fmt.Errorf("%s could not be looked at: it %s", e.Path, e.Unread)
		}
		if below || level == len(elements) {
			out = append(out, e)
		}
	}
	return out, nil
}

// patternRoot takes a pattern apart into the directory before its first element
// that is one and how many elements come from there on.
func patternRoot(p string) (dir string, depth int) {
	for dir = p; strings.ContainsAny(dir, patternCharacters); dir = path.Dir(dir) {
		depth++
	}
	return dir, depth
}

// rules are the files of sudo and doas that give users rights without a password,
// the build's among them, and nobody else anything.
func (p *planner) rules() ([]string, error) {
	var out []string
	for _, dir := range []string{"/etc/sudoers.d", "/etc/doas.d"} {
		entries, err := matches(p.have, dir+"/*", false)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Target == "" && e.Kind == node.KindFile && p.about(e) {
				out = append(out, escaped(e.Path))
			}
		}
	}
	return out, nil
}

// escaped is the pattern that names p alone.
func escaped(p string) string {
	var b strings.Builder
	for _, r := range p {
		if strings.ContainsRune(patternCharacters, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// passwordless is a rule of sudo that makes a user root without a password.
var passwordless = regexp.MustCompile(`^[^\s%+#@"=]*[a-z][^\s=]*\s+[^\s=]+\s*=.*\bNOPASSWD\s*:\s*ALL\b`)

// about says whether each line of a file of sudo's or doas's is about the build's
// user, or makes another user root without a password.
func (p *planner) about(e node.Entry) bool {
	data, err := e.Content()
	if err != nil {
		return false
	}
	found := false
	for text := range strings.Lines(strings.ReplaceAll(string(data), "\\\n", " ")) {
		text, _, _ = strings.Cut(text, "#")
		words := strings.Fields(text)
		switch {
		case len(words) == 0:
			continue
		case strings.HasPrefix(words[0], "Defaults:"):
		case words[0] == "root":
			return false
		case words[0] == "permit":
			rule, _, _ := strings.Cut(strings.Join(words, " ")+" ", " as ")
			if p.o.User == "" || p.o.User == "root" || !slices.Contains(strings.Fields(rule), p.o.User) {
				return false
			}
			found = true
		case words[0] == p.o.User, passwordless.MatchString(strings.Join(words, " ")):
			found = true
		default:
			return false
		}
	}
	return found
}
