package service

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Word is one word of a command line and the place it stands in.
type Word struct {
	Text string
	Path string
	Line int
	// Open is a specifier in Text whose value the node's files do not tell, as it is
	// written; "" where all is known.
	Open string
}

// Variable is one environment variable and the place that sets it.
type Variable struct {
	Name, Value string
	Path        string
	Line        int
	// Open is a specifier in Value whose value the node's files do not tell, as it is
	// written; "" where all is known.
	Open string
}

// Service is a service as the node's service manager will start it.
type Service struct {
	// Name is the service's name without a suffix, such as k3s.
	Name string
	// Path is the unit file or init script.
	Path string
	// Masked services are never started.
	Masked bool
	// Directory is where the command is started: "" stands for the root
	// directory, "~" for the user's home. A specifier that no file gives is in it
	// as it is written.
	Directory string
	// User is who the command runs as, as it is written; "" is root.
	User string
	// Limits are what the unit keeps the command from, in order.
	Limits []Limit
	// Files are all that the service is read from and that is there: its unit
	// or script, drop-ins, environment files, and the service manager's own
	// settings; those that give nothing too.
	Files []string
	// Start is the command line, the program first.
	Start []Word
	// Type is when a unit counts as started (systemd.service(5)), as it is
	// written; "" where it is not.
	Type string
	// AfterStart are the commands that a unit runs once it counts as started
	// (ExecStartPost), as far as their words are known.
	AfterStart [][]Word
	// Environment holds the variables that the command will see, each once.
	Environment []Variable
	// Faults tells what in the files the service manager refuses, or what
	// could not be understood, so that Start or Environment may lack
	// something.
	Faults []Fault
}

// Fault is something wrong with a service's files.
type Fault struct {
	Path string
	// Line is from 1; 0 where the whole file is meant.
	Line int
	Text string
	// Fatal: the service manager will not start the service. Otherwise it is
	// not known what the service will be started with.
	Fatal bool
}

// unitDirs are the directories systemd loads system units from after a boot,
// strongest first (systemd.unit(5)): what lies in /run is gone then. /lib is
// the same as /usr/lib on a merged /usr.
var unitDirs = []string{
	"/etc/systemd/system.control", "/etc/systemd/system", "/etc/systemd/system.attached",
	"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// UnitDirectories lists the directories systemd loads system units from,
// strongest first.
func UnitDirectories() []string { return slices.Clone(unitDirs) }

// SystemdQuery returns what FromSystemd wants to know of a node for a
// service; the files its EnvironmentFile settings name, beyond those in
// environmentFiles, and what its aliases bring come on top.
func SystemdQuery(name string, environmentFiles ...string) node.Query {
	var q node.Query
	for _, dir := range unitDirs {
		q = append(q, node.Pick{Path: dir, Depth: 1}, node.Pick{Path: path.Join(dir, name+serviceSuffix), Content: true})
		if prefix, _, ok := instanceOf(name); ok {
			q = append(q, node.Pick{Path: path.Join(dir, prefix+"@"+serviceSuffix), Content: true})
		}
		for _, d := range append(dropInNames(name), anyDropIns) {
			q = append(q, node.Pick{Path: path.Join(dir, d), Depth: 1, Content: true})
		}
	}
	q = append(append(q, managerQuery()...), specifierQuery()...)
	for _, f := range environmentFiles {
		q = append(q, node.Pick{Path: f, Content: true})
	}
	return q
}

// FromSystemd reads one service of a node as Systemd does.
func FromSystemd(n *node.Node, name string) (*Service, error) {
	return NewSystemd(n).Service(name)
}

// Systemd reads the services of a node. What they have in common is looked for
// once, and their text is bounded.
type Systemd struct {
	finder  unitFinder
	manager []Variable
	// managerFiles are those that manager was read from.
	managerFiles []string
	started      bool // manager was read
	read         int  // bytes of text
}

// Files that services share are read for each of them, so that few bytes could
// become many.
const (
	// maxServiceText is how much text all services of a node together may have,
	// in bytes: what the kernel gives one of them for its environment and
	// arguments (execve(2), with the usual limit of the stack).
	maxServiceText = 2 << 20
	// minServiceFile is what a file counts at least: finding it costs too.
	minServiceFile = 256
)

// NewSystemd reads services of n.
func NewSystemd(n *node.Node) *Systemd { return &Systemd{finder: unitFinder{node: n}} }

// Service reads a systemd service with its drop-ins and environment files. It
// returns nil and no error when the node has no such unit. A file of the set
// that could not be read, or was never looked at, is an error.
func (d *Systemd) Service(name string) (*Service, error) {
	unit, err := d.finder.find(name)
	if unit == nil || err != nil {
		return nil, err
	}
	s := &Service{Name: name, Path: unit.Path, Files: []string{unit.Path}}
	switch {
	case Masked(unit.Entry):
		s.Masked = true
		return s, nil
	case unit.Kind == node.KindLink, unit.Kind == node.KindDirectory:
		s.refuse(unit.Path, 0, "leads to no file: systemd cannot load the unit")
		return s, nil
	}
	p := unitParser{systemd: d, service: s, specifiers: specifiers{node: d.finder.node, name: unit.names[0], aliased: len(unit.names) > 1, names: unit.names}}
	if loads, err := p.load(unit); !loads || err != nil {
		return s, err
	}
	manager, err := d.managerEnvironment()
	if err != nil {
		return nil, err
	}
	s.Files = append(s.Files, d.managerFiles...)
	if err := s.generated(d.finder.node); err != nil {
		return nil, err
	}
	if err := p.environment(manager); err != nil {
		return nil, err
	}
	p.command(unit.Path)
	return s, d.spend(len(s.Environment) + sizeOf(s.Start))
}

// managerEnvironment reads what the manager gives to every service, once.
func (d *Systemd) managerEnvironment() ([]Variable, error) {
	if d.started {
		return d.manager, nil
	}
	var err error
	d.manager, d.managerFiles, err = managerEnvironment(d.finder.node)
	d.started = err == nil
	return d.manager, err
}

// spend counts n bytes of text of a service.
func (d *Systemd) spend(n int) error {
	if d.read += max(n, minServiceFile); d.read > maxServiceText {
		return fmt.Errorf("the services that may run K3s have more than %d MiB of units, drop-ins, environment files and commands", maxServiceText>>20)
	}
	return nil
}

func sizeOf(words []Word) int {
	size := 0
	for _, w := range words {
		size += len(w.Text)
	}
	return size
}

// load reads the unit and its drop-ins; false if systemd does not load it.
func (p *unitParser) load(unit *unitFile) (bool, error) {
	data, err := p.read(unit.Entry)
	if err != nil {
		return false, err
	}
	dropIns, err := findDropIns(p.node, unit.names)
	if err != nil {
		return false, err
	}
	var refused *iniError
	switch err := p.parse(unit.Path, string(data)); {
	case errors.As(err, &refused):
		p.service.refuse(unit.Path, refused.line, "%v: systemd refuses the unit", refused)
		return false, nil
	case err != nil:
		return false, err
	}
	for _, e := range dropIns {
		p.service.Files = append(p.service.Files, e.Path)
		data, err := Configuration(e)
		if err == nil {
			err = p.systemd.spend(len(data))
		}
		if err != nil {
			return false, err
		}
		// What systemd stops at in a drop-in ends that drop-in alone.
		if err := p.parse(e.Path, string(data)); err != nil && !errors.As(err, &refused) {
			return false, err
		}
	}
	return true, nil
}

// read returns a file's text.
func (p *unitParser) read(e node.Entry) ([]byte, error) {
	data, err := e.Content()
	if err != nil {
		return nil, err
	}
	return data, p.systemd.spend(len(data))
}

// command decides what the service starts.
func (p *unitParser) command(unit string) {
	s := p.service
	s.Type = p.kind
	for _, c := range p.post {
		if !c.shell && !slices.ContainsFunc(c.words, func(w Word) bool { return w.Open != "" }) {
			s.AfterStart = append(s.AfterStart, c.words)
		}
	}
	switch {
	case len(p.start) == 0:
		s.refuse(unit, 0, "no ExecStart: systemd refuses the unit")
	case len(p.start) > 1 && p.kind != "oneshot":
		s.refuse(unit, 0, "more than one ExecStart: systemd refuses the unit (begin the drop-in with an empty ExecStart=)")
	case p.kind == "oneshot" && (p.restart == "always" || p.restart == "on-success"):
		s.refuse(unit, 0, "Type=oneshot with Restart=%s: systemd refuses the unit", p.restart)
	default:
		if len(p.start) > 1 {
			s.fault(unit, 0, "several ExecStart: which of them matters is not judged: leave one")
		}
		for _, c := range p.start {
			if !c.literal {
				if c.words = expand(c.words, s.Environment, p.given); c.words == nil {
					s.refuse(unit, 0, "ExecStart has more than %d MiB once variables are replaced: the kernel refuses it", maxCommand>>20)
				}
			}
			s.Start = append(s.Start, c.words...)
		}
		return
	}
	s.Environment = nil
}

// givenVariables are those that systemd itself sets when it starts a service,
// to values that no file tells.
var givenVariables = []string{
	"CACHE_DIRECTORY", "CONFIGURATION_DIRECTORY", "CREDENTIALS_DIRECTORY", "HOME", "INVOCATION_ID", "JOURNAL_STREAM", "LANG", "LISTEN_FDNAMES",
	"LISTEN_FDS", "LISTEN_PID", "LOGNAME", "LOGS_DIRECTORY", "MAINPID", "MANAGERPID", "MEMORY_PRESSURE_WATCH", "NOTIFY_SOCKET", "PATH", "PIDFILE",
	"RUNTIME_DIRECTORY", "SHELL", "STATE_DIRECTORY", "SYSTEMD_EXEC_PID", "TERM", "USER", "WATCHDOG_PID", "WATCHDOG_USEC",
}

// given notes the use of a variable whose value systemd makes up.
func (p *unitParser) given(name string, w Word) {
	known := slices.ContainsFunc(p.service.Environment, func(v Variable) bool { return v.Name == name })
	if !known && (slices.Contains(givenVariables, name) || strings.HasPrefix(name, "LC_")) {
		p.service.fault(w.Path, w.Line, "systemd sets %s when it starts the service, so what it stands for here is not judged: write the value", name)
	}
}

func (s *Service) fault(path string, line int, format string, args ...any) {
	s.Faults = append(s.Faults, Fault{Path: path, Line: line, Text: fmt.Sprintf(format, args...)})
}

// refuse notes why the service manager will not start the service.
func (s *Service) refuse(path string, line int, format string, args ...any) {
	s.fault(path, line, format, args...)
	s.Faults[len(s.Faults)-1].Fatal = true
}
