package boot

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Place is a line of a file of the node.
type Place struct {
	Path string
	Line int
}

func (p Place) String() string { return fmt.Sprintf("%s:%d", p.Path, p.Line) }

// KernelSetting is one write to a kernel parameter.
type KernelSetting struct {
	Place
	// Value is what is written; it is known only where Known is true.
	Value string
	Known bool
	// Always says that nothing but the boot itself decides whether it is
	// written: no condition, no device, no hour.
	Always bool
}

// action is what happens to a path.
type action int

const (
	// permits sets mode or owner.
	permits action = iota
	removes
	writes
	// covers puts something else in the place, or does what is not known.
	covers
)

// fileChange is one change of files at boot.
type fileChange struct {
	Place
	action action
	// pattern is an absolute path, or a glob of path.Match.
	pattern string
	// deep means all that is below too, inside only that.
	deep, inside bool
	// name limits what is below to base names of that pattern; "" for all.
	name string
	// mode gives the new mode of an entry; nil leaves it.
	mode func(node.Entry) fs.FileMode
	// uid and gid are the new owners; -1 leaves them.
	uid, gid int
	// news says that a file which is not there yet matters too.
	news bool
}

// Changes are all that a node's files have done at boot, and while it runs.
type Changes struct {
	node    *node.Node
	files   []fileChange
	kernel  map[string][]KernelSetting // by path below /proc/sys
	texts   []node.Entry               // files that were read
	calls   map[string][]Call          // by base name
	missing node.Query
	units   []Unit
	seen    map[string]bool // scripts that were read
	left    int             // how many bytes may still be read
	problem error
}

// maxText is how much text of what is done at boot is read, in bytes. A node that
// is not made to exhaust has a tenth of it.
const maxText = 4 << 20

// fits says whether the text of e may still be read; where not, what is done at
// boot is not known.
func (c *Changes) fits(e node.Entry) bool {
	c.left -= len(e.Data)
	c.texts = append(c.texts, e)
	if c.left < 0 && c.problem == nil {
		c.problem = fmt.Errorf("what is done at boot is not known: there is more than %d MiB of it, and %s was not read", maxText>>20, e.Path)
	}
	return c.left >= 0
}

// Call is a program that is run.
type Call struct {
	Place
	// Args are the words behind the program's name; of one that is not known, what
	// of it is written out.
	Args []string
}

// maxCalls is how many runs of one program are kept.
const maxCalls = 100

func (c *Changes) called(at Place, name string, args []word) {
	if len(c.calls[name]) == maxCalls {
		return
	}
	call := Call{Place: at}
	for _, w := range args {
		call.Args = append(call.Args, w.text)
	}
	c.calls[name] = append(c.calls[name], call)
}

// Unit is a file of a service manager's that is written at boot to a place that no
// image has, or that only the running machine knows.
type Unit struct {
	Place
	// Name is the unit's, such as app.service.
	Name string
}

// Units lists what is written of services at boot, besides files that After tells of.
func (c *Changes) Units() []Unit { return c.units }

// unitFile is how a unit ends, or a drop-in of one.
var unitFile = regexp.MustCompile(`/([\w@.:-]+\.service)(?:\.d/[^/]*\.conf)?["']?$`)

// wroteUnit notes that a unit, or a drop-in of one, is written with a text that is
// not known or says what matters.
func (c *Changes) wroteUnit(at Place, w word, value string) {
	m := unitFile.FindStringSubmatch(w.text)
	if m != nil && (!w.known || node.Within("/run", w.text)) && (value == "" || concerns.MatchString(value)) {
		c.units = append(c.units, Unit{at, m[1]})
	}
}

// Calls lists where a program of that base name is run.
func (c *Changes) Calls(name string) []Call { return c.calls[name] }

// Of says whether these are the changes of n itself; not where there are none.
func (c *Changes) Of(n *node.Node) bool { return c != nil && c.node == n }

// Texts are the files in which it stands what is done at boot, as the image has
// them.
func (c *Changes) Texts() []node.Entry { return c.texts }

// Missing lists the scripts that are run and were not collected.
func (c *Changes) Missing() node.Query { return c.missing }

// Kernel lists the writes to the kernel parameter of that name (with dots).
func (c *Changes) Kernel(name string) []KernelSetting {
	key := strings.ReplaceAll(name, ".", "/")
	out := slices.Clone(c.kernel[key])
	for _, glob := range slices.Sorted(maps.Keys(c.kernel)) {
		if ok, _ := path.Match(glob, key); ok && glob != key {
			out = append(out, c.kernel[glob]...)
		}
	}
	return out
}

// Err says why what happens at boot is not known.
func (c *Changes) Err() error {
	if c.problem == nil && len(c.missing) > 0 {
		return fmt.Errorf("what is done at boot is not known: %s, which is run then, was not looked at", c.missing[0].Path)
	}
	return c.problem
}

// byNature are places whose content a boot makes anew on any node, so that
// nobody takes what an image has there for what a node has.
var byNature = []string{
	"/dev", "/proc", "/run", "/sys", "/tmp", "/home", "/root", "/etc/hostname", "/etc/machine-id", "/etc/ssh", "/etc/passwd", "/etc/group",
	"/etc/shadow", "/var/lib/cloud", "/var/lib/dbus", "/var/lib/dhcp", "/var/lib/systemd", "/var/log", "/var/tmp", "/boot", "/efi",
	"/lib/modules", "/usr/lib/modules", "/etc/resolv.conf", "/var/spool",
}

// natural says whether p is made anew by a boot, or only says what happens at one.
func natural(p string) bool {
	within := func(dir string) bool { return node.Within(dir, p) }
	if slices.ContainsFunc(byNature, within) {
		return true
	}
	return slices.ContainsFunc(sources, func(s source) bool { return !s.starts && slices.ContainsFunc(s.dirs, within) })
}

// After returns the node as it is once it has booted, as far as its files tell:
// with the modes and owners that are set then, and nothing known of what is
// removed, written or covered.
func (c *Changes) After() *node.Node {
	changed := map[string]node.Entry{}
	undone := map[string]string{}
	for _, f := range c.files {
		for _, e := range c.touched(f) {
			if now, ok := changed[e.Path]; ok {
				e = now
			}
			switch f.action {
			case permits:
				if e, ok := f.permit(e); ok {
					changed[e.Path] = e
				}
			case removes:
				undone[e.Path] = fmt.Sprintf("is removed at boot by %s: take that line out", f.Place)
			case writes:
				undone[e.Path] = fmt.Sprintf("is written at boot by %s, so that what it holds then is not known: bake what is to be in it and take that line out", f.Place)
			case covers:
				undone[e.Path] = fmt.Sprintf("may be changed at boot by %s, which cannot be judged: take out what names it there", f.Place)
			}
		}
		if f.news && c.isNews(f.pattern) {
			undone[f.pattern] = fmt.Sprintf("is made at boot by %s, so that what it will hold is not known: bake the file and take that line out", f.Place)
		}
	}
	for _, m := range c.notYetMounted() {
		undone[m.on] = m.covers()
	}
	return c.node.Changed(changed, undone)
}

// isNews says whether p is a file that is not there and would be read by the
// names of what is in its directory.
func (c *Changes) isNews(p string) bool {
	_, presence := c.node.Lookup(p)
	if skipped, skips := strings.CutSuffix(p, ".skip"); skips {
		_, there := c.node.Lookup(skipped)
		return there == node.Present && presence == node.Absent
	}
	dir := path.Dir(p)
	return presence == node.Absent && (strings.HasSuffix(dir, ".d") || path.Base(dir) == "manifests") &&
		slices.Contains([]string{".yaml", ".yml", ".json", ".conf"}, path.Ext(p))
}

// touched are the entries that a change is about.
func (c *Changes) touched(f fileChange) []node.Entry {
	var out []node.Entry
	add := func(e node.Entry) {
		if !natural(e.Path) {
			out = append(out, e)
		}
	}
	below := func(dir string) {
		for _, b := range c.node.Below(dir) {
			if ok, _ := path.Match(f.name, path.Base(b.Path)); ok || f.name == "" {
				add(b)
			}
		}
	}
	whole := func(e node.Entry) {
		if !f.inside {
			add(e)
		}
		if f.deep {
			below(e.Path)
		}
	}
	if !strings.ContainsAny(f.pattern, `*?[\`) {
		if e, presence := c.node.Lookup(f.pattern); presence == node.Present {
			whole(e)
		} else if f.deep {
			below(f.pattern)
		}
		return out
	}
	for _, e := range c.node.Entries() {
		if ok, _ := path.Match(f.pattern, e.Path); ok {
			whole(e)
		}
	}
	return out
}

// permit applies a mode and owners to e, and says whether that changes it.
func (f fileChange) permit(e node.Entry) (node.Entry, bool) {
	was := e
	if f.mode != nil {
		e.Mode = f.mode(e)
	}
	if f.uid >= 0 {
		e.UID = f.uid
	}
	if f.gid >= 0 {
		e.GID = f.gid
	}
	if e.Mode == was.Mode && e.UID == was.UID && e.GID == was.GID {
		return was, false
	}
	e.Note = "set at boot by " + f.String()
	return e, true
}

// Permitted returns e, which need not be on the node yet, as what is done at boot
// leaves it each time its mode or owner is set, with a note of where.
func (c *Changes) Permitted(e node.Entry) []node.Entry {
	var out []node.Entry
	for _, f := range c.files {
		if f.action != permits || !f.meets(e.Path) {
			continue
		}
		if now, changed := f.permit(e); changed {
			out = append(out, now)
		}
	}
	return out
}

// meets says whether the change is about p too, where that is there.
func (f fileChange) meets(p string) bool {
	named, _ := path.Match(f.name, path.Base(p))
	for at := p; at != "/"; at = path.Dir(at) {
		if ok, _ := path.Match(f.pattern, at); ok {
			return at == p && !f.inside || at != p && f.deep && (named || f.name == "")
		}
	}
	return false
}

func (c *Changes) change(f fileChange) {
	if path.IsAbs(f.pattern) {
		f.pattern = path.Clean(f.pattern)
		c.files = append(c.files, f)
	}
}

// write notes what is written to a path: a kernel parameter, or a file.
func (c *Changes) write(at Place, target, value string, known, always bool) {
	key, isKernel := strings.CutPrefix(path.Clean(target), "/proc/sys/")
	if !isKernel {
		c.change(fileChange{Place: at, action: writes, pattern: target, uid: -1, gid: -1})
		return
	}
	c.set(at, key, value, known, always)
}

// set notes a write to the kernel parameters that match key, in path form.
func (c *Changes) set(at Place, key, value string, known, always bool) {
	if !known {
		value = ""
	}
	s := KernelSetting{Place: at, Value: strings.Join(strings.Fields(value), " "), Known: known, Always: always}
	c.kernel[key] = append(c.kernel[key], s)
}
