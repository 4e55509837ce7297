package seal

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// Options say what is removed.
type Options struct {
	// Keep names the items that stay.
	Keep []string
	// PackageCaches removes what package managers can download again.
	PackageCaches bool
	// Reset stops K3s where it runs; without it that is an error.
	Reset bool
	// DataDirs are K3s's data directories beside the usual one; empty ones count
	// for nothing.
	DataDirs []string
	// Live is true for a running machine that is reached by SSH: what the build
	// needs, and what the machine makes anew, goes at the shutdown or the first
	// boot.
	Live bool
	// User is whom the build logs in as; empty where that is not known.
	User string
}

// Validate says which names of Keep are no items, each with what was meant.
func (o Options) Validate() []error {
	var errs []error
	var names []string
	for _, it := range items {
		names = append(names, it.Name)
	}
	for i, name := range o.Keep {
		switch {
		case !slices.Contains(names, name):
			hint := "one of " + strings.Join(names, ", ")
			if near := safetext.Nearest(name, slices.Values(names)); near != "" {
				hint = fmt.Sprintf("did you mean %q? It is ", near) + hint
			}
			errs = append(errs, fmt.Errorf("keep[%d]: %q is no item that is removed: %s", i, name, hint))
		case slices.Contains(o.Keep[:i], name):
			errs = append(errs, fmt.Errorf("keep[%d]: %q stands twice", i, name))
		case name == PackageCaches && o.PackageCaches:
			errs = append(errs, fmt.Errorf("keep[%d]: %q contradicts package_caches = true: write one of the two", i, name))
		}
	}
	return errs
}

// items are those that o removes, with their paths as they are on the node.
func (o Options) items() []Item {
	all := items
	if o.Reset && o.Live {
		all = slices.Concat(all, resetItems)
	}
	var out []Item
	for _, it := range all {
		if slices.Contains(o.Keep, it.Name) || it.Asked && !o.PackageCaches {
			continue
		}
		it.Paths = o.expand(it.Paths)
		out = append(out, it)
	}
	return out
}

// dataDirs are the data directories in which K3s may have run. One whose name is a
// pattern stands for more than itself.
func (o Options) dataDirs() []string {
	dirs := []string{k3s.DefaultDataDir}
	for _, dir := range o.DataDirs {
		if dir = k3s.LayoutOf(dir).Root(); !slices.Contains(dirs, dir) && !strings.ContainsAny(dir, patternCharacters) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (o Options) expand(patterns []string) []string {
	var out []string
	for _, p := range patterns {
		switch {
		case strings.HasPrefix(p, "~/"):
			out = append(out, path.Join("/root", p[2:]), path.Join("/home/*", p[2:]))
		case strings.HasPrefix(p, "{data}/"):
			for _, dir := range o.dataDirs() {
				out = append(out, path.Join(dir, strings.TrimPrefix(p, "{data}/")))
			}
		default:
			out = append(out, p)
		}
	}
	return out
}
