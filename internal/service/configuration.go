package service

import (
	"cmp"
	"fmt"
	"path"
	"sort"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// ConfigurationFiles merges the .conf files of dirs, strongest directory
// first, as systemd does everywhere: of entries with one name that of the
// strongest directory counts, whatever it is, and hidden ones never. They are
// sorted by name.
func ConfigurationFiles(n *node.Node, dirs []string) ([]node.Entry, error) {
	found := map[string]node.Entry{}
	for _, dir := range dirs {
		switch e, presence := n.Lookup(dir); {
		case presence == node.Unknown:
			return nil, &node.UnknownPathError{Path: dir}
		case presence == node.Present && e.Unread != "" && e.Kind != node.KindLink:
			return nil, fmt.Errorf("%s cannot be listed: %s", dir, e.Unread)
		case presence == node.Present && e.Kind == node.KindDirectory:
			// A directory that is there may have been looked at without what is in it.
			if _, inside := n.Lookup(path.Join(dir, "-")); inside == node.Unknown {
				return nil, &node.UnknownPathError{Path: dir}
			}
		}
		if p, how := n.UndoneBelow(dir); p != "" && strings.HasSuffix(p, ".conf") && path.Dir(p) == dir {
			return nil, &node.UnknownPathError{Path: p, How: how}
		}
		for _, e := range n.Below(dir) {
			base := path.Base(e.Path)
			if path.Dir(e.Path) != dir || !strings.HasSuffix(base, ".conf") || base[0] == '.' {
				continue
			}
			if _, hidden := found[base]; !hidden {
				found[base] = e
			}
		}
	}
	out := make([]node.Entry, 0, len(found))
	for _, e := range found {
		out = append(out, e)
	}
	sort.Slice(out, func(i, j int) bool { return path.Base(out[i].Path) < path.Base(out[j].Path) })
	return out, nil
}

// Masked says whether e is a link to /dev/null or an empty regular file: both
// switch off what has the same name elsewhere.
func Masked(e node.Entry) bool {
	if e.Target != "" {
		target := e.Target
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(e.Path), target)
		}
		if path.Clean(target) == "/dev/null" {
			return true
		}
	}
	return e.Kind == node.KindFile && e.Size == 0 && len(e.Data) == 0 && e.Unread == ""
}

// Configuration returns the text of a configuration file; what is masked, a
// directory or a link to nowhere has none and is no error to systemd.
func Configuration(e node.Entry) ([]byte, error) {
	if Masked(e) || e.Kind == node.KindLink || e.Kind == node.KindDirectory {
		return nil, nil
	}
	return e.Content()
}

// PathParts takes a path apart as systemd simplifies it: what goes up ("..")
// stays, since links may lead elsewhere.
func PathParts(p string) []string {
	var parts []string
	for part := range strings.SplitSeq(p, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

// Command is one command of a unit file, its words as they are written but for
// the prefixes of the program and doubled signs.
type Command struct {
	Line  int
	Words []string
}

// OwnDirectory is a directory that systemd gives the mode and owner of a service
// whenever it starts it.
type OwnDirectory struct {
	Line int
	// Path is absolute.
	Path string
	// Mode is octal, as it is written; User is "" for root.
	Mode, User string
}

// ownDirectories are the settings that name such directories, and where these
// are (systemd.exec(5)). ConfigurationDirectory leaves what is there as it is.
var ownDirectories = map[string]string{"StateDirectory": "/var/lib", "LogsDirectory": "/var/log", "CacheDirectory": "/var/cache"}

// OwnDirectories lists those that a unit file, or a drop-in, names.
func OwnDirectories(text string) []OwnDirectory {
	var out []OwnDirectory
	settings := map[string]string{}
	kinds := map[int]string{}
	_ = readINI(text, []string{"Service"}, func(s iniSetting) error {
		settings[s.key] = s.value
		if root, ok := ownDirectories[s.key]; ok {
			for _, w := range strictSyntax.words(s.value) {
				name, _, _ := strings.Cut(w.text, ":")
				kinds[len(out)] = s.key
				out = append(out, OwnDirectory{Line: s.where(0), Path: path.Join(root, name)})
			}
		}
		return nil
	})
	for i := range out {
		out[i].Mode, out[i].User = cmp.Or(settings[kinds[i]+"Mode"], "0755"), settings["User"]
	}
	return out
}

// Commands lists the commands that a unit file, or a drop-in, has in its Exec
// settings, whatever a later one makes of them.
func Commands(text string) []Command {
	var out []Command
	doubled := strings.NewReplacer("$$", "$", "%%", "%")
	_ = readINI(text, []string{"Service", "Socket", "Mount", "Swap"}, func(s iniSetting) error {
		if !strings.HasPrefix(s.key, "Exec") {
			return nil
		}
		c := Command{Line: s.where(0)}
		flush := func() {
			if len(c.Words) > 0 {
				c.Words[0] = strings.TrimLeft(c.Words[0], "-@:+!|")
				out = append(out, c)
			}
			c.Words = nil
		}
		for _, w := range execSyntax.words(s.value) {
			if w.text == ";" {
				flush()
				continue
			}
			c.Words = append(c.Words, doubled.Replace(w.text))
		}
		flush()
		return nil
	})
	return out
}

// Credential is one that a unit gives its service (systemd.exec(5)).
type Credential struct {
	Line int
	// File is where it is read from, "" where the unit itself has it.
	File string
}

// credentialStore is where a credential of a bare name is looked for.
const credentialStore = "/etc/credstore" //nolint:gosec // a path, no password

// Credentials lists those that a unit file, or a drop-in, has in plain text or in a
// file. What is encrypted is none of them.
func Credentials(text string) []Credential {
	var out []Credential
	_ = readINI(text, []string{"Service"}, func(s iniSetting) error {
		id, value, given := strings.Cut(s.value, ":")
		switch {
		case s.key == "SetCredential" && value != "":
			out = append(out, Credential{Line: s.where(0)})
		case s.key == "LoadCredential" && !given && id != "":
			out = append(out, Credential{s.where(0), path.Join(credentialStore, id)})
		case s.key == "LoadCredential" && path.IsAbs(value):
			out = append(out, Credential{s.where(0), path.Clean(value)})
		}
		return nil
	})
	return out
}
