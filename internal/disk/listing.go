package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Listing is what a tree holds, by path inside the tree.
type Listing map[string]Item

// Item is one file, directory or whatever else has a name.
type Item struct {
	// Mode is the type and the permission bits.
	Mode     fs.FileMode
	UID, GID int
	// Size is that of a regular file, in bytes, and Target what a symbolic
	// link holds.
	Size   int64
	Target string
	// Digest is the SHA-256 of a regular file's content, in hex; empty where
	// it was not asked for.
	Digest string
}

// ErrDiffers is returned for an image that does not hold what its tree did.
var ErrDiffers = errors.New("the finished image does not hold the tree that was provisioned and judged")

// maxDifferences is how many differences an error names.
const maxDifferences = 10

// compare returns an error that names what got, read from an image, has
// otherwise than l. What only got has must be allowed.
func (l Listing) compare(got Listing, allowed func(path string) bool) error {
	var differences []string
	for name, want := range l {
		if text := want.differs(got, name); text != "" {
			differences = append(differences, name+" "+text)
		}
	}
	for name := range got {
		if _, ok := l[name]; !ok && !allowed(name) {
			differences = append(differences, name+" is there and was not")
		}
	}
	if differences == nil {
		return nil
	}
	slices.Sort(differences)
	more := ""
	if n := len(differences) - maxDifferences; n > 0 {
		differences, more = differences[:maxDifferences], fmt.Sprintf("\n  and %d more", n)
	}
	return fmt.Errorf("%w:\n  %s%s", ErrDiffers, strings.Join(differences, "\n  "), more)
}

// differs says how the item called name in got is another, or "".
func (i Item) differs(got Listing, name string) string {
	g, there := got[name]
	switch {
	case !there:
		return "is missing"
	case g.Mode != i.Mode:
		return fmt.Sprintf("is %s and was %s", g.Mode, i.Mode)
	case g.UID != i.UID || g.GID != i.GID:
		return fmt.Sprintf("belongs to %d:%d and did to %d:%d", g.UID, g.GID, i.UID, i.GID)
	case g.Size != i.Size:
		return fmt.Sprintf("has %d bytes and had %d", g.Size, i.Size)
	case g.Target != i.Target:
		return fmt.Sprintf("leads to %q and did to %q", g.Target, i.Target)
	case i.Digest != "" && g.Digest != i.Digest:
		return "has another content"
	}
	return ""
}

// none allows nothing more.
func none(string) bool { return false }
