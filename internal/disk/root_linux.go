package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// programMarks are places for programs, of which a root file system has at
// least one. They may be links to where another partition is mounted.
var programMarks = []string{"bin", "sbin", "usr/bin", "usr/sbin", "init", "lib/systemd", "usr/lib/systemd"}

// bounds of the search for what a tree is that is no root.
const (
	searchDepth   = 3
	searchEntries = 2000
	shownEntries  = 10
)

// CheckRoot says what is wrong with a tree that is no root file system: what
// it is instead, where that can be told, and what would be right.
func CheckRoot(dir string) error {
	missing := fmt.Sprintf("neither /%s is in it", strings.Join(rootMarks, " nor /"))
	if isRoot(dir) {
		if hasPrograms(dir) {
			return nil
		}
		missing = "no program can be in it, for it has none of /" + strings.Join(programMarks, ", /")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, known := range []func(string) (string, error){packedImage, heldInside} {
		instead, err := known(dir)
		if err != nil {
			return err
		}
		if instead != "" {
			return fmt.Errorf("holds no root file system: %s", instead)
		}
	}
	if len(entries) == 0 {
		return errors.New("holds no root file system: it is empty")
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) > shownEntries {
		names = append(names[:shownEntries], "…")
	}
	return fmt.Errorf("holds no root file system: %s, only %q; a base is the whole root of a node", missing, names)
}

// hasPrograms says whether the tree at dir has a place for programs.
func hasPrograms(dir string) bool {
	return slices.ContainsFunc(programMarks, func(name string) bool { return exists(dir, name) })
}

func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// packedImages are container images in layers, told by the files at their top.
var packedImages = []struct {
	what  string
	marks []string
}{
	{"what docker save writes", []string{"manifest.json", "repositories"}},
	{"what docker save writes", []string{"manifest.json", "blobs"}},
	{"an OCI image layout", []string{"oci-layout", "index.json"}},
}

// packedImage says that a tree is a container image, if it is one.
func packedImage(dir string) (string, error) {
	for _, p := range packedImages {
		if !slices.ContainsFunc(p.marks, func(name string) bool { return !exists(dir, name) }) {
			return fmt.Sprintf("it is %s, a container image in layers; write its files as one tree: "+
				`docker export "$(docker create IMAGE)" -o root.tar`, p.what), nil
		}
	}
	return "", nil
}

// errFound ends a search.
var errFound = errors.New("found")

// heldInside names the disk, the archive or the root file system that lies
// somewhere in the tree, if one does.
func heldInside(dir string) (string, error) {
	var found string
	count := 0
	err := filepath.WalkDir(dir, func(host string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if count++; count > searchEntries {
			return errFound
		}
		name, err := filepath.Rel(dir, host)
		switch {
		case err != nil || name == ".":
			return err
		case d.IsDir() && isRoot(host):
			found = fmt.Sprintf("its directory %s holds one; make that directory the base: tar -C %[1]s -cf root.tar .", name)
		case d.IsDir() && strings.Count(name, "/") >= searchDepth-1:
			return fs.SkipDir
		case d.Type().IsRegular():
			if found, err = inside(host, name); err != nil {
				return err
			}
		}
		if found != "" {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return found, err
}

// inside says that the file at host, called name in its tree, is a disk or an
// archive, which would be the base.
func inside(host, name string) (string, error) {
	f, err := os.Open(host)
	if err != nil {
		return "", err
	}
	defer f.Close()
	_, plain, err := Decompress(f)
	if err != nil {
		return "", nil // packed by its first bytes only
	}
	defer plain.Close()
	head := make([]byte, sniffSize)
	n, _ := io.ReadFull(plain, head)
	format, err := identify(head[:n])
	if foreign := (foreignError{}); errors.As(err, &foreign) && foreign.disk {
		return fmt.Sprintf("it holds %s, %s; unpack it, and make that a base: qemu-img convert -O qcow2 %[2]s base.qcow2",
			foreign.name, name), nil
	}
	switch {
	case err != nil:
		return "", nil
	case format == QCOW2:
		return fmt.Sprintf("it holds a qcow2 disk, %s; unpack it and make that file the base", name), nil
	case format == Tar:
		return fmt.Sprintf("it holds another archive, %s; unpack it and make that file the base", name), nil
	case beginsDisk(head):
		return fmt.Sprintf("it holds a raw disk, %s; unpack it and make that file the base", name), nil
	}
	return "", nil
}

// beginsDisk says whether head begins a disk with a root file system or a
// partition table. A kernel has the signature of a boot sector too.
func beginsDisk(head []byte) bool {
	const table, entry = 446, 16
	gpt := []byte("EFI PART")
	for _, sector := range sectorSizes {
		if bytes.HasPrefix(head[sector:], gpt) {
			return true
		}
	}
	if probe(bytes.NewReader(head), 0).Root() {
		return true
	}
	used := false
	for at := table; at < table+4*entry; at += entry {
		if head[at]&0x7f != 0 {
			return false // neither bootable nor not
		}
		used = used || head[at+4] != 0
	}
	return used && head[510] == 0x55 && head[511] == 0xaa && !bytes.HasPrefix(head[0x202:], []byte("HdrS"))
}

// sniffSize is how much of a file shows every file system that holds a root.
const sniffSize = 0x10048 + blockSize
