package disk

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/docker/go-units"
)

// GrowTools are what Grow and GrowFileSystem run for a partition.
func GrowTools(layout *Layout, p Partition) []Tool {
	tools := []Tool{growers[p.FileSystem.Type].tool}
	if layout.Table != "" {
		tools = append(tools, Sfdisk)
	}
	return tools
}

// growers enlarge a mounted file system to the size of its device.
var growers = map[string]struct {
	tool Tool
	args func(m mount) []string
}{
	"ext4":  {Resize2fs, func(m mount) []string { return []string{m.loop.path} }},
	"xfs":   {XFSGrowfs, func(m mount) []string { return []string{"-d", m.dir} }},
	"btrfs": {Btrfs, func(m mount) []string { return []string{"filesystem", "resize", "max", m.dir} }},
}

// Grow makes the raw disk image size bytes long, a multiple of a mebibyte, and
// gives the new room to partition p, which must be the last one. It returns
// the partition as it is then; its file system has its old size until
// GrowFileSystem.
func Grow(ctx context.Context, image string, layout *Layout, p Partition, size int64) (Partition, error) {
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
		return p, nil
	}
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

// GrowFileSystem enlarges the mounted root file system of partition p to the
// size of the partition.
func (m *Mounted) GrowFileSystem(ctx context.Context, p Partition) error {
	g := growers[p.FileSystem.Type]
	_, err := run(ctx, g.tool, "", nil, g.args(m.mounts[0])...)
	return err
}
