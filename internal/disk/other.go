//go:build !linux

package disk

import (
	"context"
	"io"
	"iter"
	"os"
	"os/exec"
	"time"
)

// Measure needs Linux.
func Measure(string) (Usage, error) { return Usage{}, ErrNotLinux }

// Unpack needs Linux.
func Unpack(context.Context, io.Reader, string) (*Held, error) { return nil, ErrNotLinux }

// Archive needs Linux.
func Archive(context.Context, io.Writer, string, *Held) (int, error) { return 0, ErrNotLinux }

// MakeExt4 needs Linux.
func MakeExt4(context.Context, string, string, int64, *Held, string) error { return ErrNotLinux }

// Mounted is a mounted root file system of an image.
type Mounted struct{ Root string }

// ErrJournal is returned when a file system was not unmounted cleanly.
var ErrJournal = ErrNotLinux

// Mount needs Linux.
func Mount(context.Context, string, Partition, string, Access) (*Mounted, error) {
	return nil, ErrNotLinux
}

// FindRoot needs Linux.
func FindRoot(context.Context, string, *Layout, string, string, Access) (Partition, error) {
	return Partition{}, ErrNotLinux
}

// MountOthers needs Linux.
func (*Mounted) MountOthers(context.Context, *Layout) ([]Hidden, error) { return nil, ErrNotLinux }

// WriteBack needs Linux.
func (*Mounted) WriteBack(context.Context) error { return ErrNotLinux }

// Uncover needs Linux.
func (*Mounted) Uncover() error { return ErrNotLinux }

// HiddenIn needs Linux.
func HiddenIn(string) ([]Hidden, error) { return nil, ErrNotLinux }

// Trim needs Linux.
func (*Mounted) Trim(context.Context) ([]string, error) { return nil, ErrNotLinux }

// Unmount needs Linux.
func (*Mounted) Unmount() error { return ErrNotLinux }

// CheckRoot needs Linux.
func CheckRoot(string) error { return ErrNotLinux }

// CopyDisk needs Linux.
func CopyDisk(context.Context, string, Kind, string, string, Progress) error { return ErrNotLinux }

// Grow needs Linux.
func Grow(context.Context, string, *Layout, Partition, int64) (Partition, error) {
	return Partition{}, ErrNotLinux
}

// GrowFileSystem needs Linux.
func (*Mounted) GrowFileSystem(context.Context, Partition) error { return ErrNotLinux }

// GrowTools needs Linux.
func GrowTools(*Layout, Partition) []Tool { return nil }

// ErrLocked is returned for what another process is working on.
var ErrLocked = ErrNotLinux

// Lock needs Linux.
func Lock(string) (*os.File, error) { return nil, ErrNotLinux }

// NewWorkDirectory needs Linux.
func NewWorkDirectory(string, string, *Entry) (string, *os.File, error) { return "", nil, ErrNotLinux }

// Reclaim needs Linux.
func Reclaim(string, string) ([]string, error) { return nil, ErrNotLinux }

// RemoveTree needs Linux.
func RemoveTree(string) error { return ErrNotLinux }

// TreeIn needs Linux.
func TreeIn(string) string { return "" }

// dataIn yields the whole file: holes are only looked for on Linux.
func dataIn(_ *os.File, size int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) { yield(Extent{0, size}, nil) }
}

// Changed needs Linux.
func Changed() (time.Time, error) { return time.Time{}, ErrNotLinux }

// List needs Linux.
func List(context.Context, string, func(string, int64, time.Time) bool) (Listing, error) {
	return nil, ErrNotLinux
}

// List needs Linux.
func (*Mounted) List(context.Context, func(string, int64, time.Time) bool) (Listing, error) {
	return nil, ErrNotLinux
}

// Archive needs Linux.
func (*Mounted) Archive(context.Context, string) (int, error) { return 0, ErrNotLinux }

// CheckMounted needs Linux.
func (Listing) CheckMounted(context.Context, *Mounted) error { return ErrNotLinux }

// CheckTable needs Linux.
func CheckTable(string, *Layout) error { return ErrNotLinux }

// CheckTar needs Linux.
func (Listing) CheckTar(context.Context, string, *Held) error { return ErrNotLinux }

// CheckExt4 needs Linux.
func (Listing) CheckExt4(context.Context, string, *Held, string) error { return ErrNotLinux }

// CompareDisks needs Linux.
func CompareDisks(context.Context, string, string, Format) error { return ErrNotLinux }

// LockNew needs Linux.
func LockNew(string) (*os.File, error) { return nil, ErrNotLinux }

// checkRoomForTar needs Linux.
func checkRoomForTar(string, string, bool) error { return ErrNotLinux }

// checkSpace needs Linux.
func checkSpace(context.Context, string, string) error { return ErrNotLinux }

// FullOf needs Linux.
func FullOf(error, ...string) []string { return nil }

// Free needs Linux.
func Free(string) int64 { return 0 }

// NewImage needs Linux.
func NewImage(string, *Entry) (*os.File, error) { return nil, ErrNotLinux }

// Ledger is a directory with a file for each build that has begun.
type Ledger string

// Begin needs Linux.
func (Ledger) Begin() (*Entry, error) { return nil, ErrNotLinux }

// Reclaim needs Linux.
func (Ledger) Reclaim() ([]string, error) { return nil, ErrNotLinux }

// Entry is a build's file in a ledger.
type Entry struct{}

// Directory needs Linux.
func (*Entry) Directory(string) error { return ErrNotLinux }

// Close needs Linux.
func (*Entry) Close() error { return ErrNotLinux }

func runWithUs(cmd *exec.Cmd) error { return cmd.Run() }
