package harden

import (
	"path"
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// kubeletFiles finds out which files will configure the kubelet, and puts there
// what K3s would make for everybody to read: its copy of the file that kubelet-arg
// names. K3s writes into a copy that is there at every start, and leaves its mode
// (pkg/util, CopyFile).
func (p *planner) kubeletFiles() {
	p.kubelet = p.eff
	if slices.ContainsFunc(p.c.userArgs(), namesKubeletFile) {
		if p.current == nil {
			p.errs = append(p.errs, &Incomplete{Query(p.c.Options)})
			return
		}
		after, err := k3s.ResolveDeclared(p.after(), p.c.Release, p.c.Role, p.c.K3sCommand)
		if err != nil {
			p.errs = append(p.errs, err)
			return
		}
		if missing := p.current.Query().Lacks(after.Missing); len(missing) > 0 {
			p.errs = append(p.errs, &Incomplete{missing})
			return
		}
		p.kubelet = after
	}
	if p.kubelet == nil || p.kubelet.KubeletCopy == "" {
		return
	}
	data, err := contentOf(p.current, p.kubelet.KubeletCopied)
	if err != nil || data == nil {
		return // which keeps K3s from starting, and is said by who reads the configuration
	}
	p.write(directory(path.Dir(p.kubelet.KubeletCopy), 0o700), file(p.kubelet.KubeletCopy, 0o600, data))
	p.note("%s has what %s has, which K3s writes there anew at each start: for root alone, since K3s would make it for everybody to read", p.kubelet.KubeletCopy, p.kubelet.KubeletCopied)
}

// namesKubeletFile says whether an argument gives the kubelet a file or a
// directory of its configuration.
func namesKubeletFile(w desired) bool {
	return w.component == k3s.Kubelet && (w.flag == "config" || w.flag == "config-dir")
}
