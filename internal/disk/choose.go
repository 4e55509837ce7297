package disk

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
)

// ErrSeveral is returned by Choose where only what is in the partitions can
// tell which holds the root file system. See FindRoot.
var ErrSeveral = errors.New("say which holds the root file system")

// Choose returns the partition that holds the root file system: the one that
// choice names (a number, or LABEL=, UUID=, PARTLABEL= or PARTUUID= and a
// value), or without a choice the only one whose type is that of a root, or
// else the only Linux file system there is. An error lists what is on the
// disk.
func (l *Layout) Choose(choice string) (Partition, error) {
	if choice == "" {
		return l.only()
	}
	matches, err := matcher(choice)
	if err != nil {
		return Partition{}, err
	}
	var found []Partition
	for _, p := range l.Partitions {
		if matches(p) {
			found = append(found, p)
		}
	}
	switch {
	case l.Table == "":
		return Partition{}, fmt.Errorf("partition: %q was asked for, but the disk has no partition table; remove it", choice)
	case len(found) == 0:
		return Partition{}, fmt.Errorf("partition: no partition is %q; the disk has:\n%s", choice, l)
	case len(found) > 1:
		return Partition{}, fmt.Errorf("partition: %d partitions are %q; the disk has:\n%s", len(found), choice, l)
	case !found[0].FileSystem.Root():
		return Partition{}, fmt.Errorf("partition: %q holds no ext4, xfs or btrfs file system but %s; the disk has:\n%s",
			choice, found[0].FileSystem, l)
	}
	return found[0], nil
}

// candidates are the partitions with a Linux file system.
func (l *Layout) candidates() []Partition {
	var found []Partition
	for _, p := range l.Partitions {
		if p.FileSystem.Root() {
			found = append(found, p)
		}
	}
	return found
}

// only returns the one partition with a Linux file system.
func (l *Layout) only() (Partition, error) {
	found := l.candidates()
	if typed := slices.DeleteFunc(slices.Clone(found), func(p Partition) bool { return p.role != roleRoot }); len(typed) == 1 {
		return typed[0], nil
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return Partition{}, fmt.Errorf("partition: %d Linux file systems are on the disk; %w, such as partition = %q:\n%s",
			len(found), ErrSeveral, strconv.Itoa(found[0].Number), l)
	case len(l.Partitions) == 1 && l.Table == "":
		return Partition{}, fmt.Errorf("iso_url: the disk has no partition table and no ext4, xfs or btrfs file system, but %s", l.Partitions[0].FileSystem)
	default:
		return Partition{}, fmt.Errorf("iso_url: no ext4, xfs or btrfs file system is on the disk:\n%s", l)
	}
}

// tags are the ways to name a partition as in fstab.
var tags = map[string]func(Partition) string{
	"LABEL":     func(p Partition) string { return p.FileSystem.Label },
	"UUID":      func(p Partition) string { return p.FileSystem.UUID },
	"PARTLABEL": func(p Partition) string { return p.Label },
	"PARTUUID":  func(p Partition) string { return p.UUID },
}

// ErrChoice is returned for a choice of another form.
var ErrChoice = errors.New(`write the partition's number, such as "1", or LABEL=, UUID=, PARTLABEL= or PARTUUID= and a value`)

// CheckChoice says whether a choice is of a form that Choose understands.
func CheckChoice(choice string) error {
	_, err := matcher(choice)
	return err
}

// matcher returns what tells whether a partition is the chosen one.
func matcher(choice string) (func(Partition) bool, error) {
	if n, err := strconv.Atoi(choice); err == nil && n > 0 {
		return func(p Partition) bool { return p.Number == n }, nil
	}
	tag, value, ok := strings.Cut(choice, "=")
	get, known := tags[tag]
	value = strings.Trim(value, `"`)
	if !ok || !known || value == "" {
		return nil, fmt.Errorf("partition: %q: %w", choice, ErrChoice)
	}
	ids := []string{"UUID", "PARTUUID"}
	return func(p Partition) bool {
		if slices.Contains(ids, tag) {
			return strings.EqualFold(get(p), value)
		}
		return get(p) == value
	}, nil
}

// String lists the partitions, one a line.
func (l *Layout) String() string {
	var lines []string
	for _, p := range l.Partitions {
		line := fmt.Sprintf("  %d: %s, %s", p.Number, units.BytesSize(float64(p.Size)), p.FileSystem)
		if p.Label != "" {
			line += fmt.Sprintf(", partition label %q", p.Label)
		}
		lines = append(lines, line)
	}
	if lines == nil {
		return "  (no partitions)"
	}
	return strings.Join(lines, "\n")
}
