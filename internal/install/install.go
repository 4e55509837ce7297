package install

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"text/template"

	"github.com/docker/go-units"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// Options say what is installed.
type Options struct {
	// Binary is put into BinDir as k3s.
	Binary Binary
	BinDir string
	// Manager starts the service; empty for the one that the node has.
	Manager service.Manager
	// Roles are those that the node can have. With more than one each has its
	// service, and none is enabled.
	Roles []k3s.Role
	// Images are archives of container images.
	Images []Archive
	// Registries is what containerd is told of registries; nil for nothing.
	Registries []byte
	// Module is what the node's SELinux policy is to have besides; nil for nothing.
	Module *Module
	// Architecture is the node's, as Go names it; empty where that is not known.
	Architecture string
}

// BinDirs are the directories in which K3s is looked for, the usual one first.
func BinDirs() []string {
	var out []string
	for _, p := range k3s.BinaryPaths() {
		out = append(out, path.Dir(p))
	}
	return out
}

// Plan is what installing means for one node.
type Plan struct {
	// Write lists what is written, and Keep what of it is kept as it was.
	Write []node.Entry
	Keep  map[string]string
	// Links are symbolic links that are made, by their paths.
	Links map[string]string
	// Notes are for the log, Warnings too.
	Notes, Warnings []string
}

// Query returns what Make wants to know of a node.
func Query(o Options) node.Query {
	q := node.Query{{Path: path.Join(o.BinDir, "k3s")}}
	q = append(append(q, service.ManagersQuery()...), LoaderQuery()...)
	for _, role := range o.Roles {
		for _, m := range service.Managers() {
			for _, e := range o.service(m, role) {
				q = append(q, node.Pick{Path: e.Path, Content: true})
			}
		}
	}
	for _, e := range o.scripts(nil) {
		q = append(q, node.Pick{Path: e.Path, Content: true})
	}
	if o.Registries != nil {
		q = append(q, node.Pick{Path: k3s.RegistriesFile, Content: true})
	}
	if o.Module != nil {
		q = append(q, moduleQuery()...)
		q = append(q, node.Pick{Path: ModulePath(o.Module.Name)}, node.Pick{Path: k3s.SystemdDir + "/" + moduleService, Content: true})
	}
	for _, l := range o.links() {
		for _, p := range l.places() {
			q = append(q, node.Pick{Path: p})
		}
	}
	return node.Query{}.Lacks(q)
}

// Make plans the installation on have. Its error lists everything that is wrong.
func Make(o Options, have *node.Node) (*Plan, error) {
	p := &Plan{Keep: map[string]string{}, Links: map[string]string{}}
	have = have.WithoutHidden()
	manager, err := o.manager(have)
	errs := []error{err, o.fits(have), o.module(manager, have)}
	p.Write = append(p.Write, sourced(path.Join(o.BinDir, "k3s"), 0o755, o.Binary.Source))
	if err == nil {
		for _, role := range o.Roles {
			for _, e := range o.service(manager, role) {
				errs = append(errs, p.file(e, have))
			}
		}
	}
	if o.Registries != nil {
		errs = append(errs, p.file(node.Entry{Path: k3s.RegistriesFile, Kind: node.KindFile, Mode: 0o600, Data: o.Registries, Size: int64(len(o.Registries))}, have))
	}
	if o.Module != nil {
		p.Write = append(p.Write, sourced(ModulePath(o.Module.Name), 0o644, o.Module.Source))
		p.Notes = append(p.Notes, fmt.Sprintf("%s is not loaded yet, and no check has seen the policy with it: %s loads it when the node boots with SELinux, before K3s starts", ModulePath(o.Module.Name), moduleService))
	}
	for _, l := range o.links() {
		if err == nil && (l.manager == "" || l.manager == manager) {
			errs = append(errs, p.link(l, have))
		}
	}
	for _, e := range p.Write {
		if old, presence := have.Lookup(e.Path); presence == node.Present && old.Kind != e.Kind {
			errs = append(errs, fmt.Errorf("%s: found %s where a file is to be put: remove it%s", e.Path, kindOf(old), unmask(old)))
		}
	}
	if len(o.Roles) > 1 {
		p.Notes = append(p.Notes, "no service of K3s is enabled, as the image has one for each role: let the first boot of a node enable and start its own")
	}
	return p, errors.Join(errs...)
}

func kindOf(e node.Entry) string {
	if e.Target != "" {
		return "a link to " + e.Target
	}
	return "a " + string(e.Kind)
}

func unmask(e node.Entry) string {
	if e.Target == "/dev/null" {
		return ", as it masks the service"
	}
	return ""
}

// file plans a file of the service. What the node has of an environment file
// stays; another file is kept beside, where it is not from here.
func (p *Plan) file(e node.Entry, have *node.Node) error {
	old, presence := have.Lookup(e.Path)
	switch {
	case presence == node.Unknown:
		return fmt.Errorf("%s could not be looked at", e.Path)
	case presence == node.Absent || old.Kind != node.KindFile:
	case len(e.Data) == 0:
		return nil
	case old.Data == nil:
		return fmt.Errorf("%s: what is there cannot be read: %s", e.Path, old.Unread)
	case !bytes.Equal(old.Data, e.Data) && !bytes.Contains(old.Data, []byte(header)):
		kept := keptAs(e.Path)
		p.Keep[e.Path] = kept
		p.Notes = append(p.Notes, fmt.Sprintf("%s is replaced, and kept as it was in %s", e.Path, kept))
	}
	p.Write = append(p.Write, e)
	return nil
}

// header is in every file from here.
const header = "# Written by packer-plugin-k3s (provisioner k3s-cis)."

// keptAs is where the copy of a file goes. OpenRC takes every file in its
// directory for a service.
func keptAs(name string) string {
	if path.Dir(name) == "/etc/init.d" {
		name = path.Join(k3s.ConfigDir, path.Base(name)+".init")
	}
	return name + node.KeptSuffix
}

// AddData plans what depends on K3s's data directories on have: the archives, what has
// K3s import each of them once, and the scripts that end K3s and take it away. It
// returns what it lacks of have.
func (p *Plan) AddData(o Options, have *node.Node, dataDirs ...string) (lacking node.Query, _ error) {
	var errs []error
	for _, e := range o.scripts(dataDirs) {
		errs = append(errs, p.file(e, have))
	}
	if o.Module != nil {
		errs = append(errs, p.file(o.loader(have, dataDirs), have))
	}
	if len(o.Images) == 0 {
		return nil, errors.Join(errs...)
	}
	var done []string
	for _, dir := range dataDirs {
		layout := k3s.LayoutOf(dir)
		images := layout.Images()
		if slices.Contains(done, images) {
			continue
		}
		done = append(done, images)
		for _, a := range o.Images {
			p.Write = append(p.Write, sourced(path.Join(images, a.Name), 0o600, a.Source))
		}
		cache := layout.ImageCache(o.Binary.Release)
		switch _, presence := have.Lookup(cache); {
		case cache == "" || presence == node.Present:
		case presence == node.Unknown:
			lacking = append(lacking, node.Pick{Path: cache})
		default:
			p.Write = append(p.Write, node.Entry{Path: cache, Kind: node.KindFile, Mode: 0o600, Data: []byte{}})
		}
	}
	return lacking, errors.Join(errs...)
}

// WarnMissing warns of images that K3s runs by itself and no archive has, where there
// are archives: a node without a registry could not start them. disabled are K3s's
// components that are not wanted.
func (p *Plan) WarnMissing(o Options, disabled []string) {
	if len(o.Images) == 0 || slices.ContainsFunc(o.Images, func(a Archive) bool { return a.Unread != "" }) {
		return
	}
	wanted, known := o.Binary.Release.SystemImages(disabled)
	if !known {
		p.Notes = append(p.Notes, fmt.Sprintf("which images K3s %s runs by itself is not known here, so whether the archives have all of them was not looked at", o.Binary.Release.MinorName()))
		return
	}
	var missing []string
	for _, image := range wanted {
		has, otherwise := o.imageOf(image.Repositories)
		switch {
		case has:
		case otherwise != "":
			missing = append(missing, fmt.Sprintf("%s by the tag of a release (only %s)", image.Repositories[0], otherwise))
		default:
			missing = append(missing, image.Repositories[0])
		}
	}
	if len(missing) > 0 {
		p.Warnings = append(p.Warnings, fmt.Sprintf("no archive of install.airgap_images has %s, which K3s runs by itself: a node without a registry cannot start what needs them", strings.Join(missing, ", ")))
	}
}

// On returns the node as it is with what the plan writes.
func (p *Plan) On(n *node.Node) *node.Node {
	if p == nil || n == nil || len(p.Write) == 0 {
		return n
	}
	var paths []string
	for _, e := range p.Write {
		paths = append(paths, e.Path)
	}
	out := node.New(n.Query(), slices.Concat(n.Without(paths...).Entries(), p.Write))
	out.Kernel, out.Mounts, out.K3sVersion = n.Kernel, n.Mounts, n.K3sVersion
	return out
}

// Text says what is installed, one line a file; empty where nothing is.
func (p *Plan) Text() string {
	var lines []string
	for _, e := range p.Write {
		line := "  " + e.Path
		if e.Source != nil {
			line += fmt.Sprintf(" (%s, sha256 %x)", units.HumanSize(float64(e.Source.Size)), e.Source.SHA256)
		}
		lines = append(lines, line)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Links)) {
		lines = append(lines, "  "+name+" -> "+p.Links[name])
	}
	return strings.Join(lines, "\n")
}

// manager is the service manager of the node.
func (o Options) manager(have *node.Node) (service.Manager, error) {
	if o.Manager != "" {
		return o.Manager, nil
	}
	var found []service.Manager
	for _, m := range service.Managers() {
		if m.On(have) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("install.service: the node has neither systemd nor OpenRC, so that nothing would start K3s: install one of them first, or write service = %q or %q if it comes later", service.SystemdManager, service.OpenRCManager)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("install.service: the node has both systemd and OpenRC: write which of them starts it, service = %q or %q", service.SystemdManager, service.OpenRCManager)
}

// sourced is a file with the content of one of the build host.
func sourced(p string, mode fs.FileMode, source node.Source) node.Entry {
	return node.Entry{Path: p, Kind: node.KindFile, Mode: mode, Size: source.Size, Source: &source}
}

//go:embed files
var files embed.FS

var templates = template.Must(template.ParseFS(files, "files/*"))

// service is what starts K3s in a role: what is run, and what sets its environment.
func (o Options) service(m service.Manager, role k3s.Role) []node.Entry {
	name := role.ServiceName()
	values := map[string]string{
		"Role": string(role), "Service": name, "Binary": path.Join(o.BinDir, "k3s"), "Type": "notify",
		"Environment": k3s.SystemdDir + "/" + name + ".service.env",
	}
	if role == k3s.Agent {
		values["Type"] = "exec" // an agent is started once it runs: it may wait for its server
	}
	render := func(name string) []byte { return render(name, values) }
	var out []node.Entry
	add := func(p string, mode fs.FileMode, data []byte) {
		out = append(out, node.Entry{Path: p, Kind: node.KindFile, Mode: mode, Data: data, Size: int64(len(data))})
	}
	if m == service.OpenRCManager {
		values["Environment"] = k3s.ConfigDir + "/" + name + ".env"
		add("/etc/init.d/"+name, 0o755, render("openrc"))
	} else {
		add(k3s.SystemdDir+"/"+name+".service", 0o644, render("k3s.service"))
	}
	add(values["Environment"], 0o600, []byte{})
	return out
}

// render fills in one of the files.
func render(name string, values map[string]string) []byte {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, values); err != nil {
		panic(err) // the templates are in the program
	}
	return b.Bytes()
}

// scripts end K3s on a node and take it away, by the names that K3s's installer gives
// them.
func (o Options) scripts(dataDirs []string) []node.Entry {
	words := make([]string, len(dataDirs))
	for i, dir := range dataDirs {
		words[i] = "'" + strings.ReplaceAll(k3s.LayoutOf(dir).Root(), "'", `'\''`) + "'"
	}
	slices.Sort(words)
	values := map[string]string{"BinDir": o.BinDir, "DataDirs": strings.Join(slices.Compact(words), " ")}
	names := map[string]string{"k3s-killall.sh": "killall"}
	for _, role := range o.Roles {
		names[role.ServiceName()+"-uninstall.sh"] = "uninstall"
	}
	var out []node.Entry
	for _, name := range slices.Sorted(maps.Keys(names)) {
		data := render(names[name], values)
		out = append(out, node.Entry{Path: path.Join(o.BinDir, name), Kind: node.KindFile, Mode: 0o755, Data: data, Size: int64(len(data))})
	}
	return out
}
