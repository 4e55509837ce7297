package deploy

import (
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// Disable is one name of K3s's key disable.
type Disable struct {
	// Name is without blanks around it. It may be empty, and then it deletes
	// everything.
	Name   string
	Origin k3s.Origin
}

// Disables returns the names that a configuration disables: items are taken
// apart at commas, and an item without a name counts (pkg/cli/server/server.go).
func Disables(e *k3s.Effective) []Disable {
	var out []Disable
	for _, v := range e.Settings["disable"].Values {
		for name := range strings.SplitSeq(v.Text, ",") {
			out = append(out, Disable{strings.TrimSpace(name), v.Origin})
		}
	}
	return out
}

// Deletes says whether K3s deletes a file, given relative to its manifests
// directory, because of d: d names the file without its last ending, or a
// directory that it is in. The empty name is that of the manifests directory
// itself (shouldDisableFile).
func (d Disable) Deletes(relative string) bool {
	if d.Name == "" {
		return true
	}
	for dir := path.Dir(relative); dir != "."; dir = path.Dir(dir) {
		if dir == path.Clean(d.Name) {
			return true
		}
	}
	base := path.Base(relative)
	return isManifest(base) && strings.TrimSuffix(base, path.Ext(base)) == d.Name
}

// deletedBy returns the first of disables that deletes a file.
func deletedBy(disables []Disable, relative string) (Disable, bool) {
	i := slices.IndexFunc(disables, func(d Disable) bool { return d.Deletes(relative) })
	if i < 0 {
		return Disable{}, false
	}
	return disables[i], true
}
