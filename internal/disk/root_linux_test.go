package disk

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shell runs a script in dir.
func shell(t testing.TB, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

func TestCheckRoot(t *testing.T) {
	const root = "mkdir -p %/etc %/usr/bin; "
	at := func(dir string) string { return strings.ReplaceAll(root, "%", dir) }
	tests := map[string]struct {
		script string
		want   []string // parts of the error; none for a root
		tools  []Tool
	}{
		"root":                      {script: at(".")},
		"merged /usr elsewhere":     {script: "mkdir etc usr; ln -s usr/bin bin"},
		"busybox":                   {script: "mkdir -p etc bin"},
		"initramfs":                 {script: "mkdir etc; touch init"},
		"root with a disk in it":    {script: at(".") + "head -c 1M /dev/zero > disk.img; mke2fs -q -F disk.img", tools: []Tool{Mke2fs}},
		"root with a manifest.json": {script: at(".") + "touch manifest.json repositories"},

		"empty":                 {script: "true", want: []string{"it is empty"}},
		"only lost+found":       {script: "mkdir lost+found", want: []string{`neither /etc nor /usr is in it, only ["lost+found"]`}},
		"backup of /etc":        {script: "mkdir etc; touch etc/os-release", want: []string{"no program", "/usr/bin", `only ["etc"]`}},
		"boot partition":        {script: "mkdir grub; { head -c 510 /dev/zero; printf '\\125\\252HdrS'; head -c 9k /dev/zero; } > vmlinuz", want: []string{`only ["grub" "vmlinuz"]`}},
		"many files":            {script: "seq 30 | while read n; do echo text > $n; done", want: []string{`"…"]`}},
		"root in a directory":   {script: at("rootfs"), want: []string{"its directory rootfs holds one", "tar -C rootfs -cf root.tar ."}},
		"root two levels down":  {script: at("a/rootfs") + "touch a/note", want: []string{"its directory a/rootfs holds one"}},
		"docker save":           {script: "mkdir -p blobs/sha256; touch manifest.json repositories blobs/sha256/0", want: []string{"docker save", "docker export"}},
		"docker save, older":    {script: "mkdir 0; touch manifest.json repositories 0/layer.tar", want: []string{"docker save", "docker export"}},
		"OCI layout":            {script: "mkdir -p blobs/sha256; touch oci-layout index.json", want: []string{"OCI image layout", "docker export"}},
		"OVA":                   {script: "echo '<Envelope/>' > node.ovf; { printf KDMV; head -c 1M /dev/zero; } > node-disk1.vmdk", want: []string{"a VMDK image, node-disk1.vmdk", "qemu-img convert -O qcow2 node-disk1.vmdk"}},
		"qcow2 inside":          {script: "mkdir image; qemu-img create -q -f qcow2 image/node.qcow2 8M", tools: []Tool{QemuImg}, want: []string{"a qcow2 disk, image/node.qcow2"}},
		"raw disk inside":       {script: "truncate -s 8M disk.raw; echo ', +' | sfdisk -q disk.raw", tools: []Tool{Sfdisk}, want: []string{"a raw disk, disk.raw"}},
		"GPT disk inside":       {script: "truncate -s 8M disk.raw; printf 'label: gpt\\n, +\\n' | sfdisk -q disk.raw", tools: []Tool{Sfdisk}, want: []string{"a raw disk, disk.raw"}},
		"raw file system":       {script: "truncate -s 8M root.img; mke2fs -q -F root.img", tools: []Tool{Mke2fs}, want: []string{"a raw disk, root.img"}},
		"packed raw disk":       {script: "truncate -s 8M root.img; mke2fs -q -F root.img; gzip root.img", tools: []Tool{Mke2fs}, want: []string{"a raw disk, root.img.gz"}},
		"archive inside":        {script: "touch x; tar -czf root.tar.gz x; rm x", want: []string{"another archive, root.tar.gz"}},
		"packed by name alone":  {script: "printf '\\037\\213' > note.gz", want: []string{`only ["note.gz"]`}},
		"files without meaning": {script: "mkdir data; echo hello > data/a.txt", want: []string{`only ["data"]; a base is the whole root of a node`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := Missing(tt.tools...); err != nil {
				t.Skip(err)
			}
			dir := filepath.Join(t.TempDir(), "tree")
			require.NoError(t, os.Mkdir(dir, 0o755))
			shell(t, dir, tt.script)
			err := CheckRoot(dir)
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "holds no root file system: ")
			for _, part := range tt.want {
				assert.ErrorContains(t, err, part)
			}
		})
	}
}
