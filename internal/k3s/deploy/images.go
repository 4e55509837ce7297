package deploy

import (
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// archiveSuffixes are the endings of image archives that K3s imports
// (pkg/agent/containerd/watcher.go and the library it asks). Lists of images to
// pull, which end in .txt, need a registry like any pod.
var archiveSuffixes = []string{".tar", ".tar.lz4", ".tar.bz2", ".tbz", ".tar.gz", ".tgz", ".tar.zst", ".tzst"}

// ArchiveSuffixes are the endings of the names of image archives that K3s imports.
func ArchiveSuffixes() []string { return slices.Clone(archiveSuffixes) }

// ImageArchives returns the archives in dir, the directory of the layout for
// images, that K3s imports at each start.
func ImageArchives(n *node.Node, dir string) []node.Entry {
	var out []node.Entry
	for _, e := range n.Below(dir) {
		if e.Kind == node.KindFile && path.Dir(e.Path) == dir && IsImageArchive(e.Path) {
			out = append(out, e)
		}
	}
	return out
}

// IsImageArchive says whether K3s imports a file of this name.
func IsImageArchive(name string) bool {
	return slices.ContainsFunc(archiveSuffixes, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}
