package benchmark

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/boot"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// rootOnly wants nobody but root to be able to change a kind of what K3s runs
// with: who can is root at the next start.
type rootOnly struct{ of string }

// protected lists what is to be root's of each kind, and what to call that;
// whatever is not there is passed over.
var protected = map[string]struct {
	list func(*examination) []string
	name string
}{
	"service":     {(*examination).serviceFiles, "files that the service is read from"},
	"programs":    {(*examination).programs, "programs of the service"},
	"arguments":   {(*examination).namedByArguments, "files that arguments and keys name"},
	"directories": {(*examination).directoriesAbove, "directories above all that K3s runs with"},
}

func (d *decoder) rootOnly(n *yaml.Node) expectation {
	var r rootOnly
	d.fields(n, "root_only", map[string]func(*yaml.Node){
		"of": func(n *yaml.Node) { r.of = d.oneOf(n, names(protected)...) },
	}, "of")
	return r
}

func (r rootOnly) picks(p paths) node.Query {
	var places []string
	switch r.of {
	case "programs":
		return picksOf(k3s.BinaryPaths())
	case "directories":
		places = slices.Concat(usualPlaces(), dropInsToCome(), []string{p.expand("{data}")})
	}
	return picksOf(above(places))
}

// usualPlaces are what K3s and its service are read from on nearly every node.
func usualPlaces() []string {
	return slices.Concat([]string{k3s.ConfigFile, "/etc/init.d/k3s", "/etc/conf.d/k3s"}, k3s.BinaryPaths(), environmentFiles(), join(service.UnitDirectories(), "k3s.service"))
}

// dropInsToCome are in the directories from which systemd takes drop-ins of K3s's
// services, as a file there would be.
func dropInsToCome() []string {
	var out []string
	for _, name := range []string{"service.d", "k3s.service.d", "k3s-agent.service.d"} {
		out = append(out, join(join(service.UnitDirectories(), name), "-")...)
	}
	return out
}

func join(dirs []string, name string) []string {
	out := make([]string, len(dirs))
	for i, d := range dirs {
		out[i] = path.Join(d, name)
	}
	return out
}

func picksOf(list []string) node.Query {
	var q node.Query
	for _, p := range list {
		q = append(q, node.Pick{Path: p})
	}
	return q
}

// above lists the directories above each path, up to the root.
func above(list []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, p := range list {
		for dir := path.Dir(p); dir != "/" && dir != "." && !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			out = append(out, dir)
		}
	}
	slices.Sort(out)
	return out
}

func (r rootOnly) judge(x *examination) verdict {
	v := verdict{status: Pass, expected: "only root can change the " + protected[r.of].name}
	var found, bad []string
	for _, p := range protected[r.of].list(x) {
		e, presence := x.node().Lookup(p)
		if presence == node.Unknown {
			problem := x.unseen(p)
			return verdict{status: Error, expected: v.expected, found: problem, reason: "the evidence is missing", evidence: []Evidence{{Source: p, Detail: problem}}}
		}
		if presence == node.Absent || e.Kind != node.KindFile && e.Kind != node.KindDirectory {
			continue // a device or a socket is made at boot, and a dead link leads to nothing
		}
		found = append(found, e.Path)
		if changeable(e) {
			bad = append(bad, e.Path+" "+describe(e))
			v.evidence = append(v.evidence, Evidence{Source: e.Path, Detail: describe(e)})
		}
	}
	switch {
	case len(bad) > 0:
		v.status, v.found = Fail, few(bad)
	case len(found) == 0:
		v.status, v.found, v.reason = NotApplicable, "there are no "+protected[r.of].name, "the node has nothing of the kind"
	default:
		v.found = fmt.Sprintf("%d %s, which only root can change", len(found), protected[r.of].name)
		v.evidence = []Evidence{{Source: found[0], Detail: fmt.Sprintf("the first of %d that only root can change", len(found))}}
	}
	return v
}

// changeable says whether somebody other than root can change a file, or what
// is in a directory.
func changeable(e node.Entry) bool {
	return e.UID != 0 || e.Mode&0o002 != 0 || e.Mode&0o020 != 0 && e.GID != 0
}

// withTargets adds what links in list lead to.
func (x *examination) withTargets(list []string) []string {
	out := slices.Clone(list)
	for i := 0; i < len(out) && i < maxFollowed; i++ {
		e, presence := x.node().Lookup(out[i])
		if presence != node.Present || e.Target == "" || e.Kind == node.KindLink {
			continue
		}
		to := e.Target
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(out[i]), to)
		}
		if to = path.Clean(to); !slices.Contains(out, to) && !madeAtBoot(to) {
			out = append(out, to)
		}
	}
	return out
}

// maxFollowed bounds how many paths are followed as links.
const maxFollowed = 1000

// madeAtBoot says whether p lies where nothing of an image is.
func madeAtBoot(p string) bool {
	return slices.ContainsFunc([]string{"/run", "/var/run", "/dev", "/proc", "/sys"}, func(dir string) bool {
		return p == dir || strings.HasPrefix(p, dir+"/")
	})
}

func (x *examination) serviceFiles() []string {
	var out []string
	if e := x.in.Effective; e != nil && e.Service != nil {
		out = x.withTargets(e.Service.Files)
	}
	return append(out, x.hooks(node.KindFile)...)
}

// hookPlaces are where a system has what it runs as root by itself. What is elsewhere may
// be a program of a user's own, and users have cron tables of their own.
var hookPlaces = []string{"/etc", "/usr/lib", "/lib", "/usr/local/lib"}

// hooks are those files from which the system runs commands as root, or the directories
// that they are in, which others than root can change, and the service by them.
func (x *examination) hooks(kind node.Kind) []string {
	var out []string
	for _, f := range x.boot().Texts() {
		for p := f.Path; len(p) > 1 && !slices.Contains(hookPlaces, p); p = path.Dir(p) {
			e, presence := x.node().Lookup(p)
			within := slices.ContainsFunc(hookPlaces, func(dir string) bool { return node.Within(dir, p) })
			if within && presence == node.Present && e.Kind == kind && changeable(e) && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// programs are K3s's binary in its usual places, and what the service starts up
// to K3s itself.
func (x *examination) programs() []string {
	list := k3s.BinaryPaths()
	if e := x.in.Effective; e != nil && e.Service != nil {
		for _, w := range e.Service.Start {
			if w.Text == string(k3s.Server) || w.Text == string(k3s.Agent) {
				break
			}
			if path.IsAbs(w.Text) && !slices.Contains(list, path.Clean(w.Text)) {
				list = append(list, path.Clean(w.Text))
			}
		}
	}
	return x.withTargets(append(list, x.besideStart()...))
}

// besideStart are the programs of the node's own, and the files they are given,
// that the service runs before and after what it starts.
func (x *examination) besideStart() []string {
	if x.in.Effective == nil || x.in.Effective.Service == nil {
		return nil
	}
	var out []string
	for _, name := range x.in.Effective.Service.Files {
		e, _ := x.node().Lookup(name)
		if ext := path.Ext(name); ext != ".service" && ext != ".conf" {
			continue
		}
		for _, c := range service.Commands(string(e.Data)) {
			for _, w := range c.Words {
				inText := strings.ContainsAny(w, " \t\n") // as a shell is given behind -c
				for _, w := range strings.FieldsFunc(w, betweenWords) {
					p := path.Clean(w)
					if !path.IsAbs(w) || strings.ContainsAny(w, "%$*?") || boot.Distribution(p) || madeAtBoot(p) {
						continue
					}
					if e, presence := x.node().Lookup(p); inText && presence == node.Present && e.Kind != node.KindFile {
						continue // which the text may only look at
					}
					out = append(out, p)
				}
			}
		}
	}
	return out
}

// betweenWords says whether r parts the words of a shell's text.
func betweenWords(r rune) bool { return strings.ContainsRune(" \t\n'\";&|()<>{}`=", r) }

// namedByArguments are the files and directories that keys, variables and
// arguments of the node's own name, and K3s's files among them.
func (x *examination) namedByArguments() []string {
	e := x.in.Effective
	if e == nil {
		return nil
	}
	var list []string
	add := func(name, value string) {
		if k3s.WrittenTo(name) {
			return
		}
		if strings.ReplaceAll(name, "_", "-") == kube.SNIKeyFlag {
			certificate, key := kube.SNIFiles(value)
			value = certificate + "," + key
		}
		for item := range strings.SplitSeq(value, ",") {
			if p := path.Clean(item); path.IsAbs(item) && p != "/" && !strings.ContainsAny(item, " \t\n*") && !madeAtBoot(p) && !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	for _, key := range names(e.Settings) {
		if strings.HasSuffix(key, "-arg") {
			continue
		}
		for _, v := range e.Settings[key].Values {
			add(key, v.Text)
		}
	}
	for _, c := range components {
		for _, a := range e.Args[c] {
			if !a.Origin.Default {
				add(a.Name, a.Value)
			}
		}
	}
	for _, f := range namedFiles { // whose names may be relative
		value, from, set := e.Flag(f.component, f.flag)
		if set && value != "" && slices.ContainsFunc(from, func(a k3s.Argument) bool { return !a.Origin.Default }) && !slices.Contains(list, x.absolute(value)) {
			list = append(list, x.absolute(value))
		}
	}
	return x.withTargets(slices.Concat(list, x.namedByFiles()))
}

// namedByFiles are the files that those which arguments name lead to, and those
// that the kubelet and containerd are configured by without being named.
func (x *examination) namedByFiles() []string {
	e := x.in.Effective
	list := slices.Clone(e.KubeletFiles)
	if a, problem := x.admission(); problem == nil && a != nil {
		list = append(list, a.Files...)
	}
	for _, e := range x.node().Below(containerdDir(x.paths)) {
		list = append(list, e.Path)
	}
	if dir, named := x.credentialPrograms(); named {
		for _, e := range x.node().Below(dir) {
			list = append(list, e.Path)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// credentialPrograms is the directory of the programs that the kubelet runs for
// registries' passwords, where the configuration names one.
func (x *examination) credentialPrograms() (dir string, named bool) {
	dir = x.in.Effective.Text("image-credential-provider-bin-dir")
	return path.Clean(dir), path.IsAbs(dir)
}

// directoriesAbove are those above all that K3s is started from and reads.
func (x *examination) directoriesAbove() []string {
	if x.in.Effective == nil {
		return nil
	}
	if found, unknown := x.k3sOnNode(); !found && unknown == "" {
		return nil
	}
	config := []string{x.configFile(), k3s.DropInDir(x.configFile()), x.paths.expand("{data}")}
	for _, dir := range []string{k3s.DropInDir(x.configFile()), k3s.LayoutOf(x.paths.data).Manifests()} {
		for _, e := range x.node().Below(dir) {
			config = append(config, e.Path)
		}
	}
	list := slices.Concat(usualPlaces(), dropInsToCome(), x.withTargets(config), x.serviceFiles(), x.programs(), x.namedByArguments())
	list = slices.DeleteFunc(list, func(p string) bool { return !path.IsAbs(p) })
	// A link among the directories leads to others.
	for {
		all := x.withTargets(above(list))
		more := above(all)
		if missing := slices.DeleteFunc(more, func(p string) bool { return slices.Contains(all, p) }); len(missing) == 0 || len(all) > maxFollowed {
			return slices.Compact(append(all, x.hooks(node.KindDirectory)...))
		}
		list = append(list, all...)
	}
}
