package node

import (
	"context"
	"io/fs"
	"time"
)

// Change is everything that is to be different on a node. It is put in place
// all or nothing.
type Change struct {
	// Write lists directories and files, parents before children. A directory
	// or file that is there already gets exactly this mode and owner; parents
	// that are not listed and missing are made 0755, root:root.
	Write []Entry
	// Links are symbolic links that are to be there, by their paths: what each
	// leads to, as it is to be written. One that is there stays; anything else in
	// its place is an error, since nothing is replaced by a link.
	Links map[string]string
	// Modes are the modes that files get whose content and owner stay, such as keys,
	// of which nobody needs to know what is in them. A path where nothing is is
	// passed over; anything but a regular file in its place is an error.
	Modes map[string]fs.FileMode
	// Keep copies a file before it is replaced: original path to the path of
	// the copy, which is root's and for root alone, to be read and written as the
	// original was: what is replaced may hold secrets. A copy that exists
	// already is left alone.
	Keep map[string]string
	// Remove lists files that must not be there.
	Remove []string
	// RemoveAll lists what must not be there with all that is below it: files and
	// directories of any size. A symbolic link goes itself, never what it leads
	// to. A directory that something is mounted on stays, empty, since an image
	// needs it to mount on; a mount further below is an error.
	RemoveAll []string
	// Kernel parameters (sysctl names with dots) to set in the running kernel;
	// passed over when the node is not a running machine.
	Kernel map[string]string
	// Rest is what must not run on a machine while it is changed; nil for nothing.
	// Passed over when the node is not a running machine.
	Rest *Rest
	// Start lists services that are started when everything is in place. One that
	// does not start fails the change; passed over when the node is not a running
	// machine. A file of the service's name in /run tells it, until the machine is
	// shut down, that no boot has started it.
	Start []string
	// Preconditions are what the plan was made from. When the node differs, nothing
	// is touched and Outcome.Stale is true.
	Preconditions []Precondition
}

// Rest says which programs must be at rest. Where one of them runs, nothing is
// changed, and Advice is a part of the error; unless Stop says to end them. What
// was ended is not started again, whatever becomes of the change.
type Rest struct {
	// Services are stopped first, by their names.
	Services []string
	// Programs are the paths of executables, absolute, in which * stands for any
	// characters. Every process that runs one of them counts, and all that these
	// started.
	Programs []string
	// Mounts are the beginnings of the paths that nothing may be mounted on
	// afterwards, such as "/run/k3s/".
	Mounts []string
	Stop   bool
	Advice string
}

// KeptSuffix ends the names of the copies that Keep makes beside the files that
// are replaced. None of the programs that read these directories takes a file
// with this ending.
const KeptSuffix = ".before-k3s-cis"

// Precondition is what a plan took for granted about one path of the node.
type Precondition struct {
	// Path is absolute. When Children is true it is a directory, and what is
	// held is that no regular file in it has one of Suffixes except those
	// named by other preconditions.
	Path     string
	Children bool
	Suffixes []string
	// Either lists the contents the file may have, by SHA-256 in lower-case
	// hex; "" stands for absent.
	Either []string
}

// Outcome is what came of applying a change.
type Outcome struct {
	// Node is what is on the node after the change, read back.
	Node *Node
	// Stale is true when a precondition did not hold: nothing was written, and
	// Node holds the evidence that a new plan can be made from.
	Stale bool
	// Changed lists the paths that are different now, sorted; empty when the
	// node was already as wanted.
	Changed []string
	// Hidden lists the paths that were left as they are, since a booted node
	// would not see them.
	Hidden []string
	// KernelSet lists the kernel parameters that were set, sorted.
	KernelSet []string
	// Way names how the data travelled, for the log: "root directory",
	// "one command", "one file and one command", ….
	Way string
	// Took is the time from the first byte to the last.
	Took time.Duration
}

// Target is where a node lives.
type Target interface {
	// Read collects q and changes nothing.
	Read(ctx context.Context, q Query) (*Node, error)
	// Apply puts c in place and reads q back, in one go. On error the node is
	// as it was before.
	Apply(ctx context.Context, c Change, q Query) (*Outcome, error)
}

// StagingPrefix starts the name of the directories in which new files wait
// beside their destination. No program reads a configuration file from a
// directory named so.
const StagingPrefix = ".k3s-cis-"
