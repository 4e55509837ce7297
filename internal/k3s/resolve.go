package k3s

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// Query returns what has to be collected from a node so that Resolve can
// answer, for a data directory dataDir ("" for K3s's default). Where a node
// keeps its configuration elsewhere, Effective.Missing names what is to be
// collected on top.
func Query(role Role, dataDir string) node.Query {
	layout := LayoutOf(dataDir)
	q := node.Query{
		{Path: ConfigFile, Content: true},
		DropIns(ConfigFile),
		{Path: layout.KubeletConfigDir(), Depth: node.Deep, Content: true},
		{Path: layout.DB(), Depth: 1},
		{Path: FindProgram},
	}
	q = append(append(q, servicesQuery()...), service.ManagersQuery()...)
	q = append(q, service.SystemdQuery(role.ServiceName(), role.EnvironmentFiles()...)...)
	return append(q, service.OpenRCQuery(role.ServiceName())...)
}

func (r Role) other() Role {
	if r == Agent {
		return Server
	}
	return Agent
}

// resolver gathers what one Resolve finds.
type resolver struct {
	// command is what the user declares that a wrapper runs; "" for nothing.
	command string
	// manager is whose services count; see whichManager.
	manager service.Manager
	// added are words behind those of the service's command.
	added       []string
	node        *node.Node
	release     Release
	role        Role
	environment []service.Variable
	effective   *Effective
	// suggested counts the keys that a similar one was looked for.
	suggested int
	// byDefault names K3s's own defaults as a source.
	byDefault string
	// passedOver is the problem of a usual configuration file that is there and is
	// not the one that the service reads.
	passedOver []Problem
	// places fills in where a default's value lies in the data directory.
	places *strings.Replacer
}

// Resolve computes the effective configuration from what was collected. It
// returns an error only for input that it cannot judge at all (an unsupported
// release or role); everything found wrong on the node is in
// Effective.Problems.
func Resolve(n *node.Node, release Release, role Role) (*Effective, error) {
	return ResolveDeclared(n, release, role, "")
}

// ResolveDeclared is Resolve for a node whose service starts K3s through a
// program of the user's: command is what that runs, as "server --config FILE"
// (see CheckCommand). It counts only where the service's command is not k3s.
func ResolveDeclared(n *node.Node, release Release, role Role, command string) (*Effective, error) {
	return ResolveAdded(n, release, role, command)
}

// ResolveAdded is ResolveDeclared for a K3s that is started with words behind those
// of its service's command, each an option with its value.
func ResolveAdded(n *node.Node, release Release, role Role, command string, added ...string) (*Effective, error) {
	if _, err := release.Supported(); err != nil {
		return nil, err
	}
	if role != Server && role != Agent {
		return nil, fmt.Errorf("%q is not a role of K3s: it is server or agent", role)
	}
	r := newResolver(n, release, role)
	r.command, r.added = command, added
	r.resolve()
	r.otherService()
	r.effective.Problems = append(r.effective.Problems, r.passedOver...)
	return r.effective, nil
}

func newResolver(n *node.Node, release Release, role Role) *resolver {
	return &resolver{
		node: n, release: release, role: role, effective: &Effective{Release: release, Role: role},
		byDefault: fmt.Sprintf("K3s %s default", release.DefaultsName()),
	}
}

func (r *resolver) resolve() {
	n, e := r.node, r.effective
	words := r.service()
	for _, w := range r.added {
		words = append(words, service.Word{Text: w, Path: Added})
	}
	file, origin := r.configFileName(words)
	file = r.started(file, origin)
	e.ConfigFile = file
	options := r.readConfig(file)
	if _, presence := n.Lookup(ConfigFile); presence == node.Present && path.Clean(file) != ConfigFile {
		r.passedOver = []Problem{{Consequence: Ignored, Text: fmt.Sprintf("is not read: %s names %s instead", origin, file), Origin: Origin{Source: ConfigFile}}}
	}
	if _, presence := n.Lookup(path.Clean(file)); presence == node.Absent && origin.Source != "" && len(options) == 0 {
		r.problem(Ignored, origin, "names the configuration file %s, which does not exist: K3s starts without any", file)
	}
	e.Settings = r.settings(append(r.knownOptions(options), r.commandOptions(words)...))
	r.contradict()
	r.runsAsRoot()
	e.DataDir = LayoutOf(r.dataDir()).Root()
	e.Datastore = r.datastore()
	r.checkDatastore()
	r.checkSchedule()
	r.limited()
	layout := LayoutOf(e.DataDir)
	r.places = strings.NewReplacer("{server}", layout.Server(), "{agent}", layout.Agent())
	e.Args = r.arguments()
}

// runsAsRoot reports a service that starts K3s as somebody else
// (pkg/cli/server/server.go, pkg/cli/agent/agent.go).
func (r *resolver) runsAsRoot() {
	s := r.effective.Service
	if s == nil || slices.Contains([]string{"", "root", "0"}, s.User) || r.effective.Bool("rootless") || r.role == Server && r.effective.Bool("disable-agent") {
		return
	}
	r.problem(Fatal, Origin{Source: s.Path}, "the service starts K3s as user %s, and K3s exits: it must run as root; take User= out", safetext.Name(s.User))
}

// otherService tells of what would stop the service of the other role, where the
// node has both: it reads the same configuration unless it is given another.
func (r *resolver) otherService() {
	other := newResolver(r.node, r.release, r.role.other())
	name := other.role.ServiceName()
	there := func(p string) bool {
		_, presence := r.node.Lookup(p)
		return presence == node.Present
	}
	if r.effective.Service == nil {
		return
	}
	script := path.Join(initDir, name)
	if r.manager == service.OpenRCManager && !there(script) {
		return
	}
	if !there(script) || path.Dir(r.effective.Service.Path) != initDir {
		name += ".service"
		if !slices.ContainsFunc(service.UnitDirectories(), func(dir string) bool { return there(path.Join(dir, name)) }) {
			return
		}
	}
	other.resolve()
	s := other.effective.Service
	if s != nil && (s.Masked || !runsRole(s, other.role)) {
		return
	}
	if s != nil && path.Clean(other.effective.ConfigFile) == ConfigFile {
		r.passedOver = nil
	}
	r.effective.Missing = append(r.effective.Missing, other.effective.Missing...)
	if s != nil && other.role == Server {
		p := Problem{Consequence: Unreadable, Origin: Origin{Source: s.Path}, Stops: other.role}
		p.Text = fmt.Sprintf("%s starts a server, which is not judged as an agent is: remove or mask it, or set role = %q", name, Both)
		r.effective.Problems = append(r.effective.Problems, p)
	}
	for _, p := range other.effective.Problems {
		if p.Consequence == Fatal || p.Consequence == Unreadable && len(other.effective.Missing) > 0 {
			p.Text = fmt.Sprintf("%s, which the node has too: %s; give each service a configuration of its own (K3S_CONFIG_FILE), or remove or mask the one that is not to run", name, p.Text)
			p.Stops = other.role
			r.effective.Problems = append(r.effective.Problems, p)
		}
	}
}

// started makes a path absolute that is meant from where the service starts K3s.
func (r *resolver) started(p string, origin Origin) string {
	if path.IsAbs(p) || p == "" || strings.Contains(p, "://") {
		return p
	}
	dir := "/"
	if s := r.effective.Service; s != nil && s.Directory != "" {
		dir = s.Directory
	}
	if dir == "~" {
		dir = r.home()
	}
	if !path.IsAbs(dir) || strings.Contains(dir, "%") {
		r.problem(Unreadable, origin, "a path that is not absolute begins in %s, and no file says where that is: write it from the root", dir)
		return path.Join("/", p)
	}
	return path.Join(dir, p)
}

// home is the home directory of the user that K3s runs as.
func (r *resolver) home() string {
	for _, v := range r.environment {
		if v.Name == "HOME" && path.IsAbs(v.Value) {
			return v.Value
		}
	}
	return "/root"
}

// dataDir is the data directory as K3s makes it of what is written: the home
// directory put in, and begun where K3s was started (pkg/datadir). Rootless K3s has
// one below the home directory.
func (r *resolver) dataDir() string {
	values := r.effective.Settings["data-dir"].Values
	if (len(values) == 0 || values[len(values)-1].Text == "") && r.effective.Bool("rootless") {
		return r.home() + "/.rancher/k3s"
	}
	if len(values) == 0 {
		return ""
	}
	last := values[len(values)-1]
	text := last.Text
	for _, home := range []string{"$HOME", "${HOME}", "~"} {
		text = strings.ReplaceAll(text, home, r.home())
	}
	return r.started(text, last.Origin)
}

// datastore says where K3s will keep its state (pkg/cluster/managed.go): an
// etcd found on disk wins, then an endpoint, then cluster-init or a server to
// join; else SQLite.
func (r *resolver) datastore() Datastore {
	if r.role == Agent {
		return ""
	}
	etcd := LayoutOf(r.effective.DataDir).Etcd()
	switch _, presence := r.node.Lookup(etcd); presence {
	case node.Present:
		return EtcdStore
	case node.Unknown:
		// Another disk for the database begins empty, so that the configuration
		// decides.
		if r.node.Hidden(etcd) == "" {
			r.unknown(node.Pick{Path: LayoutOf(r.effective.DataDir).DB(), Depth: 1})
		}
	}
	endpoint := r.effective.Text("datastore-endpoint")
	switch {
	case strings.SplitN(endpoint, ":", 2)[0] == "etcd":
		return EtcdStore
	case strings.HasPrefix(endpoint, "sqlite:"), endpoint != "" && !strings.Contains(endpoint, "://"): // to older releases it is none
		return SQLite
	case endpoint != "":
		return External
	case r.effective.Bool("cluster-init"), r.effective.Bool("cluster-reset"), r.effective.Text("server") != "":
		return EtcdStore
	}
	return SQLite
}

// ClientOfEtcd says whether the API server is a client of an etcd, K3s's own or
// another: kine takes an endpoint for one whose scheme is http or https (kine,
// endpoint.ParseStorageEndpoint).
func (e *Effective) ClientOfEtcd() bool {
	// What the API server is told itself stands in the place of all that.
	if servers, from, set := e.Flag(APIServer, "etcd-servers"); set && !from[len(from)-1].Origin.Default {
		return !strings.HasPrefix(servers, "unix")
	}
	if e.Datastore != External {
		return e.Datastore == EtcdStore
	}
	scheme, _, found := strings.Cut(e.Text(datastoreEndpoint), "://")
	return found && slices.Contains([]string{"http", "https"}, scheme)
}

// PodNetworks are the networks of the cluster's pods: what cluster-cidr says, as far
// as it can be read, or K3s's default.
func (e *Effective) PodNetworks() []netip.Prefix {
	value, _, _ := e.Flag(ControllerManager, "cluster-cidr")
	var networks []netip.Prefix
	for text := range strings.SplitSeq(cmp.Or(value, settingDefaults["cluster-cidr"]), ",") {
		if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil {
			networks = append(networks, p)
		}
	}
	return networks
}

// BehindConfigFile says whether K3s takes what stands at o after what the
// configuration file says, so that it counts whatever stands there: in a drop-in,
// or on the command line.
func (e *Effective) BehindConfigFile(o Origin) bool {
	if o.Default {
		return false
	}
	if path.Dir(o.Source) == DropInDir(path.Clean(e.ConfigFile)) || o.Source == Declared {
		return true
	}
	return e.Service != nil && slices.ContainsFunc(e.Service.Start, func(w service.Word) bool { return w.Path == o.Source && w.Line == o.Line })
}

// Text returns the last value of a setting, or "" where it is not set.
func (e *Effective) Text(key string) string {
	values := e.Settings[key].Values
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1].Text
}

// Bool says whether a boolean setting is on.
func (e *Effective) Bool(key string) bool {
	on, err := strconv.ParseBool(e.Text(key))
	return err == nil && on
}

func (r *resolver) problem(c Consequence, o Origin, format string, args ...any) {
	r.effective.Problems = append(r.effective.Problems, Problem{Consequence: c, Text: fmt.Sprintf(format, args...), Origin: o})
}

// undoneBelow reports that a file of a directory is not what it is on the disk.
func (r *resolver) undoneBelow(dir string) {
	if p, how := r.node.UndoneBelow(dir); p != "" && p != dir {
		r.problem(Unreadable, Origin{Source: p}, "%s %s", p, how)
	}
}

// unknown reports that a path matters that was not collected.
func (r *resolver) unknown(p node.Pick) {
	if how := r.node.Undone(p.Path); how != "" {
		r.problem(Unreadable, Origin{Source: p.Path}, "%s %s", p.Path, how)
		return
	}
	if why := r.node.Hidden(p.Path); why != "" {
		r.problem(Unreadable, Origin{Source: p.Path}, "%s %s, so what K3s will do is not known", p.Path, why)
		return
	}
	r.effective.Missing = append(r.effective.Missing, p)
	r.problem(Unreadable, Origin{Source: p.Path}, "was not looked at, so what K3s will do is not known")
}
