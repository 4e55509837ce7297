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

// sudoRule is a line that lets somebody run everything without a password.
var sudoRule = regexp.MustCompile(`^\s*"?([^\s#"][^\s="]*)"?\s+[^\s=]+\s*=.*\bNOPASSWD\s*:\s*(?:[A-Z]+\s*:\s*)*ALL\b`)

// sudoWithoutPassword finds rules of sudo that make an account root without a
// password. Those that cloud-init makes again at each first boot for the
// distribution's own user are no rest of a build.
func (x *examination) sudoWithoutPassword() ([]Evidence, string) {
	all, problem := x.children(sudoersDir)
	if problem != "" {
		return nil, problem
	}
	names := []string{sudoers}
	for _, e := range all {
		if base := path.Base(e.Path); !strings.Contains(base, ".") && !strings.HasSuffix(base, "~") { // which sudo passes over
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
	usual := x.defaultUser()
	var out []Evidence
	for _, f := range files {
		line := 0
		for text := range bytes.Lines(f.Data) {
			line++
			m := sudoRule.FindSubmatch(text)
			if m == nil {
				continue
			}
			who := string(m[1])
			plain := who[0] != '%' && who[0] != '+' && who != "ALL" && strings.ToUpper(who) != who
			if who == "root" || who == usual || who == "%google-sudoers" || plain && !slices.Contains(known, who) {
				continue
			}
			out = append(out, Evidence{Source: f.Path, Line: line, Detail: fmt.Sprintf("%s may run everything as root without a password", safetext.Name(strings.TrimPrefix(who, "%")))})
		}
	}
	return out, ""
}

// doasWithoutPassword finds rules of doas that make an account root without a password
// (doas.conf(5)): permit, its options, who, as whom, and which command.
func (x *examination) doasWithoutPassword() ([]Evidence, string) {
	all, problem := x.children(doasDir)
	if problem != "" {
		return nil, problem
	}
	names := []string{doasFile}
	for _, e := range all {
		if path.Ext(e.Path) == ".conf" {
			names = append(names, e.Path)
		}
	}
	files, problem := x.files(names...)
	if problem != "" {
		return nil, problem
	}
	known, problem := x.accountNames()
	var out []Evidence
	for _, f := range files {
		line := 0
		for text := range bytes.Lines(f.Data) {
			line++
			m := doasRule.FindSubmatch(text)
			if m == nil || !bytes.Contains(m[1], []byte("nopass")) {
				continue
			}
			who := string(m[2])
			if who == "root" || who[0] != ':' && !slices.Contains(known, who) {
				continue
			}
			out = append(out, Evidence{Source: f.Path, Line: line, Detail: fmt.Sprintf("%s may run everything as root without a password", safetext.Name(strings.TrimPrefix(who, ":")))})
		}
	}
	return out, problem
}

// doasRule is a rule for every command, as root: its options and whom it is for.
var doasRule = regexp.MustCompile(`^\s*permit\s+((?:(?:nopass|nolog|persist|keepenv|setenv\s*\{[^}]*\})\s+)+)(\S+)(?:\s+as\s+root)?\s*(?:#.*)?$`)

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
