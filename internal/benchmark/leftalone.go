package benchmark

import (
	"io/fs"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// leftAlone wants nothing of the node to give others a file that K3s makes for
// root alone.
type leftAlone struct {
	path string
	mode releases[fs.FileMode]
}

func (d *decoder) leftAlone(n *yaml.Node, benchmarks []string) expectation {
	var l leftAlone
	d.fields(n, "left_alone", map[string]func(*yaml.Node){
		"path": func(n *yaml.Node) { l.path = d.nodePath(n) },
		"mode": func(n *yaml.Node) { l.mode = perRelease(d, n, benchmarks, d.fileMode) },
	}, "path", "mode")
	return l
}

func (leftAlone) picks(paths) node.Query { return nil }

func (l leftAlone) judge(x *examination) verdict {
	f := file{paths: []string{l.path}, mode: l.mode, kind: node.KindFile}
	v := verdict{status: Pass, expected: f.wanted(x) + " whenever K3s has made it"}
	if opened := f.openedAtBoot(x, 0o600); opened != nil {
		f.opened(&v, *opened)
		return v
	}
	v.found = "nothing of the node gives " + x.paths.expand(l.path) + " another mode"
	return v
}
