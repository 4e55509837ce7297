package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
)

// unitDirectories are where systemd finds units, first ones win. What is in
// the first belongs to the administrator and goes before fstab, the others'
// comes after it.
var unitDirectories = []string{
	"/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// mountLines returns everything that the tree at root mounts at boot, a line a
// directory. A mount unit in /etc takes the place of fstab's line for the same
// directory, whose line takes the place of other mount units.
func mountLines(root string) ([]mountLine, error) {
	fstab, err := readFstab(root)
	if err != nil {
		return nil, err
	}
	units, err := readUnits(root)
	if err != nil {
		return nil, err
	}
	var out []mountLine
	add := func(lines []mountLine) {
		for _, l := range lines {
			if !slices.ContainsFunc(out, func(o mountLine) bool { return o.dir == l.dir }) {
				out = append(out, l)
			}
		}
	}
	own, vendors := units[0], slices.Concat(units[1:]...)
	for i, l := range own {
		// What fstab lists is started, by whichever of the two files.
		own[i].idle = l.idle && !slices.ContainsFunc(fstab, func(f mountLine) bool { return f.dir == l.dir && !f.manual() })
	}
	add(own)
	add(fstab)
	add(slices.DeleteFunc(vendors, func(l mountLine) bool { return l.idle }))
	return slices.DeleteFunc(out, func(l mountLine) bool { return l.kind == masked }), nil
}

func readFstab(root string) ([]mountLine, error) {
	f, err := openIn(root, fstabPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the image's %s: %w", fstabPath, err)
	}
	defer f.Close()
	lines, err := parseFstab(f)
	if err != nil {
		return nil, fmt.Errorf("the image's %s: %w", fstabPath, err)
	}
	return lines, nil
}

// masked is the kind of a unit that is switched off.
const masked = "masked"

// readUnits reads the mount units of the tree at root, by directory.
func readUnits(root string) ([][]mountLine, error) {
	started := startedUnits(root)
	out := make([][]mountLine, len(unitDirectories))
	for i, dir := range unitDirectories {
		host, err := securejoin.SecureJoin(root, dir)
		if err != nil {
			return nil, err
		}
		units, err := filepath.Glob(filepath.Join(escapeGlob(host), "*.mount"))
		if err != nil {
			return nil, err
		}
		for _, unit := range units {
			name := filepath.Base(unit)
			l, err := readUnit(root, path.Join(dir, name))
			if err != nil {
				return nil, fmt.Errorf("the image's %s: %w", path.Join(dir, name), err)
			}
			if l == nil {
				continue
			}
			l.idle = !started[name] && !started[strings.TrimSuffix(name, ".mount")+".automount"]
			out[i] = append(out[i], *l)
		}
	}
	return out, nil
}

// startedUnits are the names of units that another unit starts.
func startedUnits(root string) map[string]bool {
	started := map[string]bool{}
	for _, dir := range unitDirectories {
		host, err := securejoin.SecureJoin(root, dir)
		if err != nil {
			continue
		}
		for _, kind := range []string{"wants", "requires", "upholds"} {
			links, _ := filepath.Glob(filepath.Join(escapeGlob(host), "*."+kind, "*"))
			for _, link := range links {
				started[filepath.Base(link)] = true
			}
		}
	}
	return started
}

// escapeGlob makes a pattern that matches p alone.
func escapeGlob(p string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(p)
}

// maxUnitSize is more than any unit has, in bytes.
const maxUnitSize = 1 << 20

// readUnit reads a mount unit with its drop-ins; nil where it mounts nothing.
func readUnit(root, name string) (*mountLine, error) {
	text, err := readUnitFile(root, name)
	if err != nil || text == "" {
		// Empty, or a link to /dev/null.
		return &mountLine{dir: unitDirectory(path.Base(name)), kind: masked, from: name}, err
	}
	values := map[string]string{}
	parseUnit(text, values)
	for _, dir := range slices.Backward(unitDirectories) {
		host, err := securejoin.SecureJoin(root, path.Join(dir, path.Base(name)+".d"))
		if err != nil {
			return nil, err
		}
		dropIns, err := filepath.Glob(filepath.Join(escapeGlob(host), "*.conf"))
		if err != nil {
			return nil, err
		}
		for _, d := range dropIns {
			text, err := readUnitFile(root, path.Join(dir, path.Base(name)+".d", filepath.Base(d)))
			if err != nil {
				return nil, err
			}
			parseUnit(text, values)
		}
	}
	if !strings.HasPrefix(values["Where"], "/") {
		return nil, nil // systemd refuses it
	}
	l := &mountLine{source: values["What"], dir: path.Clean(values["Where"]), kind: values["Type"], from: name}
	if values["Options"] != "" {
		l.options = strings.Split(values["Options"], ",")
	}
	return l, nil
}

// readUnitFile returns the text of a unit's file; "" of one that is no regular
// file, as what is masked.
func readUnitFile(root, name string) (string, error) {
	host, err := securejoin.SecureJoin(root, name)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(host)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	f, err := os.Open(host)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxUnitSize))
	return string(text), err
}

// parseUnit adds the keys of the section [Mount] to values.
func parseUnit(text string, values map[string]string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if ok && section == "[Mount]" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			values[strings.TrimSpace(key)] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
}

// unitDirectory is the directory that a mount unit's name stands for.
func unitDirectory(name string) string {
	name = strings.ReplaceAll(strings.TrimSuffix(name, ".mount"), "-", "/")
	return path.Clean("/" + unescapeUdev(name))
}

// openIn opens a regular file of the tree at root.
func openIn(root, name string) (*os.File, error) {
	host, err := securejoin.SecureJoin(root, name)
	if err != nil {
		return nil, err
	}
	if info, err := os.Lstat(host); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("is no regular file but %s", info.Mode().Type())
	}
	return os.Open(host)
}
