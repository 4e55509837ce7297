package service

import (
	"errors"
	"path"
	"regexp"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// specifiers are the values of systemd's % specifiers (systemd.unit(5)) as far
// as the node's files give them.
type specifiers struct {
	node *node.Node
	// name is that of the service; empty for the manager's own files.
	name string
	// aliased services have several names, and which one systemd comes upon
	// first decides what stands in for them.
	aliased bool
	// names are all of them.
	names []string
}

var (
	errSpecifier = errors.New("a specifier that systemd does not know")
	// errUndetermined is the value of a specifier that no file gives.
	errUndetermined = errors.New("not determinable")
)

// fixedSpecifiers have one value in every system service.
var fixedSpecifiers = map[byte]string{
	'C': "/var/cache", 'E': "/etc", 'L': "/var/log", 'S': "/var/lib", 't': "/run",
	'h': "/root", 'u': "root", 'U': "0", 'g': "root", 'G': "0",
	'T': "/tmp", 'V': "/var/tmp", '%': "%",
}

// openSpecifiers depend on the machine, its boot, or systemd's release.
const openSpecifiers = "abcrRqsvyYD"

// managerSpecifiers are what the manager's own files may hold; the others of
// units are known there to some releases only.
const managerSpecifiers = "%TVHlmoABMwWabqv"

var nameSpecifiers = map[byte]func(name string) (string, error){
	'n': func(name string) (string, error) { return name + serviceSuffix, nil },
	'N': func(name string) (string, error) { return name, nil },
	'p': func(name string) (string, error) { return prefixOf(name), nil },
	'P': func(name string) (string, error) { return unescapeName(prefixOf(name)) },
	'i': func(name string) (string, error) { _, instance, _ := instanceOf(name); return instance, nil },
	'I': func(name string) (string, error) { _, instance, _ := instanceOf(name); return unescapeName(instance) },
	'j': func(name string) (string, error) { return lastComponent(prefixOf(name)), nil },
	'J': func(name string) (string, error) { return unescapeName(lastComponent(prefixOf(name))) },
	'd': func(name string) (string, error) { return "/run/credentials/" + name + serviceSuffix, nil },
	'f': func(name string) (string, error) {
		if _, instance, ok := instanceOf(name); ok {
			return unescapePath(instance)
		}
		return unescapePath(prefixOf(name))
	},
}

var osSpecifiers = map[byte]string{
	'A': "IMAGE_VERSION", 'B': "BUILD_ID", 'M': "IMAGE_ID", 'o': "ID", 'w': "VERSION_ID", 'W': "VARIANT_ID",
}

var (
	hostnameFile  = "/etc/hostname"
	machineIDFile = "/etc/machine-id"
	osReleases    = []string{"/etc/os-release", "/usr/lib/os-release"}
)

// specifierQuery asks for what the values of specifiers are in.
func specifierQuery() node.Query {
	q := node.Query{{Path: hostnameFile, Content: true}, {Path: machineIDFile, Content: true}}
	for _, p := range osReleases {
		q = append(q, node.Pick{Path: p, Content: true})
	}
	return q
}

// expand replaces the specifiers in s. Those whose value no file gives stay as
// they stand and are listed in open. errSpecifier is what systemd refuses.
func (x specifiers) expand(s string) (text string, open []string, err error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "%")
		b.WriteString(before)
		if !found {
			return b.String(), open, nil
		}
		if rest == "" || rest[0] != '%' && !letterByte(rest[0]) && !digitByte(rest[0]) {
			b.WriteByte('%')
			s = rest
			continue
		}
		value, err := x.value(rest[0])
		switch {
		case errors.Is(err, errUndetermined):
			value = "%" + rest[:1]
			open = append(open, value)
		case err != nil:
			return "", nil, err
		}
		b.WriteString(value)
		s = rest[1:]
	}
}

func (x specifiers) value(c byte) (string, error) {
	if x.name == "" && strings.IndexByte(managerSpecifiers, c) < 0 {
		if _, fixed := fixedSpecifiers[c]; fixed || c == 's' {
			return "", errUndetermined
		}
		return "", errSpecifier
	}
	if v, ok := fixedSpecifiers[c]; ok {
		return v, nil
	}
	if f, ok := nameSpecifiers[c]; ok {
		if x.aliased {
			return "", errUndetermined
		}
		return f(x.name)
	}
	if key, ok := osSpecifiers[c]; ok {
		return x.osRelease(key)
	}
	switch {
	case c == 'H':
		return x.hostname()
	case c == 'l':
		name, err := x.hostname()
		name, _, _ = strings.Cut(name, ".")
		return name, err
	case c == 'm':
		return x.matching(machineIDFile, machineID)
	case strings.IndexByte(openSpecifiers, c) >= 0:
		return "", errUndetermined
	}
	return "", errSpecifier
}

var (
	machineID  = regexp.MustCompile(`^([0-9a-f]{32})\n?$`)
	staticName = regexp.MustCompile(`^(?:\s*(?:#.*)?\n)*\s*([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)\s*(?:\n|$)`)
)

// hostname is the name that the machine boots with; "localhost" stands for
// none.
func (x specifiers) hostname() (string, error) {
	name, err := x.matching(hostnameFile, staticName)
	if err == nil && strings.HasPrefix(name, "localhost") {
		return "", errUndetermined
	}
	return name, err
}

// matching returns what pattern catches in a file.
func (x specifiers) matching(file string, pattern *regexp.Regexp) (string, error) {
	data, err := x.read(file)
	if err != nil {
		return "", err
	}
	m := pattern.FindSubmatch(data)
	if m == nil {
		return "", errUndetermined
	}
	return string(m[1]), nil
}

// read returns a file's content; errUndetermined where it has none.
func (x specifiers) read(file string) ([]byte, error) {
	e, presence := x.node.Lookup(file)
	switch {
	case presence == node.Unknown:
		return nil, &node.UnknownPathError{Path: path.Clean(file)}
	case presence == node.Absent || e.Kind != node.KindFile:
		return nil, errUndetermined
	}
	return e.Content()
}

func (x specifiers) osRelease(key string) (string, error) {
	for _, file := range osReleases {
		data, err := x.read(file)
		if errors.Is(err, errUndetermined) {
			continue
		}
		if err != nil {
			return "", err
		}
		value := ""
		for _, v := range EnvironmentFile(file, data) {
			if v.Name == key {
				value = v.Value
			}
		}
		return value, nil
	}
	return "", errUndetermined
}

// OSName is what a node's os-release calls its system, such as
// "Debian GNU/Linux 12 (bookworm)"; "" where none was collected.
func OSName(n *node.Node) string {
	name, err := specifiers{node: n}.osRelease("PRETTY_NAME")
	if err != nil {
		return ""
	}
	return name
}

func prefixOf(name string) string {
	prefix, _, _ := strings.Cut(name, "@")
	return prefix
}

func lastComponent(prefix string) string { return prefix[strings.LastIndexByte(prefix, '-')+1:] }

// unescapeName undoes the escaping of unit names.
func unescapeName(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '-':
			b.WriteByte('/')
		case s[i] != '\\':
			b.WriteByte(s[i])
		default:
			if len(s) < i+4 || s[i+1] != 'x' || unescape(&b, s[i+1:i+4]) == 0 {
				return "", errSpecifier
			}
			i += 3
		}
	}
	return b.String(), nil
}

func unescapePath(s string) (string, error) {
	if s == "-" {
		return "/", nil
	}
	p, err := unescapeName(s)
	if err != nil || p == "" || path.Clean("/"+p) != "/"+p {
		return "", errSpecifier
	}
	return "/" + p, nil
}
