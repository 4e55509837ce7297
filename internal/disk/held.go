package disk

import (
	"fmt"
	"io/fs"
	"sort"
	"strings"
	"time"
)

// Held is what belongs to a tree although this host could not put it there:
// device nodes and extended attributes need privileges that a container may
// lack. WriteTar and MakeExt4 put it into the image all the same.
type Held struct {
	Devices    []Device
	Attributes []Attribute
	// Dropped counts what no image can carry, by what it is.
	Dropped map[string]int
}

// Device is a device node.
type Device struct {
	// Path is absolute inside the tree and holds no symbolic link.
	Path string
	// Mode holds fs.ModeDevice, fs.ModeCharDevice for a character device, and
	// the permission bits.
	Mode         fs.FileMode
	UID, GID     int
	Major, Minor uint32
	ModTime      time.Time
}

// Attribute is one extended attribute of a file in the tree.
type Attribute struct {
	// Path is absolute inside the tree and holds no symbolic link.
	Path  string
	Name  string
	Value []byte
	// stamp is the file it was meant for: once that has been replaced or
	// written to, the attribute (think of a capability) is not its own.
	stamp stamp
}

// stamp tells one state of one file from all others.
type stamp struct {
	device, inode uint64
	modified      time.Time
}

// Empty says whether nothing was held back.
func (h *Held) Empty() bool {
	return h == nil || len(h.Devices)+len(h.Attributes)+len(h.Dropped) == 0
}

// String lists counts for a log.
func (h *Held) String() string {
	if h.Empty() {
		return "nothing"
	}
	var parts []string
	if n := len(h.Devices); n > 0 {
		parts = append(parts, fmt.Sprintf("%d device nodes", n))
	}
	if n := len(h.Attributes); n > 0 {
		parts = append(parts, fmt.Sprintf("%d extended attributes", n))
	}
	var kinds []string
	for kind := range h.Dropped {
		kinds = append(kinds, kind)
	}
	sort.Strings(kinds)
	for _, kind := range kinds {
		parts = append(parts, fmt.Sprintf("%d %s (dropped)", h.Dropped[kind], kind))
	}
	return strings.Join(parts, ", ")
}

// forget takes back everything held for path, which an archive replaces.
func (h *Held) forget(path string) {
	devices := h.Devices[:0]
	for _, d := range h.Devices {
		if d.Path != path {
			devices = append(devices, d)
		}
	}
	h.Devices = devices
	attributes := h.Attributes[:0]
	for _, a := range h.Attributes {
		if a.Path != path {
			attributes = append(attributes, a)
		}
	}
	h.Attributes = attributes
}

// device returns the device held at path.
func (h *Held) device(path string) (Device, bool) {
	if h == nil {
		return Device{}, false
	}
	for _, d := range h.Devices {
		if d.Path == path {
			return d, true
		}
	}
	return Device{}, false
}

// drop counts one thing that is lost.
func (h *Held) drop(kind string) {
	if h.Dropped == nil {
		h.Dropped = map[string]int{}
	}
	h.Dropped[kind]++
}
