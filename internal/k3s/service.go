package k3s

import (
	"bytes"
	"errors"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

const initDir = "/etc/init.d"

// servicesQuery asks for everything that may be a service which runs K3s under
// another name than the installer's: the units an administrator writes with
// what they say, the packaged ones by their names.
func servicesQuery() node.Query {
	q := node.Query{{Path: initDir, Depth: 1}}
	for _, dir := range service.UnitDirectories() {
		administrators := strings.HasPrefix(dir, "/etc/") || strings.HasPrefix(dir, "/usr/local/")
		q = append(q, node.Pick{Path: dir, Depth: 1, Content: administrators})
	}
	for _, dir := range otherManagers {
		q = append(q, node.Pick{Path: dir, Depth: 2, Content: true})
	}
	return q
}

// otherManagers are where what starts a program is written for others than
// systemd's own manager and OpenRC: users' managers, supervisord, runit, upstart.
var otherManagers = []string{
	"/etc/systemd/user", "/root/.config/systemd/user", "/etc/supervisord.conf", "/etc/supervisor", "/etc/supervisord.d", "/etc/sv", "/etc/service", "/etc/init",
}

// otherServices tells of what starts K3s and is not read as a service.
func (r *resolver) otherServices() {
	for _, dir := range otherManagers {
		e, presence := r.node.Lookup(dir)
		files := r.node.Below(dir)
		if presence == node.Present {
			files = append(files, e)
		}
		for _, e := range files {
			for i, line := range strings.Split(string(e.Data), "\n") {
				if k3sRole.MatchString(line) && !strings.ContainsAny((strings.TrimSpace(line) + " ")[:1], "#;") {
					r.problem(Unreadable, Origin{Source: e.Path, Line: i + 1}, "%s starts K3s, and only services of systemd's system manager and of OpenRC are judged: start K3s by one", e.Path)
				}
			}
		}
	}
}

// maxServices is how many services are read to find the one that runs K3s.
const maxServices = 64

// service finds the service that runs K3s in this role and returns the words
// of its command line behind "server" or "agent".
func (r *resolver) service() []service.Word {
	r.otherServices()
	r.manager = r.whichManager()
	names := r.serviceNames()
	if len(names) > maxServices {
		r.problem(Unreadable, Origin{Source: names[maxServices]}, "is one of %d services that may run K3s: with more than %d it is not judged which of them counts; remove some", len(names), maxServices)
		return nil
	}
	systemd := service.NewSystemd(r.node)
	var running []*service.Service
	for _, name := range names {
		s, err := r.readService(systemd, name)
		if err != nil {
			r.unreadable(name, err)
			return nil
		}
		known := s != nil && slices.ContainsFunc(running, func(o *service.Service) bool { return o.Path == s.Path })
		if s != nil && !known && (name == r.role.ServiceName() || runsRole(s, r.role)) {
			running = append(running, s)
		}
	}
	switch {
	case len(running) > 1:
		r.problem(Unreadable, Origin{Source: running[1].Path}, "runs K3s too, besides %s: which of them counts is not known; remove one", running[0].Path)
		return nil
	case len(running) == 1:
		return r.readCommand(running[0])
	}
	other := r.role.other()
	for _, p := range []string{path.Join(SystemdDir, other.ServiceName()+".service"), path.Join(initDir, other.ServiceName())} {
		if _, presence := r.node.Lookup(p); presence == node.Present {
			r.problem(Unreadable, Origin{Source: p}, "the node has this service but none that runs k3s %s; set role = %q", r.role, other)
			break
		}
	}
	return nil
}

func (r *resolver) readCommand(s *service.Service) []service.Word {
	r.effective.Service = s
	if s.Masked {
		r.problem(Fatal, Origin{Source: s.Path}, "the service is masked and will not start: unmask it")
		return nil
	}
	for _, f := range s.Faults {
		consequence := Unreadable
		if f.Fatal {
			consequence = Fatal
		}
		r.problem(consequence, Origin{Source: f.Path, Line: f.Line}, "%s", f.Text)
	}
	r.environment = s.Environment
	r.openEnvironment(s.Environment)
	if len(s.Start) == 0 && len(s.Faults) > 0 {
		return nil
	}
	return r.splitCommand(s)
}

// readService reads a service of systemd or, where there is none, of OpenRC.
func (r *resolver) readService(systemd *service.Systemd, name string) (*service.Service, error) {
	if r.manager != service.OpenRCManager {
		if s, err := systemd.Service(name); s != nil || err != nil || r.manager == service.SystemdManager {
			return s, err
		}
	}
	return service.FromOpenRC(r.node, name)
}

// runsRole says whether a service's command line runs K3s in a role, directly
// or through a shell.
func runsRole(s *service.Service, role Role) bool {
	var words []string
	for _, w := range s.Start {
		words = append(words, w.Text)
	}
	m := k3sRole.FindStringSubmatch(strings.Join(words, " "))
	return m != nil && m[1] == string(role)
}

var (
	// k3sRole matches a command that runs K3s as server or agent, the options
	// that K3s has before any command passed over.
	k3sRole = regexp.MustCompile(`k3s[-.+\w]*["']?\s+(?:(?:--?debug(?:=\S+)?|(?:--?data-dir|-d)(?:=|\s+)\S+)\s+)*["']?(server|agent)(?:["'\s]|$)`)
	// startsK3s matches a line of a unit or init script that runs K3s.
	startsK3s = regexp.MustCompile(`^\s*(?:ExecStart\s*=|command=).*k3s`)
)

// startsAnyK3s says whether a line of text runs K3s.
func startsAnyK3s(text string) bool {
	for {
		// Most text names K3s nowhere: it is not cut into lines.
		i := strings.Index(text, "k3s")
		if i < 0 {
			return false
		}
		begin := strings.LastIndexByte(text[:i], '\n') + 1
		line, rest, _ := strings.Cut(text[begin:], "\n")
		if startsK3s.MatchString(line) {
			return true
		}
		text = rest
	}
}

// serviceNames lists the services that may run K3s: the installer's, and
// others whose files say so or whose names do where only these were collected.
func (r *resolver) serviceNames() []string {
	found := map[string]bool{}
	consider := func(name string, e node.Entry) {
		if name == r.role.ServiceName() || e.Kind != node.KindFile ||
			path.Base(e.Target) == r.role.ServiceName()+".service" {
			return
		}
		if len(e.Data) == 0 {
			if e.Size > 0 && e.Data == nil && strings.Contains(name, "k3s") && !strings.HasSuffix(name, "@") {
				found[name] = true
			}
			return
		}
		if !bytes.Contains(e.Data, []byte("k3s")) { // both patterns want it
			return
		}
		text := strings.ReplaceAll(string(e.Data), "\\\n", " ")
		if !startsAnyK3s(text) {
			return
		}
		if name == r.role.other().ServiceName() {
			if m := k3sRole.FindStringSubmatch(text); m != nil && m[1] == string(r.role.other()) {
				return
			}
		}
		if template, ok := strings.CutSuffix(name, "@"); ok {
			for _, instance := range r.instances(template) {
				found[instance] = true
			}
			return
		}
		found[name] = true
	}
	for _, dir := range service.UnitDirectories() {
		if r.manager == service.OpenRCManager {
			break
		}
		for _, e := range r.node.Below(dir) {
			if name, ok := strings.CutSuffix(e.Path[len(dir)+1:], ".service"); ok && !strings.Contains(name, "/") {
				consider(name, e)
			}
		}
	}
	for _, e := range r.node.Below(initDir) {
		if path.Dir(e.Path) == initDir && r.manager != service.SystemdManager {
			consider(path.Base(e.Path), e)
		}
	}
	names := make([]string, 0, len(found)+1)
	for name := range found {
		names = append(names, name)
	}
	sort.Strings(names)
	return append([]string{r.role.ServiceName()}, names...)
}

// instances lists the services of a template that something of the node wants.
func (r *resolver) instances(template string) []string {
	var out []string
	for _, dir := range service.UnitDirectories() {
		for _, e := range r.node.Below(dir) {
			name, ok := strings.CutSuffix(path.Base(e.Path), ".service")
			if ok && strings.HasPrefix(name, template+"@") && name != template+"@" && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// unreadable reports that a service could not be read.
func (r *resolver) unreadable(name string, err error) {
	var unknown *node.UnknownPathError
	if !errors.As(err, &unknown) {
		r.problem(Unreadable, Origin{Source: name + ".service"}, "%v", err)
		return
	}
	if name != r.role.ServiceName() {
		r.effective.Missing = append(r.effective.Missing, service.SystemdQuery(name, environmentFiles(name)...)...)
		r.effective.Missing = append(r.effective.Missing, service.OpenRCQuery(name)...)
	}
	r.unknown(node.Pick{Path: unknown.Path, Depth: 1, Content: true})
}
