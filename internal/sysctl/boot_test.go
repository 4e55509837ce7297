package sysctl

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
)

// A file sets kernel.panic as it must be. What one more place says against it
// is a contradiction, wherever boot loaders take kernel parameters from.
func TestEveryPlaceOfAKernelCommandLine(t *testing.T) {
	const bad = "sysctl.kernel.panic=0"
	entry := "title x\nlinux /vmlinuz\noptions root=x " + bad + "\n"
	for file, text := range map[string]string{
		"/boot/loader/entries/a.conf":                  entry,
		"/boot/efi/loader/entries/a.conf":              entry,
		"/efi/loader/entries/A.CONF":                   entry,
		"/efi/EFI/Linux/debian.efi":                    nodetest.Program(t, ".text", "x", ".cmdline", "quiet "+bad+"\x00"),
		"/boot/EFI/Linux/DEBIAN.EFI":                   nodetest.Program(t, ".cmdline", bad+"\n"),
		"/boot/efi/EFI/Linux/a.efi":                    nodetest.Program(t, ".cmdline", "quiet", ".profile", "ID=x", ".cmdline", bad),
		"/efi/EFI/Linux/a.efi.extra.d/more.addon.efi":  nodetest.Program(t, ".cmdline", bad),
		"/efi/loader/addons/more.addon.efi":            nodetest.Program(t, ".cmdline", bad),
		"/boot/grub/grub.cfg":                          "menuentry x {\n\tlinux /vmlinuz " + bad + "\n}\n",
		"/boot/grub/custom.cfg":                        "linux /vmlinuz " + bad + "\n",
		"/boot/grub2/grub.cfg":                         "set default_kernelopts=\"root=x " + bad + "\"\n",
		"/boot/grub2/user.cfg":                         "set more=" + bad + "\n",
		"/boot/efi/EFI/debian/grub.cfg":                "menuentry x { linux /vmlinuz " + bad + "; boot; }\n",
		"/boot/efi/EFI/fedora/grub.cfg":                "linux /vmlinuz \\\n  root=x \\\n  " + bad + "\n",
		"/boot/grub2/grubenv":                          "# GRUB Environment Block\nkernelopts=root=x " + bad + "\n####\n",
		"/boot/grub/grubenv":                           "tuned_params=" + bad + "\n",
		"/boot/efi/EFI/redhat/grubenv":                 "kernelopts=" + bad + "\n",
		"/boot/extlinux/extlinux.conf":                 "label l0\n\tlinux /vmlinuz\n\tappend root=x " + bad + "\n",
		"/boot/extlinux.conf":                          "APPEND root=x " + bad + "\n",
		"/boot/extlinux/linux.cfg":                     "append " + bad + "\n",
		"/boot/firmware/extlinux/extlinux.conf":        "append " + bad + "\n",
		"/boot/syslinux/syslinux.cfg":                  "kernel /vmlinuz " + bad + "\n",
		"/boot/cmdline.txt":                            bad + "\n",
		"/boot/firmware/cmdline.txt":                   "console=tty1 " + bad + "\n",
		"/boot/firmware/current/cmdline.txt":           bad,
		"/boot/armbianEnv.txt":                         "extraargs=" + bad + "\n",
		"/boot/uEnv.txt":                               "cmdline=quiet " + bad + "\n",
		"/boot/boot.scr":                               "\x27\x05\x19\x56\x00\nsetenv bootargs \"root=x " + bad + "\"\n",
		"/etc/kernel/cmdline":                          bad,
		"/etc/kernel/uki.conf":                         "[UKI]\nCmdline=" + bad + "\n",
		"/etc/default/grub.d/50-cloudimg-settings.cfg": "GRUB_CMDLINE_LINUX_DEFAULT=\"" + bad + "\"\n",
		"/etc/default/u-boot":                          "U_BOOT_PARAMETERS=\"" + bad + "\"\n",
		"/boot/efi/EFI/BOOT/grub.cfg":                  "linux /vmlinuz " + bad + "\n",
		"/.snapshots/grub-snapshot.cfg":                "linux /vmlinuz " + bad + "\n",
		"/boot/firmware/boot.scr":                      "setenv bootargs " + bad + "\n",
		"/boot/dietpiEnv.txt":                          "extraargs=" + bad + "\n",
		"/boot/orangepiEnv.txt":                        "extraargs=" + bad + "\n",
		"/boot/refind_linux.conf":                      "\"Boot\" \"ro " + bad + "\"\n",
		"/etc/zipl.conf":                               "[linux]\nparameters=\"ro " + bad + "\"\n",
		"/etc/lilo.conf":                               "append=\"" + bad + "\"\n",
		"/boot/limine.conf":                            "/Linux\n  protocol: linux\n  cmdline: ro " + bad + "\n",
	} {
		t.Run(file, func(t *testing.T) {
			for _, c := range []struct {
				text     string
				conflict bool
			}{{text, true}, {strings.ReplaceAll(text, "panic=0", "panic=9"), false}} {
				read, err := Read(nodetest.Files(Query(), map[string]string{file: c.text, "/etc/sysctl.d/a.conf": "kernel.panic=9\n"}))
				require.NoError(t, err)
				p, set := read.Lookup("kernel.panic")
				require.True(t, set)
				assert.Equal(t, c.conflict, len(p.Conflicts) > 0)
				if c.conflict {
					assert.Equal(t, file, p.Conflicts[0].Path)
					assert.Equal(t, "0", p.Conflicts[0].Value)
				}
			}
		})
	}
}

// Where a kernel command line can be and was not read, nothing is known.
func TestUnreadKernelCommandLines(t *testing.T) {
	for name, c := range map[string]struct {
		file, text, want string
	}{
		"a unified kernel image that is too large": {"/efi/EFI/Linux/a.efi", "unread: larger than 4 MiB", "it may hold a kernel command line: /efi/EFI/Linux/a.efi cannot be read: larger than 4 MiB; have a loader entry start its kernel, with options of its own"},
		"one that is none":                         {"/efi/EFI/Linux/a.efi", "MZ", "/efi/EFI/Linux/a.efi: is no EFI program"},
		"one that is cut off":                      {"/efi/EFI/Linux/a.efi", strings.TrimSuffix(nodetest.Program(t, ".cmdline", "quiet panic=9"), "anic=9"), "/efi/EFI/Linux/a.efi: its command line cannot be read"},
		"a kernel in place of a boot loader":       {"/boot/efi/EFI/BOOT/BOOTX64.EFI", "a kernel", "/boot/efi/EFI/BOOT/BOOTX64.EFI is too large for a boot loader"},
		"GRUB of an unknown vendor":                {"/boot/efi/EFI/acme/grub.cfg", "linux /vmlinuz\n", "/boot/efi/EFI/acme/grub.cfg can hold a kernel command line"},
		"a directory in other letters":             {"/efi/EFI/linux/a.efi", "x", "/efi/EFI/linux/a.efi can hold a kernel command line"},
		"GRUB's in other letters":                  {"/efi/EFI/boot/grub.cfg", "x", "/efi/EFI/boot/grub.cfg can hold a kernel command line"},
		"another name on a Raspberry Pi":           {"/boot/firmware/config.txt", "[all]\narm_64bit=1\ncmdline=mine.txt\n", "/boot/firmware/config.txt: line 3: cmdline = mine.txt has the kernel command line in /boot/firmware/mine.txt"},
		"another directory on a Raspberry Pi":      {"/boot/config.txt", "os_prefix = six/ # new\n", "/boot/config.txt: line 1: os_prefix = six/ has the kernel command line in /boot/six/cmdline.txt"},
		"more configuration on a Raspberry Pi":     {"/boot/firmware/config.txt", "include mine.txt\n", "/boot/firmware/config.txt: line 1: includes /boot/firmware/mine.txt"},
		"the same in another trial":                {"/boot/firmware/tryboot.txt", "cmdline=mine.txt\n", "line 1: cmdline = mine.txt"},
		"GRUB goes on elsewhere":                   {"/boot/grub/grub.cfg", "if [ -f $prefix/mine.cfg ]; then source $prefix/mine.cfg; fi\n", "/boot/grub/grub.cfg: line 1: kernel command lines can be in $prefix/mine.cfg"},
		"GRUB goes on where a variable says":       {"/boot/efi/EFI/debian/grub.cfg", "configfile \"$where\"\n", "kernel command lines can be in $where"},
		"syslinux goes on elsewhere":               {"/boot/extlinux/extlinux.conf", "MENU INCLUDE mine.cfg\n", "kernel command lines can be in mine.cfg"},
	} {
		t.Run(name, func(t *testing.T) {
			n := nodetest.Files(Query(), map[string]string{c.file: c.text, "/etc/sysctl.d/a.conf": "kernel.panic=9\n"})
			if c.text == "a kernel" {
				n = node.New(Query(), []node.Entry{{Path: c.file, Kind: node.KindFile, Mode: 0o755, Size: 40 << 20}})
			}
			_, err := Read(n)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// Of a program that is too large to be read, its sections are: in the place of a
// boot loader too.
func TestLargeUnifiedKernels(t *testing.T) {
	for _, file := range []string{"/efi/EFI/Linux/a.efi", "/boot/efi/EFI/BOOT/BOOTX64.EFI", "/efi/EFI/Linux/a.efi.extra.d/b.addon.efi"} {
		for text, conflict := range map[string]bool{"quiet sysctl.kernel.panic=0\x00\x00": true, "sysctl.kernel.panic=9": false} {
			n := node.New(Query(), []node.Entry{
				nodetest.File("/etc/sysctl.d/a.conf", 0o644, "kernel.panic=9\n"),
				{Path: file, Kind: node.KindFile, Size: 40 << 20, Unread: node.UnreadLarge, Sections: [][]byte{[]byte("quiet"), []byte(text)}},
			})
			read, err := Read(n)
			require.NoError(t, err)
			p, _ := read.Lookup("kernel.panic")
			assert.Equal(t, conflict, len(p.Conflicts) > 0, "%s %q", file, text)
		}
	}
	// One without a command line gives the parameter no value.
	for sections, found := range map[int]bool{0: false, 1: true} {
		read, err := Read(node.New(Query(), []node.Entry{{
			Path: "/efi/EFI/Linux/a.efi", Kind: node.KindFile, Size: 40 << 20, Unread: node.UnreadLarge,
			Sections: [][]byte{[]byte("sysctl.kernel.panic=9")}[:sections],
		}}))
		require.NoError(t, err)
		_, set := read.Lookup("kernel.panic")
		assert.Equal(t, found, set)
	}
}

// What distributions have on their boot partitions is read without complaint.
func TestUsualBootFiles(t *testing.T) {
	n := nodetest.Files(Query(), map[string]string{
		"/boot/firmware/config.txt":          "[pi4]\nkernel=vmlinuz\ncmdline=cmdline.txt\n[all]\nos_prefix=current/\ninclude usercfg.txt\n",
		"/boot/firmware/usercfg.txt":         "# yours\n",
		"/boot/firmware/current/cmdline.txt": "console=tty1\n",
		"/boot/efi/EFI/debian/grub.cfg":      "search.fs_uuid 1 root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n",
		"/boot/grub/grub.cfg": "if [ -f  ${config_directory}/custom.cfg ]; then\n  source ${config_directory}/custom.cfg\n" +
			"elif [ -z \"${config_directory}\" -a -f  $prefix/custom.cfg ]; then\n  source $prefix/custom.cfg\nfi\n" +
			"if [ x$feature = xy ]; then\n  submenu x {\n    source \"/.snapshots/grub-snapshot.cfg\"\n  }\nfi\nnormal_exit=1\n",
		"/boot/loader/entries/a.conf":  "title x\nlinux /vmlinuz\noptions $kernelopts $tuned_params\n",
		"/boot/grub2/grubenv":          "kernelopts=root=x sysctl.kernel.panic=9\ntuned_params=quiet\n",
		"/boot/grub2/grub.cfg":         "if [ -f ${config_directory}/user.cfg ]; then source ${config_directory}/user.cfg; fi\nblscfg\n",
		"/boot/efi/EFI/Linux/none.efi": nodetest.Program(t, ".linux", "x"),
		"/etc/sysctl.d/a.conf":         "kernel.panic=9\n",
		// As a vfat that the kernel has mounted: listed by one name, there by both.
		"/efi/EFI/boot/grub.cfg": "configfile /boot/grub/grub.cfg\n",
		"/efi/EFI/BOOT/grub.cfg": "configfile /boot/grub/grub.cfg\n",
	})
	read, err := Read(n)
	require.NoError(t, err)
	p, _ := read.Lookup("kernel.panic")
	assert.Empty(t, p.Conflicts)
}

// The program that distributions make unified kernel images with.
func TestUnifiedKernelOfSystemd(t *testing.T) {
	const stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	if _, err := exec.LookPath("objcopy"); err != nil {
		t.Skip(err)
	}
	if _, err := os.Stat(stub); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cmdline"), []byte("quiet panic=7"), 0o600))
	out, err := exec.Command("objcopy", "--add-section", ".cmdline="+filepath.Join(dir, "cmdline"),
		"--change-section-vma", ".cmdline=0x30000", stub, filepath.Join(dir, "made.efi")).CombinedOutput()
	require.NoError(t, err, string(out))
	data, err := os.ReadFile(filepath.Join(dir, "made.efi"))
	require.NoError(t, err)
	lines, err := unifiedKernel(unified, nil, "made.efi", data)
	require.NoError(t, err)
	require.Len(t, lines, 1)
	assert.Equal(t, []string{"quiet", "panic=7"}, lines[0].words)
}

func FuzzUnifiedKernel(f *testing.F) {
	f.Add([]byte(nodetest.Program(f, ".text", "x", ".cmdline", "quiet panic=7")))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, err := unifiedKernel(unified, nil, "a.efi", data)
		if err != nil {
			return
		}
		for _, line := range lines {
			for _, word := range line.words {
				require.Contains(t, string(data), word)
			}
		}
	})
}

func FuzzBootFiles(f *testing.F) {
	f.Add([]byte("cmdline=cmdline.txt\ninclude x\n"), []byte("label x\n append \\\n panic=1\n include y\n"))
	f.Fuzz(func(t *testing.T, config, extlinux []byte) {
		_, _ = Read(node.New(Query(), []node.Entry{
			{Path: "/boot/config.txt", Kind: node.KindFile, Data: config, Size: int64(len(config))},
			{Path: "/boot/extlinux/extlinux.conf", Kind: node.KindFile, Data: extlinux, Size: int64(len(extlinux))},
		}))
	})
}
