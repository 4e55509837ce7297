package seal

import (
	_ "embed"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// ServiceName is the service that does what has to wait for the shutdown or the
// first boot, and then removes itself.
const ServiceName = "k3s-cis-seal"

const (
	serviceDir = "/etc/" + ServiceName
	// removeFile lists what is still to be removed; it is gone once that was.
	removeFile = serviceDir + "/remove"
	// keysFile has the service make SSH host keys at the first boot.
	keysFile = serviceDir + "/host-keys"
	unitFile = "/etc/systemd/system/" + ServiceName + ".service"
	// unitWants starts the unit at each boot without a link.
	unitWants = "/etc/systemd/system/sysinit.target.d/" + ServiceName + ".conf"
	initFile  = "/etc/init.d/" + ServiceName
	// initLevel starts the script at each boot: OpenRC goes by its name.
	initLevel = "/etc/runlevels/boot/" + ServiceName
)

var (
	//go:embed files/run.sh
	runScript []byte
	//go:embed files/k3s-cis-seal.service
	unit []byte
	//go:embed files/sysinit.conf
	wants []byte
	//go:embed files/openrc
	initScript []byte
)

func serviceQuery() node.Query {
	q := node.Query{{Path: removeFile, Content: true}, {Path: serviceDir + "/run", Content: true}}
	q = append(q, service.ManagersQuery()...)
	for _, program := range sshPrograms {
		q = append(q, node.Pick{Path: program})
	}
	return q
}

// sshPrograms make the host keys that a server needs.
var sshPrograms = []string{"/usr/bin/ssh-keygen", "/usr/local/bin/ssh-keygen"}

func (p *planner) has(names ...string) bool {
	for _, name := range names {
		if _, presence := p.have.Lookup(name); presence == node.Present {
			return true
		}
	}
	return false
}

// service adds the service where there is something for it to do, and a service
// manager that starts it.
func (p *planner) service() error {
	keys := p.keys && p.has(sshPrograms...)
	systemd, openRC := service.SystemdManager.On(p.have), service.OpenRCManager.On(p.have)
	switch {
	case len(p.script) == 0 && !keys:
		return nil
	case systemd || openRC:
	case len(p.script) > 0:
		return errors.New("what the machine needs until it is shut down is removed by a service, and the machine has neither systemd nor OpenRC to start it: use one that has, or name in keep what is to stay")
	default:
		return nil
	}
	file := func(name string, mode fs.FileMode, data []byte) {
		p.plan.Change.Write = append(p.plan.Change.Write, node.Entry{Path: name, Kind: node.KindFile, Mode: mode, Data: data})
	}
	p.plan.Change.Write = append(p.plan.Change.Write, node.Entry{Path: serviceDir, Kind: node.KindDirectory, Mode: 0o700})
	file(serviceDir+"/run", 0o700, runScript)
	if len(p.script) > 0 {
		file(removeFile, 0o600, []byte(strings.Join(p.script, "")))
		p.plan.Change.Start = []string{ServiceName}
	}
	if keys {
		file(keysFile, 0o600, []byte{})
	}
	if openRC {
		file(initFile, 0o755, initScript)
		file(initLevel, 0o644, []byte{})
	}
	if systemd {
		file(unitFile, 0o644, unit)
		file(unitWants, 0o644, wants)
	}
	return nil
}

// line is what the service does of an item: a comment and a call of one of the
// functions of its script.
func line(it Item, patterns []string) string {
	function := "gone"
	switch {
	case it.do == empty:
		function = "renewed"
	case it.do == clear:
		function = "clear"
	case it.do == lock:
		function = "lock"
	case it.Name == "dbus-machine-id":
		function = "gone_file"
	}
	words := []string{function}
	for _, p := range slices.Concat(patterns, it.except) {
		words = append(words, word(p))
	}
	return "# " + it.Name + ": " + it.Why + "\n" + strings.Join(words, " ") + "\n"
}

// word is a pattern as the shell reads it: all but its pattern characters quoted.
func word(pattern string) string {
	var b strings.Builder
	quoted := false
	literal := false
	for _, r := range pattern {
		if r == '\\' && !literal {
			literal = true
			continue
		}
		if special := !literal && strings.ContainsRune("*?[]", r); special == quoted {
			b.WriteByte('\'')
			quoted = !special
		}
		literal = false
		if r == '\'' {
			b.WriteString(`'\''`)
			continue
		}
		b.WriteRune(r)
	}
	if quoted {
		b.WriteByte('\'')
	}
	return b.String()
}

// Waits returns the keys of the hygiene controls whose remains the service on n
// takes out, by what is on n alone.
func Waits(n *node.Node) map[string]bool {
	out := map[string]bool{}
	script, _ := n.Lookup(serviceDir + "/run")
	list, presence := n.Lookup(removeFile)
	if presence != node.Present || string(script.Data) != string(runScript) {
		return out
	}
	for _, it := range items {
		if it.Control != "" && strings.Contains(string(list.Data), "# "+it.Name+": ") {
			out[it.Control] = true
		}
	}
	return out
}
