package harden

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s/deploy"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// verify reads the node as the plan would leave it, the way K3s would: what
// would keep K3s from starting, or would not take effect, is an error now
// rather than on the first boot.
func (p *planner) verify(ws []desired) {
	after := p.after()
	eff, err := k3s.ResolveDeclared(after, p.c.Release, p.c.Role, p.c.K3sCommand)
	if err != nil {
		p.errs = append(p.errs, err)
		return
	}
	p.problems(eff.Problems)
	if len(p.errs) == 0 {
		for _, w := range ws {
			p.takesEffect(eff, w)
		}
	}
	if p.c.Role == k3s.Server {
		p.problems(kube.CheckAPIServer(kube.APIServer{
			Release: p.c.Release, DataDir: eff.DataDir, Args: eff.Args[k3s.APIServer],
			ReadFile: p.reader(after), PreloadedImages: p.preloaded(after),
		}))
	}
	p.problems(kube.CheckNode(eff))
	for _, comp := range components {
		if comp != k3s.APIServer {
			p.problems(kube.CheckArguments(p.c.Release, comp, stated(eff.Args[comp])))
		}
	}
	if p.c.Role == k3s.Server {
		p.manifests(after, eff)
		p.notes(eff)
	}
}

// stated leaves out what K3s passes by itself: that it starts needs no proof.
func stated(args []k3s.Argument) []k3s.Argument {
	var out []k3s.Argument
	for _, a := range args {
		if !a.Origin.Default {
			out = append(out, a)
		}
	}
	return out
}

// after is the node as the plan would leave it.
func (p *planner) after() *node.Node {
	q := append(Query(p.c.Options), k3s.Query(p.c.Role, p.c.dataDir)...)
	entries := map[string]node.Entry{}
	if p.current != nil {
		q = p.current.Query()
		for _, e := range p.current.Entries() {
			entries[e.Path] = e
		}
	}
	for _, e := range p.plan.Change.Write {
		entries[e.Path] = e
	}
	for _, name := range p.plan.Change.Remove {
		delete(entries, name)
	}
	all := make([]node.Entry, 0, len(entries))
	for _, e := range entries {
		all = append(all, e)
	}
	return node.New(q, all)
}

// maxProblems is how many problems are told one by one.
const maxProblems = 200

// problems turns what K3s or Kubernetes would refuse or drop into errors. What
// could not be read, or only a newer K3s knows, is a warning: the check pass will
// not take it for proven.
func (p *planner) problems(list []k3s.Problem) {
	for i, x := range list {
		if len(p.known) == maxProblems {
			p.errs = append(p.errs, fmt.Errorf("and %d more", len(list)-i))
			return
		}
		if slices.ContainsFunc(p.known, func(k k3s.Problem) bool { return k == x }) {
			continue
		}
		p.known = append(p.known, x)
		text := x.Text
		if x.Origin.Source != "" {
			text = fmt.Sprintf("%s: %s", x.Origin, text)
		}
		switch x.Consequence {
		case k3s.Unreadable, k3s.Unknown:
			p.warn("%s", text)
		case k3s.Noted:
			p.note("%s", text)
		default:
			p.errs = append(p.errs, errors.New(text))
		}
	}
}

// takesEffect makes sure that K3s will use what is desired.
func (p *planner) takesEffect(eff *k3s.Effective, w desired) {
	if namesKubeletFile(w) && p.c.Release.WritesKubeletConfig() {
		return // which K3s takes out of the arguments, and makes files of
	}
	if w.list || w.flag == "" && p.c.Release.MayHaveKey(w.key, p.c.Role) {
		return
	}
	var values []string
	var places []string
	if w.flag != "" {
		value, from, set := eff.Flag(w.component, w.flag)
		if set {
			values = append(values, value)
		}
		for _, a := range from {
			places = append(places, a.Origin.String())
		}
	} else if vs := eff.Settings[w.key].Values; len(vs) > 0 {
		last := vs[len(vs)-1]
		values, places = []string{last.Text}, []string{last.Origin.String()}
	}
	if len(values) > 0 && w.served(values[0]) {
		return
	}
	p.errs = append(p.errs, conflict([]desired{w}, "%s %s would not take effect: K3s would use %q from %s; %s wants %s",
		w.key, w.flag, w.shown(strings.Join(values, "")), strings.Join(places, ", "), w.asker(), w.shown(w.value)))
}

// reader reads files of a node for kube; what was not collected is asked for.
func (p *planner) reader(n *node.Node) kube.ReadFile {
	return func(name string) ([]byte, error) {
		data, err := contentOf(n, name)
		var inc *Incomplete
		switch {
		case errors.As(err, &inc):
			p.errs = append(p.errs, inc)
			return nil, err
		case err != nil:
			return nil, err
		case data == nil:
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		case len(data) > k3s.MaxConfigSize:
			return nil, fmt.Errorf("%s has %d KiB, which is more than the %d KiB that are judged", name, len(data)>>10, k3s.MaxConfigSize>>10)
		}
		return data, nil
	}
}

// preloaded is the directory of images that K3s imports, "" when it has none.
func (p *planner) preloaded(n *node.Node) string {
	dir := p.c.layout().Images()
	if len(deploy.ImageArchives(n, dir)) == 0 {
		return ""
	}
	return dir
}

// manifests judges what K3s would deploy at its first start.
func (p *planner) manifests(n *node.Node, eff *k3s.Effective) {
	dir := k3s.LayoutOf(eff.DataDir).Manifests()
	m, err := deploy.ReadManifests(p.c.Release, dir, n.Below(dir), deploy.Disables(eff))
	if err != nil {
		p.errs = append(p.errs, fmt.Errorf("%s: %w", dir, err))
		return
	}
	p.problems(m.Problems)
	p.undeployed(m)

	file, _, set := eff.Flag(k3s.APIServer, "admission-control-config-file")
	if !set {
		return
	}
	file = p.c.absolute(file)
	read := p.reader(n)
	data, err := read(file)
	if err != nil {
		return // CheckAPIServer has said so
	}
	admission, err := kube.LoadAdmission(p.c.Release, file, data, read)
	if err != nil || admission.PodSecurity == nil {
		return
	}
	rejected := kube.Workloads(p.c.Release, m.Objects, *admission.PodSecurity)
	if len(rejected) == 0 {
		return
	}
	text := fmt.Sprintf("%d of your workloads would be rejected by Pod Security:", len(rejected))
	const most = 50
	for i, r := range rejected {
		if i == most {
			text += fmt.Sprintf("\n  and %d more", len(rejected)-most)
			break
		}
		text += fmt.Sprintf("\n  %s:%d: %s %s/%s at level %s: %s", r.Object.File, r.Object.Line,
			r.Object.Kind, r.Object.Namespace, r.Object.Name, r.Level.Name, strings.Join(r.Reasons, "; "))
	}
	if p.c.StrictManifests {
		p.errs = append(p.errs, errors.New(text))
		return
	}
	p.warn("%s", text)
}

// undeployed refuses what keeps K3s from deploying a manifest that is there: a
// name in disable, which makes K3s delete the file, and a .skip file beside it.
func (p *planner) undeployed(m deploy.Manifests) {
	for _, d := range m.Deleted {
		if d.By.Name != "" { // which has an error of its own
			p.errs = append(p.errs, fmt.Errorf("%s: disable names %s, so that K3s deletes %s and its objects: take the name out, or the file", d.By.Origin, d.By.Name, d.Path))
		}
	}
	for _, d := range m.Skipped {
		p.errs = append(p.errs, fmt.Errorf("%s: K3s passes over %s while this file is there: remove it", d.By, d.Path))
	}
}
