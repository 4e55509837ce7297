package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// mke2fsConfig takes the place of the host's mke2fs.conf, so that an image
// has the same features wherever it is made: those that every kernel and boot
// loader since 2016 knows.
const mke2fsConfig = `[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384
[fs_types]
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
		inode_size = 256
	}
`

// MakeExt4 makes the file image, size bytes long, an ext4 file system with
// the tree at dir and what is held for it. scratch is a directory for a
// configuration file. Nothing is mounted. The result has passed e2fsck.
func MakeExt4(ctx context.Context, dir, image string, size int64, held *Held, scratch string) (err error) {
	usage, err := Measure(dir)
	if err != nil {
		return err
	}
	if err := checkRoomFor(ctx, dir, image); err != nil {
		return err
	}
	config := filepath.Join(scratch, "mke2fs.conf")
	if err := os.WriteFile(config, []byte(mke2fsConfig), 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(image, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(size); err != nil {
		return err
	}
	image = nameFor(f)
	args := []string{"-q", "-F", "-t", "ext4", "-m", "1"}
	if usage.Inodes*2 > size/16384 {
		args = append(args, "-N", fmt.Sprint(usage.Inodes*2))
	}
	args = append(args, "-d", dir, image)
	env := []string{"MKE2FS_CONFIG=" + config, "MKE2FS_SYNC=0"}
	if _, err := run(ctx, Mke2fs, "", env, args...); err != nil {
		return err
	}
	if err := amend(ctx, image, dir, index(dir, held), scratch); err != nil {
		return err
	}
	_, err = run(ctx, E2fsck, "", nil, "-f", "-n", image)
	return err
}

// nameFor is a name of an open file for e2fsprogs, which take what stands
// behind a "?" for options.
func nameFor(f *os.File) string {
	if !strings.Contains(f.Name(), "?") {
		return f.Name()
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
}

// amend writes into an ext4 image what mke2fs did not copy: the root
// directory's owner and mode, and what is held.
func amend(ctx context.Context, image, dir string, held heldIndex, scratch string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: dir, Err: err}
	}
	for _, name := range held.paths() {
		if strings.ContainsFunc(name, unicode.IsControl) {
			return fmt.Errorf("%q: a name with control characters cannot be put into an ext4 image on a host that may not make device nodes or set extended attributes", name)
		}
	}
	var script strings.Builder
	fmt.Fprintf(&script, "set_inode_field / mode 0%o\n", st.Mode)
	fmt.Fprintf(&script, "set_inode_field / uid %d\nset_inode_field / gid %d\n", st.Uid, st.Gid)
	fmt.Fprintf(&script, "set_inode_field / mtime @%d\n", st.Mtim.Sec)
	for _, devices := range sorted(held.devices) {
		for _, d := range devices {
			kind, bits := "b", uint32(unix.S_IFBLK)
			if d.Mode&fs.ModeCharDevice != 0 {
				kind, bits = "c", unix.S_IFCHR
			}
			at := quote(d.Path)
			fmt.Fprintf(&script, "cd %s\nmknod %s %s %d %d\n", quote(path.Dir(d.Path)), quote(path.Base(d.Path)), kind, d.Major, d.Minor)
			fmt.Fprintf(&script, "set_inode_field %s mode 0%o\n", at, bits|uint32(d.Mode.Perm()))
			fmt.Fprintf(&script, "set_inode_field %s uid %d\nset_inode_field %s gid %d\n", at, d.UID, at, d.GID)
			fmt.Fprintf(&script, "set_inode_field %s mtime @%d\n", at, d.ModTime.Unix())
		}
	}
	// The root directory's own attributes are not copied either.
	attributes, err := attributesOf(dir)
	if err != nil {
		return err
	}
	for name, value := range attributes {
		held.attributes["/"] = append(held.attributes["/"], Attribute{Path: "/", Name: name, Value: []byte(value)})
	}
	n := 0
	for _, attributes := range sorted(held.attributes) {
		for _, a := range attributes {
			n++
			value := filepath.Join(scratch, fmt.Sprintf("attribute-%d", n))
			if err := os.WriteFile(value, a.Value, 0o600); err != nil {
				return err
			}
			fmt.Fprintf(&script, "ea_set -f %s %s %s\n", quote(value), quote(a.Path), a.Name)
		}
	}
	_, err = debugfs(ctx, script.String(), "-w", image)
	return err
}

// debugfs runs a script on an image and returns what it prints. The program's
// exit status says nothing, so that whatever it has to say beyond its banner
// is an error.
func debugfs(ctx context.Context, script string, args ...string) (string, error) {
	out, err := run(ctx, Debugfs, script, nil, append([]string{"-f", "-"}, args...)...)
	if err != nil {
		return "", err
	}
	var complaints []string
	for _, line := range strings.Split(out.stderr, "\n") {
		if line != "" && !strings.HasPrefix(line, "debugfs ") {
			complaints = append(complaints, strings.TrimSpace(line))
		}
	}
	if complaints != nil {
		return "", fmt.Errorf("debugfs %s: %s", strings.Join(args, " "), strings.Join(complaints, "; "))
	}
	return out.stdout, nil
}

// quote makes a path one word of a debugfs script.
func quote(p string) string {
	return `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
}

// sorted returns the values of a map by key.
func sorted[V any](m map[string]V) []V {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	out := make([]V, 0, len(m))
	for _, k := range keys {
		out = append(out, m[k])
	}
	return out
}
