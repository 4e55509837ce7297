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
	// depth is how far below the directory they are; 0 is 1.
	depth int
	// format reads them. read are the paths of all single files.
	format func(s bootSource, read []string, file string, data []byte) ([]commandLine, error)
	// starts lists the words (followed by a blank) or variables (followed by
	// "=") that lines with kernel arguments begin with; empty means all lines.
	starts []string
	// input marks what a boot loader's configuration is generated from: it
	// says what is wanted, the generated file what will be.
	input bool
	// script marks a file whose other lines can hold parts of command lines,
	// in variables or behind other words.
	script bool
	// section is where a program has them that is too large to be read.
	section string
	// instead is what the error for a file that cannot be read says can be done.
	instead string
	// loads lists the words of a script that go on with another file.
	loads []string
}

// The kinds of files that boot loaders read.
var (
	grubScript  = bootSource{format: textLines, starts: []string{"linux", "linux16", "linuxefi"}, script: true, loads: []string{"source", ".", "configfile", "normal", "extract_entries_source", "extract_entries_configfile"}}
	syslinux    = bootSource{format: textLines, starts: []string{"append"}, script: true, loads: []string{"include", "config"}}
	loaderEntry = bootSource{format: textLines, starts: []string{"options"}, suffix: ".conf"}
	wholeLine   = bootSource{format: textLines}
	limine      = bootSource{format: textLines, starts: []string{"cmdline:", "kernel_cmdline:", "cmdline=", "kernel_cmdline=", "CMDLINE=", "KERNEL_CMDLINE="}}
	uBootScript = bootSource{format: textLines, script: true, input: true}
	wanted      = bootSource{format: textLines, input: true}
	firmware    = bootSource{format: raspberryConfig}
	unified     = bootSource{
		format: unifiedKernel, suffix: ".efi", section: commandLineSection,
		instead: "; have a loader entry start its kernel, with options of its own",
	}
)

// at is the source at a path.
func (s bootSource) at(path string) bootSource {
	s.path = path
	return s
}

// setting is a source of which only lines that set these variables count.
func (s bootSource) setting(path string, variables ...string) bootSource {
	s.path, s.starts = path, variables
	return s
}

// efiDirs are where an EFI system partition, or a partition that extends it, is
// mounted.
var efiDirs = []string{"/boot/efi", "/efi", "/boot"}

// efiVendors are the directories in which distributions put GRUB and its
// configuration on an EFI system partition.
var efiVendors = []string{
	"BOOT", "almalinux", "amzn", "centos", "debian", "fedora", "opensuse", "oracle", "redhat", "rocky", "sles", "suse", "ubuntu",
}

// grubFiles are the parts of GRUB's configuration that its own scripts load.
var grubFiles = []string{"grub.cfg", "custom.cfg", "user.cfg", "bootuuid.cfg", "console.cfg"}

// raspberryDirs are where the partition is mounted that the firmware of a
// Raspberry Pi reads, and prefixes those that Ubuntu's os_prefix has.
var (
	raspberryDirs     = []string{"/boot/firmware", "/boot"}
	raspberryPrefixes = []string{"", "current/", "new/", "old/"}
)

// bootFiles are the paths of those of bootSources that are single files.
func bootFiles() (out []string) {
	for _, s := range bootSources {
		if s.suffix == "" {
			out = append(out, s.path)
		}
	}
	return out
}

var bootSources = slices.Concat(
	efiSources(), grubSources(), raspberrySources(),
	[]bootSource{
		syslinux.at("/boot/extlinux/extlinux.conf"),
		syslinux.at("/boot/extlinux/linux.cfg"),
		syslinux.at("/boot/extlinux/memdisk.cfg"),
		syslinux.at("/boot/extlinux.conf"),
		syslinux.at("/boot/firmware/extlinux/extlinux.conf"),
		syslinux.at("/boot/syslinux/syslinux.cfg"),
		uBootScript.at("/boot/boot.scr"),
		uBootScript.at("/boot/firmware/boot.scr"),
		uBootScript.at("/boot/armbianEnv.txt"),
		uBootScript.at("/boot/uEnv.txt"),
		uBootScript.at("/boot/dietpiEnv.txt"),
		uBootScript.at("/boot/orangepiEnv.txt"),
		uBootScript.at("/boot/refind_linux.conf"),
		uBootScript.at("/etc/zipl.conf"),
		uBootScript.at("/etc/lilo.conf"),
		limine.at("/boot/limine.conf"), limine.at("/boot/limine/limine.conf"), limine.at("/boot/limine.cfg"),
		wanted.at("/etc/kernel/cmdline"),
		wanted.at("/usr/lib/kernel/cmdline"),
		{path: "/etc/cmdline.d", suffix: ".conf", format: textLines, input: true},
		wanted.setting("/etc/kernel/uki.conf", "Cmdline="),
		wanted.setting("/etc/default/grub", "GRUB_CMDLINE_LINUX=", "GRUB_CMDLINE_LINUX_DEFAULT="),
		{
			path: "/etc/default/grub.d", suffix: ".cfg", format: textLines, input: true,
			starts: []string{"GRUB_CMDLINE_LINUX=", "GRUB_CMDLINE_LINUX_DEFAULT="},
		},
		wanted.setting("/etc/update-extlinux.conf", "default_kernel_opts="),
		wanted.setting("/etc/default/u-boot", "U_BOOT_PARAMETERS="),
		wanted.setting("/etc/default/flash-kernel", "LINUX_KERNEL_CMDLINE=", "LINUX_KERNEL_CMDLINE_DEFAULTS="),
	},
)

// efiSources are what boot loaders read on an EFI system partition. A unified
// kernel image has its command line inside, and systemd's boot loader adds those
// of addons (systemd-stub(7)).
func efiSources() (out []bootSource) {
	for _, dir := range efiDirs {
		images := unified.at(dir + "/EFI/Linux")
		images.depth = 2 // NAME.efi.extra.d/ADDON.addon.efi
		out = append(out, loaderEntry.at(dir+"/loader/entries"), unified.at(dir+"/loader/addons"), images)
		for _, vendor := range efiVendors {
			out = append(out, grubScript.at(dir+"/EFI/"+vendor+"/grub.cfg"), wanted.at(dir+"/EFI/"+vendor+"/grubenv"))
		}
	}
	return out
}

func grubSources() (out []bootSource) {
	for _, dir := range []string{"/boot/grub", "/boot/grub2"} {
		for _, name := range grubFiles {
			out = append(out, grubScript.at(dir+"/"+name))
		}
		out = append(out, wanted.at(dir+"/grubenv"))
	}
	return append(out, grubScript.at("/.snapshots/grub-snapshot.cfg"))
}

func raspberrySources() (out []bootSource) {
	for _, dir := range raspberryDirs {
		for _, name := range raspberryConfigs {
			out = append(out, firmware.at(dir+"/"+name))
		}
		for _, prefix := range raspberryPrefixes {
			out = append(out, wholeLine.at(dir+"/"+prefix+"cmdline.txt"))
		}
	}
	return out
}

// leads returns an error for a line that goes on with a file whose name none of
// the files has that are read, since there can be command lines in it. Which
// directory it is in only the boot loader knows.
func (s bootSource) leads(line string, read []string) error {
	words := strings.Fields(strings.NewReplacer(`"`, "", `'`, "", ";", " ; ").Replace(line))
	for i, word := range words {
		load := slices.ContainsFunc(s.loads, func(l string) bool { return strings.EqualFold(l, word) })
		command := i == 0 || slices.Contains([]string{";", "{", "then", "else", "do", "&&", "||", "!", "menu"}, strings.ToLower(words[i-1]))
		if !load || !command || i+1 == len(words) {
			continue
		}
		name := path.Base(words[i+1])
		known := slices.ContainsFunc(read, func(file string) bool { return path.Base(file) == name })
		if !known && name != ";" {
			return fmt.Errorf("kernel command lines can be in %s, which was not looked at; put them where GRUB's or the system's own files have them", words[i+1])
		}
	}
	return nil
}

// largestLoader is the size from which a program on an EFI system partition
// may have a kernel in it, in bytes. Boot loaders are smaller.
const largestLoader = 6 << 20

// startedByEFI are the command lines of unified kernel images that the firmware
// starts in place of a boot loader. It returns an error for what is started from
// an EFI system partition and may have a command line that was not read: a
// configuration of GRUB in a vendor's directory that is not known, and another
// kernel.
func startedByEFI(n *node.Node) (out []commandLine, err error) {
	files := bootFiles()
	// A file system that does not tell capitals from small letters lists a file
	// by one name and has it by all.
	read := func(listed, known string) bool {
		_, p := n.Lookup(known)
		return p == node.Present && strings.EqualFold(listed, known)
	}
	for _, dir := range efiDirs {
		root := dir + "/EFI"
		switch e, p := n.Lookup(root); {
		case p == node.Unknown:
			return nil, &node.UnknownPathError{Path: root, How: n.Undone(root)}
		case e.Unread != "":
			return nil, fmt.Errorf("%s cannot be listed: %s", root, e.Unread)
		}
		for _, f := range n.Below(root) {
			name := strings.ToLower(path.Base(f.Path))
			images := path.Join(root, "Linux", path.Base(f.Path))
			switch {
			case f.Kind != node.KindFile || slices.ContainsFunc(files, func(known string) bool { return read(f.Path, known) }):
			case strings.EqualFold(f.Path, images) && !read(f.Path, images):
				return nil, fmt.Errorf("%s can hold a kernel command line and was not looked at: call its directory %s/Linux", f.Path, root)
			case name == "grub.cfg" || name == "grubenv":
				return nil, fmt.Errorf("%s can hold a kernel command line and was not looked at: its directory is not that of a known distribution", f.Path)
			case !strings.HasPrefix(name, "boot") || !strings.HasSuffix(name, ".efi"):
			case len(f.Sections) > 0:
				out = append(out, unifiedLines(f.Path, f.Sections)...)
			case f.Size > largestLoader:
				return nil, fmt.Errorf("%s is too large for a boot loader: the kernel command line of a kernel in its place cannot be read; have a boot loader start it", f.Path)
			}
		}
	}
	return out, nil
}
