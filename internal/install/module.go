package install

import (
	"bytes"
	"compress/bzip2"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// Module is a module of the SELinux policy, which the node loads.
type Module struct {
	// Name is the file's name on the node.
	Name string
	node.Source
}

// moduleSuffixes end the names of what semodule loads: a compiled module or one in the
// language CIL, packed or not.
var moduleSuffixes = []string{".pp", ".pp.bz2", ".cil", ".cil.bz2"}

// moduleName is what semodule takes for a module's name, which is the file's without
// its suffix (libsemanage: semanage_module_validate_name).
var moduleName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]*(\.[a-zA-Z0-9_-]+)*$`)

// CheckModuleName says what is wrong with the name of a file that is to be a module.
func CheckModuleName(name string) error {
	if strings.HasSuffix(name, ".rpm") {
		return fmt.Errorf("%q is a package, which is not unpacked here: take the module out of it, for k3s-selinux with rpm2cpio %s | cpio -idm ./usr/share/selinux/packages/k3s.pp", name, name)
	}
	module, suffix := cutModuleSuffix(name)
	if suffix == "" {
		return fmt.Errorf("%q is no module of a policy: want a file whose name ends in %s", name, strings.Join(moduleSuffixes, ", "))
	}
	if !moduleName.MatchString(module) {
		return fmt.Errorf("%q: the policy would not take a module named %q: begin it with a letter, and write letters, digits, _, - and single dots alone", name, module)
	}
	return nil
}

// cutModuleSuffix returns the name without its suffix, and the suffix; "" where it has none.
func cutModuleSuffix(name string) (module, suffix string) {
	for _, suffix := range moduleSuffixes {
		if module, found := strings.CutSuffix(name, suffix); found {
			return module, suffix
		}
	}
	return name, ""
}

const (
	// packageMagic begins a compiled module (libsepol: SEPOL_POLICY_PACKAGE_MAGIC).
	packageMagic = "\x8f\xff\x7c\xf9"
	// maxModule bounds what is unpacked of a module. K3s's has 100 KB.
	maxModule = 64 << 20
)

// ReadModule reads the module at file, which is to be called name on the node: its digest,
// and whether it is of the form that its name says. Whether a policy takes it the node alone can
// tell.
func ReadModule(file, name string) (Module, error) {
	source, err := ReadFile(file)
	if err != nil {
		return Module{}, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return Module{}, err
	}
	if sha256.Sum256(data) != source.SHA256 {
		return Module{}, fmt.Errorf("%s was changed while it was read", file)
	}
	_, suffix := cutModuleSuffix(name)
	if form, packed := strings.CutSuffix(suffix, ".bz2"); packed {
		suffix = form
		if data, err = io.ReadAll(io.LimitReader(bzip2.NewReader(bytes.NewReader(data)), maxModule+1)); err != nil {
			return Module{}, fmt.Errorf("%s cannot be unpacked: %w", file, err)
		}
	}
	switch {
	case len(data) > maxModule:
		return Module{}, fmt.Errorf("%s is larger than %d MiB, which no module of a policy is", file, maxModule>>20)
	case suffix == ".pp" && !bytes.HasPrefix(data, []byte(packageMagic)):
		return Module{}, fmt.Errorf("%s is no compiled module of a policy: it does not begin as one", file)
	case suffix == ".cil" && !isCIL(data):
		return Module{}, fmt.Errorf("%s is no module in CIL: want statements in parentheses", file)
	}
	return Module{Name: name, Source: source}, nil
}

// isCIL says whether text is what CIL is made of: statements in parentheses that are all
// closed, with comments from ; to the end of a line and texts in quotes.
func isCIL(text []byte) bool {
	depth, statements := 0, 0
	for len(text) > 0 {
		letter, size := utf8.DecodeRune(text)
		switch letter {
		case utf8.RuneError, 0:
			return false
		case ';', '"':
			end := bytes.IndexByte(text[1:], map[rune]byte{';': '\n', '"': '"'}[letter])
			if end < 0 {
				return letter == ';' && depth == 0 && statements > 0
			}
			size = end + 2
		case '(':
			depth++
			statements++
		case ')':
			if depth--; depth < 0 {
				return false
			}
		case ' ', '\t', '\r', '\n':
		default:
			if depth == 0 {
				return false
			}
		}
		text = text[size:]
	}
	return depth == 0 && statements > 0
}

// moduleDir is where packages of policies put their modules.
const moduleDir = "/usr/share/selinux/packages"

// ModulePath is where a module of this name goes.
func ModulePath(name string) string { return path.Join(moduleDir, name) }

const (
	selinuxConfig = "/etc/selinux/config"
	// moduleService loads the module.
	moduleService = "k3s-cis-selinux.service"
)

// selinuxPrograms are where a system has what loads a module, and what labels files.
var selinuxPrograms = map[string][]string{
	"semodule":   {"/usr/sbin/semodule", "/usr/bin/semodule", "/sbin/semodule"},
	"restorecon": {"/usr/sbin/restorecon", "/usr/bin/restorecon", "/sbin/restorecon"},
}

func moduleQuery() node.Query {
	q := node.Query{{Path: selinuxConfig, Content: true}}
	for _, name := range []string{"semodule", "restorecon"} {
		for _, p := range selinuxPrograms[name] {
			q = append(q, node.Pick{Path: p})
		}
	}
	return q
}

// module refuses a module on a node that would never load it.
func (o Options) module(manager service.Manager, have *node.Node) error {
	if o.Module == nil {
		return nil
	}
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("install.selinux_policy: "+format, args...))
	}
	if manager == service.OpenRCManager {
		wrong("the node has OpenRC, and it is a service of systemd that loads the module: load it in the build with semodule -i, and leave the option out")
	}
	e, presence := have.Lookup(selinuxConfig)
	switch mode := selinuxMode(e.Data); {
	case presence == node.Unknown || presence == node.Present && e.Data == nil:
		wrong("%s could not be read, so whether the node has SELinux is not known", selinuxConfig)
	case presence == node.Absent:
		wrong("the node has no %s, and so no SELinux that could load the module: install the distribution's policy first, or leave the option out", selinuxConfig)
	case mode != "enforcing" && mode != "permissive":
		wrong("%s: found SELINUX=%s, with which no module is ever loaded: write enforcing or permissive there, or leave the option out", selinuxConfig, mode)
	}
	for _, name := range []string{"semodule", "restorecon"} {
		if programOf(name, have) == "" {
			wrong("the node has no %s to load the module with (%s): install policycoreutils first", name, strings.Join(selinuxPrograms[name], ", "))
		}
	}
	return errors.Join(errs...)
}

// selinuxMode is SELINUX of the configuration, in lower case (selinux_config(5)).
func selinuxMode(config []byte) (mode string) {
	for line := range strings.Lines(string(config)) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), "="); key == "SELINUX" {
			mode = strings.ToLower(strings.TrimSpace(value))
		}
	}
	return mode
}

// programOf is where the node has a program; "" where it has none.
func programOf(name string, have *node.Node) string {
	i := slices.IndexFunc(selinuxPrograms[name], func(p string) bool {
		_, presence := have.Lookup(p)
		return presence == node.Present
	})
	if i < 0 {
		return ""
	}
	return selinuxPrograms[name][i]
}

// loader is the service that loads the module, once, and then labels what K3s has by it:
// labels that were set before came from a policy without it.
func (o Options) loader(have *node.Node, dataDirs []string) node.Entry {
	paths := []string{path.Join(o.BinDir, "k3s"), k3s.ConfigDir}
	for _, role := range o.Roles {
		for _, e := range o.service(service.SystemdManager, role) {
			paths = append(paths, e.Path)
		}
	}
	for _, dir := range dataDirs {
		paths = append(paths, k3s.LayoutOf(dir).Root())
	}
	slices.Sort(paths)
	var words []string
	for _, p := range slices.Compact(paths) {
		words = append(words, systemdWord(p))
	}
	data := render("selinux.service", map[string]string{
		"Semodule": programOf("semodule", have), "Restorecon": programOf("restorecon", have),
		"Module": ModulePath(o.Module.Name), "SHA256": hex.EncodeToString(o.Module.SHA256[:]), "Paths": strings.Join(words, " "),
	})
	return node.Entry{Path: k3s.SystemdDir + "/" + moduleService, Kind: node.KindFile, Mode: 0o644, Data: data, Size: int64(len(data))}
}

// systemdWord is a word of a command in a unit that is nothing but text (systemd.service(5)).
func systemdWord(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(text) + `"`
}
