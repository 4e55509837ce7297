package sysctl

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
)

func TestKernelParameters(t *testing.T) {
	const grub = "menuentry 'a' {\n\tlinux /vmlinuz root=/dev/sda1 %s\n}\nmenuentry 'b' {\n  linux\t/vmlinuz %s\n}\n"
	entries := func(a, b string) string {
		return strings.Replace(strings.Replace(grub, "%s", a, 1), "%s", b, 1)
	}
	for name, c := range map[string]struct {
		files map[string]string
		// want is the value, then a blank and the origin; a conflict is added
		// behind " | "; empty means not set at all
		want  string
		param string
	}{
		"one file": {
			files: map[string]string{"/etc/sysctl.d/90-kubelet.conf": "# kubelet\n; too\n\nkernel.panic=10\n"},
			want:  "10 /etc/sysctl.d/90-kubelet.conf:4",
		},
		"nothing":                          {files: nil},
		"blanks around the separator":      {files: map[string]string{"/etc/sysctl.d/a.conf": "  kernel.panic =  10  \n"}, want: "10 /etc/sysctl.d/a.conf:1"},
		"slashes as separator":             {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel/panic=10"}, want: "10 /etc/sysctl.d/a.conf:1"},
		"only .conf files are read":        {files: map[string]string{"/etc/sysctl.d/a.cfg": "kernel.panic=10"}},
		"a line without = is passed over":  {files: map[string]string{"/etc/sysctl.d/a.conf": "garbage\nkernel.panic=10"}, want: "10 /etc/sysctl.d/a.conf:2"},
		"a leading dash does not unset":    {files: map[string]string{"/etc/sysctl.d/a.conf": "-kernel.panic=10"}, want: "10 /etc/sysctl.d/a.conf:1"},
		"the last in one file wins":        {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=10\nkernel.panic=0"}, want: "0 /etc/sysctl.d/a.conf:2"},
		"a later name wins over all dirs":  {files: map[string]string{"/etc/sysctl.d/90-k.conf": "kernel.panic=10", "/usr/lib/sysctl.d/99-x.conf": "kernel.panic=0"}, want: "0 /usr/lib/sysctl.d/99-x.conf:1"},
		"names sort by byte":               {files: map[string]string{"/etc/sysctl.d/9-k.conf": "kernel.panic=10", "/usr/lib/sysctl.d/10-x.conf": "kernel.panic=0"}, want: "10 /etc/sysctl.d/9-k.conf:1"},
		"a name in /etc hides /usr/lib":    {files: map[string]string{"/etc/sysctl.d/99-x.conf": "vm.swappiness=1", "/usr/lib/sysctl.d/99-x.conf": "kernel.panic=0"}},
		"a name in /usr/local hides /usr":  {files: map[string]string{"/usr/local/lib/sysctl.d/99-x.conf": "kernel.panic=3", "/usr/lib/sysctl.d/99-x.conf": "kernel.panic=0"}, want: "3 /usr/local/lib/sysctl.d/99-x.conf:1"},
		"a link to /dev/null hides":        {files: map[string]string{"/etc/sysctl.d/99-x.conf": "-> /dev/null", "/usr/lib/sysctl.d/99-x.conf": "kernel.panic=0"}},
		"a relative link to /dev/null":     {files: map[string]string{"/etc/sysctl.d/99-x.conf": "-> ../../dev/null", "/usr/lib/sysctl.d/99-x.conf": "kernel.panic=0"}},
		"an empty file hides":              {files: map[string]string{"/etc/sysctl.d/99-x.conf": "", "/usr/lib/sysctl.d/99-x.conf": "kernel.panic=0"}},
		"a link that leads nowhere":        {files: map[string]string{"/etc/sysctl.d/99-x.conf": "-> /gone", "/etc/sysctl.d/90-k.conf": "kernel.panic=10"}, want: "10 /etc/sysctl.d/90-k.conf:1"},
		"a glob sets what nothing names":   {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.pani*=7"}, want: "7 /etc/sysctl.d/a.conf:1"},
		"a glob does not cross a slash":    {files: map[string]string{"/etc/sysctl.d/a.conf": "*=7"}},
		"a glob yields to a whole name":    {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=10", "/etc/sysctl.d/z.conf": "kernel.*=7"}, want: "10 /etc/sysctl.d/a.conf:1"},
		"of two globs the later one wins":  {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.p*=1", "/etc/sysctl.d/z.conf": "kernel.pa*=2"}, want: "2 /etc/sysctl.d/z.conf:1"},
		"an exclusion keeps globs away":    {files: map[string]string{"/etc/sysctl.d/a.conf": "-kernel.panic", "/etc/sysctl.d/z.conf": "kernel.*=7"}},
		"a value after an exclusion":       {files: map[string]string{"/etc/sysctl.d/a.conf": "-kernel.panic", "/etc/sysctl.d/z.conf": "kernel.panic=7"}, want: "7 /etc/sysctl.d/z.conf:1"},
		"an exclusion after a value":       {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=7", "/etc/sysctl.d/z.conf": "-kernel.panic"}},
		"a dot within an interface's name": {files: map[string]string{"/etc/sysctl.d/a.conf": "net.ipv4.conf.eth0/1.forwarding=1"}, want: "1 /etc/sysctl.d/a.conf:1", param: "net.ipv4.conf.eth0/1.forwarding"},

		"a slash before the key":            {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=10", "/etc/sysctl.d/b.conf": "/kernel/panic=0"}, want: "0 /etc/sysctl.d/b.conf:1"},
		"a dot before the key":              {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=10\n.kernel..panic=0"}, want: "0 /etc/sysctl.d/a.conf:2"},
		"a key that goes up is not written": {files: map[string]string{"/etc/sysctl.d/a.conf": "vm/../kernel/panic=10"}},
		"a carriage return ends a line":     {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=10\rkernel.panic=0\r"}, want: "0 /etc/sysctl.d/a.conf:1"},
		"a zero byte ends a line":           {files: map[string]string{"/etc/sysctl.d/a.conf": "# \x00kernel.panic=0"}, want: "0 /etc/sysctl.d/a.conf:1"},
		"a hidden file is not read":         {files: map[string]string{"/etc/sysctl.d/.a.conf": "kernel.panic=10"}},
		"a hidden file hides nothing":       {files: map[string]string{"/etc/sysctl.d/.a.conf": "", "/etc/sysctl.d/a.conf": "kernel.panic=0"}, want: "0 /etc/sysctl.d/a.conf:1"},
		"a no-break space is not blank":     {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=10\u00a0"}, want: "10\u00a0 /etc/sysctl.d/a.conf:1"},
		"a line too long ends the file":     {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=10\n#" + strings.Repeat("x", 1<<20) + "\nkernel.panic=0"}, want: "10 /etc/sysctl.d/a.conf:1"},
		"braces in a glob":                  {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.{pani,x}*=7"}, want: "7 /etc/sysctl.d/a.conf:1"},
		"braces alone are no glob":          {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.{panic,x}=7"}},
		"a set of others":                   {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.[!x]anic=7"}, want: "7 /etc/sysctl.d/a.conf:1"},
		"excluded globs exclude nothing":    {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.p*=7\n-kernel.pan*"}, want: "7 /etc/sysctl.d/a.conf:1"},
		"an excluded glob ends its own":     {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.p*=7\n-kernel.p*"}},
		"a glob said again keeps its place": {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.p*=7\nkernel.pa*=8\nkernel.p*=7"}, want: "8 /etc/sysctl.d/a.conf:2"},
		"a glob spelt round a whole name":   {files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=10\nkernel/{,x}/pani*=7"}, want: "7 /etc/sysctl.d/a.conf:2"},

		"/run is gone after a reboot": {
			files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=10", "/run/sysctl.d/z.conf": "kernel.panic=0"},
			want:  "10 /etc/sysctl.d/a.conf:1 | 0 /run/sysctl.d/z.conf:1 (gone after a reboot)",
		},
		"/run alone proves nothing": {
			files: map[string]string{"/run/sysctl.d/z.conf": "kernel.panic=10"},
			want:  "| 10 /run/sysctl.d/z.conf:1 (gone after a reboot)",
		},
		"sysctl.conf through Debian's link": {
			files: map[string]string{"/etc/sysctl.d/90-k.conf": "kernel.panic=10", "/etc/sysctl.d/99-sysctl.conf": "-> /etc/sysctl.conf", "/etc/sysctl.conf": "kernel.panic=0\n"},
			want:  "0 /etc/sysctl.d/99-sysctl.conf:1",
		},
		"sysctl.conf without the link contradicts": {
			files: map[string]string{"/etc/sysctl.d/90-k.conf": "kernel.panic=10", "/etc/sysctl.conf": "kernel.panic=0\n"},
			want:  "10 /etc/sysctl.d/90-k.conf:1 | 0 /etc/sysctl.conf:1 (read last where sysctl --system applies the files)",
		},
		"sysctl.conf with the same value is no conflict": {
			files: map[string]string{"/etc/sysctl.d/90-k.conf": "kernel.panic=10", "/etc/sysctl.conf": "kernel.panic=10\n"},
			want:  "10 /etc/sysctl.d/90-k.conf:1",
		},
		"sysctl.conf alone proves nothing": {
			files: map[string]string{"/etc/sysctl.conf": "kernel.panic=10\n"},
			want:  "| 10 /etc/sysctl.conf:1 (read last where sysctl --system applies the files)",
		},
		"sysctl.* on the kernel command line contradicts": {
			files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=10", "/boot/grub/grub.cfg": entries("quiet", "sysctl.kernel.panic=0")},
			want:  "10 /etc/sysctl.d/a.conf:1 | 0 /boot/grub/grub.cfg:5 (kernel command line)",
		},
		"panic= comes before every file": {
			files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=10", "/boot/grub/grub.cfg": entries("panic=-1", "panic=-1")},
			want:  "10 /etc/sysctl.d/a.conf:1",
		},
		"panic= in every boot entry counts": {
			files: map[string]string{"/boot/grub/grub.cfg": entries("panic=10 quiet", "panic=10")},
			want:  "10 /boot/grub/grub.cfg:2 (kernel command line)",
		},
		"panic= in one of two boot entries does not": {
			files: map[string]string{"/boot/grub/grub.cfg": entries("panic=10 quiet", "single")},
			want:  "| 10 /boot/grub/grub.cfg:2 (kernel command line)",
		},
		"what is not in the boot loader's file yet": {
			files: map[string]string{"/etc/default/grub": "GRUB_CMDLINE_LINUX=\"panic=10\"\n"},
			want:  "| 10 /etc/default/grub:1 (kernel command line)",
		},
		"oops=panic": {
			files: map[string]string{"/boot/cmdline.txt": "console=tty1 oops=panic\n"},
			want:  "1 /boot/cmdline.txt:1 (kernel command line)", param: "kernel.panic_on_oops",
		},
		"a boot loader entry": {
			files: map[string]string{"/boot/loader/entries/a.conf": "title x\noptions root=x sysctl.vm.overcommit_memory=1\n"},
			want:  "1 /boot/loader/entries/a.conf:2 (kernel command line)", param: "vm.overcommit_memory",
		},
		"a boot loader on an EFI system partition": {
			files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=10", "/boot/efi/EFI/rocky/grub.cfg": entries("quiet", "sysctl.kernel.panic=0")},
			want:  "10 /etc/sysctl.d/a.conf:1 | 0 /boot/efi/EFI/rocky/grub.cfg:5 (kernel command line)",
		},
		"what leads to another configuration": {
			files: map[string]string{"/etc/sysctl.d/a.conf": "kernel.panic=10", "/efi/EFI/debian/grub.cfg": "search.fs_uuid 1 root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"},
			want:  "10 /etc/sysctl.d/a.conf:1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Read(nodetest.Files(Query(), c.files))
			require.NoError(t, err)
			param := c.param
			if param == "" {
				param = "kernel.panic"
			}
			p, set := b.Lookup(param)
			assert.Equal(t, c.want != "", set)
			var got []string
			if p.Setting.Path != "" {
				got = append(got, p.Setting.Value+" "+p.Setting.String())
			}
			for _, conflict := range p.Conflicts {
				got = append(got, "| "+conflict.Value+" "+conflict.String())
			}
			assert.Equal(t, c.want, strings.Join(got, " "))
		})
	}
}

func TestKernelParametersUnknown(t *testing.T) {
	for name, c := range map[string]struct {
		node *node.Node
		want string
	}{
		"never collected":       {node.New(nil, nil), "/etc/sysctl.d was not looked at"},
		"an unreadable file":    {nodetest.Files(Query(), map[string]string{"/usr/lib/sysctl.d/50.conf": "unread: permission denied"}), "/usr/lib/sysctl.d/50.conf cannot be read: permission denied"},
		"an unreadable command": {nodetest.Files(Query(), map[string]string{"/boot/grub/grub.cfg": "unread: too large"}), "/boot/grub/grub.cfg cannot be read: too large"},
		"braces without end": {
			nodetest.Files(Query(), map[string]string{"/etc/sysctl.d/a.conf": strings.Repeat("{a,b}", 40) + "*=1"}),
			"/etc/sysctl.d/a.conf:1: the braces of a key stand for more than 1024 patterns",
		},
		"an unlistable directory": {
			node.New(Query(), []node.Entry{{Path: "/run/sysctl.d", Kind: node.KindDirectory, Unread: "i/o error"}}),
			"/run/sysctl.d cannot be listed: i/o error",
		},
		"the service is masked": {
			nodetest.Files(Query(), map[string]string{
				"/etc/sysctl.d/a.conf": "kernel.panic=10", "/etc/systemd/system/systemd-sysctl.service": "-> /dev/null",
			}),
			"is masked",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(c.node)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func FuzzSysctlFile(f *testing.F) {
	f.Add([]byte("kernel.panic=10\n-net.ipv4.*\n; c\n"), []byte("linux /vm panic=1 sysctl.a.b=c"))
	f.Fuzz(func(t *testing.T, data, grub []byte) {
		n := node.New(Query(), []node.Entry{
			{Path: "/etc/sysctl.d/a.conf", Kind: node.KindFile, Data: data, Size: int64(len(data))},
			{Path: "/boot/grub/grub.cfg", Kind: node.KindFile, Data: grub, Size: int64(len(grub))},
		})
		b, err := Read(n)
		require.NoError(t, err)
		// what is said to be set must stand in the file
		if p, set := b.Lookup("kernel.panic"); set && p.Setting.Path == "/etc/sysctl.d/a.conf" {
			line := strings.Split(string(data), "\n")[p.Setting.Line-1]
			require.Contains(t, line, "=")
			for _, word := range strings.Fields(p.Setting.Value) {
				require.Contains(t, line, word)
			}
		}
	})
}

func BenchmarkKernelParameters(b *testing.B) {
	files := map[string]string{"/boot/grub/grub.cfg": strings.Repeat("linux /vmlinuz root=/dev/sda1 quiet panic=-1\n", 4)}
	for i := range 40 {
		files[fmt.Sprintf("/usr/lib/sysctl.d/%02d.conf", i)] = strings.Repeat(fmt.Sprintf("kernel.p%d=1\nnet.ipv4.conf.*.x%d=0\n", i, i), 5)
	}
	n := nodetest.Files(Query(), files)
	b.ReportAllocs()
	for b.Loop() {
		p, err := Read(n)
		if err != nil {
			b.Fatal(err)
		}
		p.Lookup("kernel.panic")
	}
}
