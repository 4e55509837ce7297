package k3s

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// Tightening is a mode that K3s's service gives, after each start, to files that
// K3s makes for more than root to read.
type Tightening struct {
	// Dir is where the files are, at any depth, and Match the pattern of their
	// names.
	Dir, Match string
	Mode       fs.FileMode
}

// Tightenings are what is to be tightened on a server: K3s makes certificates 0644
// (dynamiclistener, cert.WriteCert) and made kubeconfigs so before the releases of
// July 2023. It leaves the mode of a file that is there, but what it renews or
// rotates after the file was removed is 0644 again. K3s itself reads both as root.
func (l Layout) Tightenings() []Tightening {
	return []Tightening{
		{l.TLS(), "*.crt", 0o600},
		{l.Cred(), "*.kubeconfig", 0o600},
	}
}

// FindProgram does it: every system that runs K3s has it there.
const FindProgram = "/usr/bin/find"

// words are the command that does it.
func (t Tightening) words() []string {
	return []string{FindProgram, t.Dir, "-type", "f", "-name", t.Match, "-exec", "chmod", fmt.Sprintf("%04o", t.Mode), "{}", "+"}
}

// plainDir are the data directories whose name is a word in units and in scripts.
var plainDir = regexp.MustCompile(`^[A-Za-z0-9/._+-]+$`)

// TightenUnit is the text of a drop-in of the unit that does it for a data
// directory; empty where that has no plain name. A failure does not stop K3s.
func TightenUnit(l Layout) string {
	if !plainDir.MatchString(l.Root()) {
		return ""
	}
	text := "[Service]\n"
	for _, t := range l.Tightenings() {
		text += "ExecStartPost=-" + strings.Join(t.words(), " ") + "\n"
	}
	return text
}

// TightenScript is the text of OpenRC's settings of the service that do it, since
// OpenRC counts a service as started before K3s has made anything: every few
// seconds, for as long as the service's supervisor runs.
func TightenScript(l Layout) string {
	if !plainDir.MatchString(l.Root()) {
		return ""
	}
	// The supervisor writes its number a moment after the service counts as started;
	// till then an earlier one's may be there.
	text := "start_post() {\n\t(\n\t\tfor try in 1 2 3 4 5 6 7 8 9 10; do\n\t\t\tsupervisor=$(cat \"$pidfile\")\n" +
		"\t\t\t[ -d \"/proc/${supervisor:-none}\" ] && break\n\t\t\tsleep 1\n\t\tdone\n\t\twhile [ -n \"$supervisor\" ] && [ \"$(cat \"$pidfile\")\" = \"$supervisor\" ]; do\n"
	for _, t := range l.Tightenings() {
		words := t.words()
		for i, w := range words {
			if strings.ContainsAny(w, "*{") {
				words[i] = "'" + w + "'"
			}
		}
		text += "\t\t\t" + strings.Join(words, " ") + "\n"
	}
	return text + "\t\t\tsleep 10\n\t\tdone\n\t) >/dev/null 2>&1 &\n}\n"
}

// startPost is a function of an OpenRC script that takes the place of one in its
// settings.
var startPost = regexp.MustCompile(`(?m)^\s*(function\s+)?start_post\b`)

// TightenPlace is the file that makes the service do it after each start, and
// whether it is a drop-in of a unit. Of a service that is still to come it is the
// drop-in of K3s's own unit. It is "" where no file could: the node runs OpenRC and
// has no script of the service yet, the unit counts as started before K3s has made the
// files, or the script does something of its own then.
func (e *Effective) TightenPlace(n *node.Node) (name string, unit bool) {
	s := e.Service
	switch {
	case e.Role != Server || e.Wrapper != (Origin{}):
		return "", false
	case s == nil && service.OpenRCManager.On(n):
		return "", false
	case s == nil:
		return TightenDropIn(e.Role.ServiceName()), true
	case s.Masked:
		return "", false
	}
	if path.Dir(s.Path) != initDir {
		if s.Type != "notify" && s.Type != "notify-reload" {
			return "", false
		}
		return TightenDropIn(s.Name), true
	}
	script, _ := n.Lookup(s.Path)
	if script.Data == nil || startPost.Match(script.Data) || !bytes.Contains(script.Data, []byte("pidfile=")) {
		return "", false
	}
	return "/etc/conf.d/" + s.Name, false
}

// TightenDropIn is the drop-in of a service's unit that makes it do it.
func TightenDropIn(service string) string {
	return path.Join(SystemdDir, service+".service.d", "60-k3s-cis.conf")
}

// TightenedBy is the place that has the service give files below dir that have
// names of a pattern the mode or less after each start; false where none is known
// to.
func (e *Effective) TightenedBy(n *node.Node, dir, match string, mode fs.FileMode) (Origin, bool) {
	name, unit := e.TightenPlace(n)
	if _, presence := n.Lookup(FindProgram); name == "" || e.Service == nil || presence != node.Present {
		return Origin{}, false
	}
	l := LayoutOf(e.DataDir)
	for _, t := range l.Tightenings() {
		matches, _ := path.Match(t.Match, match)
		if !node.Within(t.Dir, dir) || t.Mode&^mode != 0 || !matches {
			continue
		}
		if !unit {
			settings, _ := n.Lookup(name)
			comments, ours := strings.CutSuffix(string(settings.Data), TightenScript(l))
			return Origin{Source: name}, ours && len(settings.Data) > len(comments) && onlyComments(comments)
		}
		for _, command := range e.Service.AfterStart {
			if slices.EqualFunc(command, t.words(), func(w service.Word, text string) bool { return w.Text == text }) {
				return Origin{Source: command[0].Path, Line: command[0].Line}, true
			}
		}
	}
	return Origin{}, false
}

func onlyComments(text string) bool {
	for line := range strings.Lines(text) {
		if line[0] != '#' {
			return false
		}
	}
	return true
}
