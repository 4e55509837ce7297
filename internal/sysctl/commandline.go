package sysctl

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// bootSource is a file, or a directory of files, with kernel command lines.
type bootSource struct {
	path string
	// suffix is how the files of a directory end; empty for a single file.
	suffix string
	// starts lists the words (followed by a blank) or variables (followed by
	// "=") that lines with kernel arguments begin with; empty means all lines.
	starts []string
	// input marks what a boot loader's configuration is generated from: it
	// says what is wanted, the generated file what will be.
	input bool
}

// grubStarts are the words of GRUB that name a kernel and its arguments.
var grubStarts = []string{"linux", "linux16", "linuxefi"}

// efiVendors are the directories in which distributions put GRUB and its
// configuration on an EFI system partition.
var efiVendors = []string{
	"BOOT", "almalinux", "amzn", "centos", "debian", "fedora", "opensuse", "oracle", "redhat", "rocky", "sles", "suse", "ubuntu",
}

var bootSources = slices.Concat(efiSources("/boot/efi"), efiSources("/efi"), efiSources("/boot"), []bootSource{
	{path: "/boot/grub/grub.cfg", starts: grubStarts},
	{path: "/boot/grub2/grub.cfg", starts: grubStarts},
	{path: "/boot/extlinux/extlinux.conf", starts: []string{"append"}},
	{path: "/boot/extlinux.conf", starts: []string{"append"}},
	{path: "/boot/syslinux/syslinux.cfg", starts: []string{"append"}},
	{path: "/boot/cmdline.txt"},
	{path: "/boot/firmware/cmdline.txt"},
	{path: "/boot/grub/grubenv", starts: []string{"kernelopts="}, input: true},
	{path: "/boot/grub2/grubenv", starts: []string{"kernelopts="}, input: true},
	{path: "/etc/kernel/cmdline", input: true},
	{path: "/usr/lib/kernel/cmdline", input: true},
	{path: "/etc/cmdline.d", suffix: ".conf", input: true},
	{path: "/etc/default/grub", starts: []string{"GRUB_CMDLINE_LINUX=", "GRUB_CMDLINE_LINUX_DEFAULT="}, input: true},
	{path: "/etc/default/grub.d", suffix: ".cfg", starts: []string{"GRUB_CMDLINE_LINUX=", "GRUB_CMDLINE_LINUX_DEFAULT="}, input: true},
	{path: "/etc/update-extlinux.conf", starts: []string{"default_kernel_opts="}, input: true},
})

// efiSources are what boot loaders read on an EFI system partition, or a
// partition that extends it, which is mounted at dir.
func efiSources(dir string) []bootSource {
	out := []bootSource{{path: dir + "/loader/entries", suffix: ".conf", starts: []string{"options"}}}
	for _, vendor := range efiVendors {
		out = append(out, bootSource{path: dir + "/EFI/" + vendor + "/grub.cfg", starts: grubStarts})
	}
	return out
}

// commandLine is one line of kernel arguments.
type commandLine struct {
	input bool
	path  string
	line  int
	words []string
}

func commandLineQuery() node.Query {
	var q node.Query
	for _, s := range bootSources {
		pick := node.Pick{Path: s.path, Content: true}
		if s.suffix != "" {
			pick.Depth = 1
		}
		q = append(q, pick)
	}
	return q
}

// readCommandLines collects the kernel command lines that the node's files
// hold. A disk that another machine boots with a kernel of its own has none.
func readCommandLines(n *node.Node) ([]commandLine, error) {
	var out []commandLine
	for _, s := range bootSources {
		e, p := n.Lookup(s.path)
		switch {
		case p == node.Unknown:
			return nil, &node.UnknownPathError{Path: s.path, How: n.Undone(s.path)}
		case s.suffix != "" && e.Unread != "":
			return nil, fmt.Errorf("%s cannot be listed: %s", e.Path, e.Unread)
		}
		files := []node.Entry{e}
		if s.suffix != "" {
			files = n.Below(s.path)
		}
		for _, f := range files {
			if f.Kind != node.KindFile || !strings.HasSuffix(f.Path, s.suffix) || (s.suffix != "" && path.Dir(f.Path) != s.path) {
				continue
			}
			data, err := f.Content()
			if err != nil {
				return nil, err
			}
			out = append(out, s.lines(f.Path, string(data))...)
		}
	}
	return out, nil
}

func (s bootSource) lines(file, text string) []commandLine {
	var out []commandLine
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		rest, ok := line, len(s.starts) == 0
		for _, start := range s.starts {
			if r, found := cutStart(line, start); found {
				rest, ok = r, true
				break
			}
		}
		if ok {
			words := strings.Fields(strings.NewReplacer(`"`, " ", `'`, " ").Replace(rest))
			out = append(out, commandLine{input: s.input, path: file, line: i + 1, words: words})
		}
	}
	return out
}

// cutStart cuts a variable ("NAME=", matched exactly) or a word of a boot
// loader (in any case, a blank behind) from the front of line.
func cutStart(line, start string) (string, bool) {
	if strings.HasSuffix(start, "=") {
		return strings.CutPrefix(strings.Replace(line, "+=", "=", 1), start)
	}
	fields := strings.Fields(line)
	if !strings.EqualFold(fields[0], start) {
		return "", false
	}
	return line[len(fields[0]):], true
}

// bootSetting is a sysctl that one command line sets.
type bootSetting struct {
	value string
	// late settings (sysctl.NAME) are applied right before init starts; the
	// others (panic=, oops=panic) before any program runs, so that a sysctl
	// file always beats them (kernel-parameters.txt).
	late bool
}

// parameters returns the sysctl settings of one command line by their path;
// the last one of a name wins.
func (c commandLine) parameters() map[string]bootSetting {
	out := map[string]bootSetting{}
	for _, word := range c.words {
		name, value, ok := strings.Cut(word, "=")
		late, isLate := strings.CutPrefix(strings.Replace(name, "sysctl/", "sysctl.", 1), "sysctl.")
		switch {
		case !ok:
		case isLate:
			out[pathOf(late)] = bootSetting{value, true}
		case name == "panic":
			out["kernel/panic"] = bootSetting{value, false}
		case word == "oops=panic":
			out["kernel/panic_on_oops"] = bootSetting{"1", false}
		}
	}
	return out
}

// commandLine adds to p what the boot entries say of key. With a setting of a
// file only a contradicting sysctl.NAME matters; without one, the value counts
// when every boot entry gives it.
func (p *Parameter) commandLine(key string, lines []commandLine, set bool) {
	var said []Setting
	everywhere, entries := true, 0
	for _, line := range lines {
		v, ok := line.parameters()[key]
		if !line.input {
			entries++
			everywhere = everywhere && ok
		}
		if !ok {
			continue
		}
		s := Setting{Value: v.value, Path: line.path, Line: line.line, Note: "kernel command line"}
		if !set || (v.late && v.value != p.Setting.Value) {
			said = append(said, s)
		}
	}
	if set || len(said) == 0 {
		p.Conflicts = append(p.Conflicts, said...)
		return
	}
	for _, s := range said {
		everywhere = everywhere && s.Value == said[0].Value
	}
	if everywhere && entries > 0 && len(p.Conflicts) == 0 {
		p.Setting = said[0]
		return
	}
	p.Conflicts = append(p.Conflicts, said...)
}
