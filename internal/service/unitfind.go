package service

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

const serviceSuffix = ".service"

// unitFile is what systemd loads for a service's name.
type unitFile struct {
	node.Entry
	// names are those that lead to the file, without a suffix, the file's own
	// first.
	names []string
}

// unitFinder looks for units the way systemd does: a link to another unit
// inside its directories is an alias and names it; where that unit is, the
// directories say once more.
type unitFinder struct {
	node *node.Node
	// aliases holds the names of links among the units, sorted, by the path of
	// the file that they lead to; nil until they were listed.
	aliases map[string][]string
}

// maxAliases is how many aliases systemd follows one after the other.
const maxAliases = 8

// Systemd has no limit for these.
const (
	// maxNames is how many names of one unit are taken into account.
	maxNames = 32
	// maxLinks is how many aliases the unit directories may have.
	maxLinks = 1000
)

// find returns the file of a service, nil where systemd finds none.
func (f *unitFinder) find(name string) (*unitFile, error) {
	e, err := f.file(name)
	if e == nil || err != nil {
		return nil, err
	}
	own := strings.TrimSuffix(path.Base(e.Path), serviceSuffix)
	if prefix, instance, ok := instanceOf(name); ok && own == prefix+"@" {
		own = name
	} else if prefix, template := strings.CutSuffix(own, "@"); ok && template {
		own = prefix + "@" + instance
	}
	out := &unitFile{Entry: *e, names: []string{own}}
	if name != own {
		out.names = append(out.names, name)
	}
	if err := f.listAliases(); err != nil {
		return nil, err
	}
	for _, alias := range f.aliases[e.Path] {
		if alias != own && alias != name {
			out.names = append(out.names, alias)
		}
	}
	if len(out.names) > maxNames {
		return nil, fmt.Errorf("%s has %d names: with more than %d it is not judged which drop-ins it has; remove aliases", e.Path, len(out.names), maxNames)
	}
	return out, nil
}

// file follows aliases up to a file.
func (f *unitFinder) file(name string) (*node.Entry, error) {
	for range maxAliases {
		e, err := f.strongest(name)
		if err != nil {
			return nil, err
		}
		if e == nil {
			if prefix, _, ok := instanceOf(name); ok {
				e, err = f.strongest(prefix + "@")
			}
			if e == nil || err != nil {
				return nil, err
			}
		}
		target, ok := aliasTarget(*e)
		if !ok {
			return e, nil
		}
		name = target
	}
	return nil, nil // systemd gives up
}

// strongest returns the entry of that name in the strongest directory that
// has a usable one.
func (f *unitFinder) strongest(name string) (*node.Entry, error) {
	for _, dir := range unitDirs {
		p := path.Join(dir, name+serviceSuffix)
		switch e, presence := f.node.Lookup(p); {
		case presence == node.Unknown:
			return nil, &node.UnknownPathError{Path: p}
		case presence == node.Absent || e.Kind == node.KindDirectory && e.Target == "":
		default:
			if target, alias := aliasTarget(e); !alias || aliasFits(name, target) {
				return &e, nil
			}
		}
	}
	return nil, nil
}

// listAliases lists the names of all links among the units, once.
func (f *unitFinder) listAliases() error {
	if f.aliases != nil {
		return nil
	}
	var names []string
	for _, dir := range unitDirs {
		for _, e := range f.node.Below(dir) {
			name, service := strings.CutSuffix(path.Base(e.Path), serviceSuffix)
			if _, alias := aliasTarget(e); alias && service && path.Dir(e.Path) == dir {
				names = append(names, name)
			}
		}
	}
	if len(names) > maxLinks {
		return fmt.Errorf("the unit directories have %d aliases: with more than %d it is not judged which units they name; remove some", len(names), maxLinks)
	}
	sort.Strings(names)
	aliases := map[string][]string{}
	for _, name := range slices.Compact(names) {
		e, err := f.file(name)
		if err != nil {
			return err
		}
		if e != nil {
			aliases[e.Path] = append(aliases[e.Path], name)
		}
	}
	f.aliases = aliases
	return nil
}

// aliasTarget returns the name of the unit that a link inside systemd's
// directories stands for, "" if that is no service.
func aliasTarget(e node.Entry) (string, bool) {
	if e.Target == "" {
		return "", false
	}
	target := e.Target
	if !path.IsAbs(target) {
		target = path.Join(path.Dir(e.Path), target)
	}
	target = path.Clean(target)
	if !slices.ContainsFunc(unitDirs, func(dir string) bool { return strings.HasPrefix(target, dir+"/") }) {
		return "", false
	}
	name, service := strings.CutSuffix(path.Base(target), serviceSuffix)
	if !service {
		name = ""
	}
	return name, true
}

// aliasFits says whether systemd takes a link of that name for an alias.
func aliasFits(name, target string) bool {
	if target == "" || name == target {
		return false
	}
	_, instance, isInstance := instanceOf(name)
	_, other, toInstance := instanceOf(target)
	template, toTemplate := strings.HasSuffix(name, "@"), strings.HasSuffix(target, "@")
	switch {
	case isInstance:
		return toTemplate || toInstance && instance == other
	case template:
		return toTemplate
	}
	return !toTemplate && !toInstance
}

// instanceOf takes the name of an instance apart.
func instanceOf(name string) (prefix, instance string, ok bool) {
	prefix, instance, ok = strings.Cut(name, "@")
	return prefix, instance, ok && instance != ""
}

// dropInNames lists the names of the drop-in directories of a service, the
// nearest first: its own, its template's, those of its name cut at each dash.
func dropInNames(name string) []string {
	var out []string
	seen := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		out = append(out, name+".service.d")
		prefix, instance, isInstance := instanceOf(name)
		at := ""
		if isInstance {
			add(prefix + "@")
			at = "@" + instance
		}
		// A dash at the end was cut at already.
		dash := strings.LastIndexByte(strings.TrimSuffix(prefix, "-"), '-')
		if dash > 0 {
			add(prefix[:dash+1] + at)
		}
	}
	add(name)
	return out
}

// anyDropIns is the directory of the drop-ins of all services.
const anyDropIns = "service.d"

// findDropIns returns the drop-ins of a service in the order they apply:
// sorted by file name over all directories, where of files with one name only
// that of the strongest directory counts.
func findDropIns(n *node.Node, names []string) ([]node.Entry, error) {
	var dirs []string
	for _, name := range names {
		for _, dir := range unitDirs {
			for _, d := range dropInNames(name) {
				dirs = append(dirs, path.Join(dir, d))
			}
		}
	}
	for _, dir := range unitDirs {
		dirs = append(dirs, path.Join(dir, anyDropIns))
	}
	return ConfigurationFiles(n, dirs)
}
