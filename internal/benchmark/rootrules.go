package benchmark

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// sudoRule is a line that lets somebody run everything without a password: who.
var sudoRule = regexp.MustCompile(`^\s*"?([^\s#"][^\s="]*)"?\s+[^\s=]+\s*=.*\bNOPASSWD\s*:\s*(?:[A-Z]+\s*:\s*)*ALL\b`)

// doasRule is such a line of doas (doas.conf(5)): permit, its options, nopass among
// them, and who; as nobody else than root, and for no command in particular.
var doasRule = regexp.MustCompile(`^\s*permit\s+(?:(?:nolog|persist|keepenv|setenv\s*\{[^}]*\})\s+)*nopass\s+(?:(?:nopass|nolog|persist|keepenv|setenv\s*\{[^}]*\})\s+)*(\S+)(?:\s+as\s+root)?\s*(?:#.*)?$`)

// sudoWithoutPassword finds rules of sudo that make an account root without a
// password. Those that cloud-init makes again at each first boot for the
// distribution's own user are no rest of a build.
func (x *examination) sudoWithoutPassword() ([]Evidence, string) {
	passedOver := func(name string) bool { return strings.Contains(name, ".") || strings.HasSuffix(name, "~") }
	usual := x.defaultUser()
	return x.rootWithoutPassword(sudoers, sudoersDir, passedOver, sudoRule, func(who string, known []string) bool {
		plain := who[0] != '%' && who[0] != '+' && who != "ALL" && strings.ToUpper(who) != who
		return who == usual || who == "%google-sudoers" || plain && !slices.Contains(known, who)
	})
}

// doasWithoutPassword finds rules of doas that do.
func (x *examination) doasWithoutPassword() ([]Evidence, string) {
	passedOver := func(name string) bool { return path.Ext(name) != ".conf" }
	return x.rootWithoutPassword(doasFile, doasDir, passedOver, doasRule, func(who string, known []string) bool {
		return who[0] != ':' && !slices.Contains(known, who)
	})
}

// rootWithoutPassword finds rules in a file, and in those of a directory that are not
// passed over, by which somebody becomes root without a password; unless that is root,
// or somebody who is harmless.
func (x *examination) rootWithoutPassword(file, dir string, passedOver func(name string) bool, rule *regexp.Regexp, harmless func(who string, accounts []string) bool) ([]Evidence, string) {
	all, problem := x.children(dir)
	if problem != "" {
		return nil, problem
	}
	names := []string{file}
	for _, e := range all {
		if !passedOver(path.Base(e.Path)) {
			names = append(names, e.Path)
		}
	}
	files, problem := x.files(names...)
	if problem != "" {
		return nil, problem
	}
	known, problem := x.accountNames()
	if problem != "" {
		return nil, problem
	}
	var out []Evidence
	for _, f := range files {
		line := 0
		for text := range bytes.Lines(f.Data) {
			line++
			m := rule.FindSubmatch(text)
			if m == nil {
				continue
			}
			if who := string(m[1]); who != "root" && !harmless(who, known) {
				out = append(out, Evidence{Source: f.Path, Line: line, Detail: fmt.Sprintf("%s may run everything as root without a password", safetext.Name(strings.TrimLeft(who, "%:")))})
			}
		}
	}
	return out, ""
}

// accountNames are the users that the node knows.
func (x *examination) accountNames() ([]string, string) {
	files, problem := x.files(accountFile)
	var out []string
	for _, f := range files {
		for text := range bytes.Lines(f.Data) {
			name, _, _ := strings.Cut(string(text), ":")
			out = append(out, name)
		}
	}
	return out, problem
}

// defaultUser is the user that cloud-init makes on every node of the
// distribution; "" where it makes none.
func (x *examination) defaultUser() string {
	files, _ := x.files(cloudConfigFile)
	for _, f := range files {
		var doc struct {
			System struct {
				User struct {
					Name string `yaml:"name"`
				} `yaml:"default_user"`
			} `yaml:"system_info"`
		}
		if yaml.Unmarshal(f.Data, &doc) == nil {
			return doc.System.User.Name
		}
	}
	return ""
}
