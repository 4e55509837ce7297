package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/docker/go-units"
)

// growers are the programs that enlarge a file system to the size of its
// device: ext4 before it is mounted, the others when they are.
var growers = map[string]struct {
	tools   []Tool
	mounted func(ctx context.Context, dir string) error
}{
	"ext4": {tools: []Tool{E2fsck, Resize2fs}},
	"xfs": {tools: []Tool{XFSGrowfs}, mounted: func(ctx context.Context, dir string) error {
		_, err := run(ctx, XFSGrowfs, "", nil, "-d", dir)
		return err
	}},
	"btrfs": {tools: []Tool{Btrfs}, mounted: func(ctx context.Context, dir string) error {
		_, err := run(ctx, Btrfs, "", nil, "filesystem", "resize", "max", dir)
		return err
	}},
}

// GrowTools are what Grow and GrowFileSystem run for a partition.
func GrowTools(layout *Layout, p Partition) []Tool {
	tools := growers[p.FileSystem.Type].tools
	if layout.Table != "" {
		tools = append([]Tool{Sfdisk}, tools...)
	}
	return tools
}

// Grow makes the raw disk image size bytes long, a multiple of a mebibyte, and
// gives the new room to partition p, which must be the last one. It returns
// the partition as it is then. An xfs or btrfs file system has its old size
// until GrowFileSystem.
func Grow(ctx context.Context, image string, layout *Layout, p Partition, size int64) (Partition, error) {
	image, err := filepath.Abs(image)
	if err != nil {
		return p, err
	}
	info, err := os.Stat(image)
	if err != nil {
		return p, err
	}
	switch {
	case size == info.Size():
		return p, nil
	case size < info.Size():
		return p, fmt.Errorf("disk_size: %s is smaller than the base's disk, %s; a disk is not made smaller",
			units.BytesSize(float64(size)), units.BytesSize(float64(info.Size())))
	}
	if layout.Table != "" && layout.SectorSize != 512 {
		return p, fmt.Errorf("disk_size: a disk with sectors of %d bytes cannot be made larger here; remove it", layout.SectorSize)
	}
	for _, other := range layout.Partitions {
		if other.Start > p.Start {
			return p, fmt.Errorf("disk_size: partition %d with the root file system cannot grow, because partition %d comes after it; the disk has:\n%s",
				p.Number, other.Number, layout)
		}
	}
	if err := os.Truncate(image, size); err != nil {
		return p, err
	}
	if layout.Table == "" {
		p.Size = size
	} else if p, err = growPartition(ctx, image, p); err != nil {
		return p, err
	}
	if p.FileSystem.Type == "ext4" {
		return p, growExt4(ctx, image, p)
	}
	return p, nil
}

// growPartition gives all room behind partition p to it.
func growPartition(ctx context.Context, image string, p Partition) (Partition, error) {
	// ", +" keeps the start and takes all room; the second table of a GPT is
	// moved to the new end.
	if _, err := run(ctx, Sfdisk, ", +\n", nil, "--no-reread", "--no-tell-kernel", "--quiet",
		"-N", strconv.Itoa(p.Number), image); err != nil {
		return p, err
	}
	grown, err := ReadLayout(image)
	if err != nil {
		return p, err
	}
	for _, now := range grown.Partitions {
		if now.Number == p.Number && now.Start == p.Start && now.Size > p.Size {
			return now, nil
		}
	}
	return p, fmt.Errorf("disk_size: partition %d did not grow; the disk has:\n%s", p.Number, grown)
}

// growExt4 enlarges an ext4 file system, which resize2fs wants checked first.
func growExt4(ctx context.Context, image string, p Partition) (err error) {
	l, err := attachLoop(ctx, image, p.Extent, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close(), l.gone(image)) }()
	const corrected = 1 // e2fsck's exit status when all is well now
	_, err = run(ctx, E2fsck, "", nil, "-f", "-p", l.path)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != corrected) {
		return err
	}
	_, err = run(ctx, Resize2fs, "", nil, l.path)
	return err
}

// GrowFileSystem enlarges the mounted root file system of partition p to the
// size of the partition, if Grow could not.
func (m *Mounted) GrowFileSystem(ctx context.Context, p Partition) error {
	if grow := growers[p.FileSystem.Type].mounted; grow != nil {
		return grow(ctx, m.Root)
	}
	return nil
}
