package boot

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

const fstab = "/etc/fstab"

// mount is a file system that boot mounts.
type mount struct {
	Place
	on string
}

// notYetMounted are what boot mounts on a running machine, and what is not
// mounted there now: what was read in its place is not what a booted node sees.
// Trees and containers are shown as they boot by who holds them.
func (c *Changes) notYetMounted() []mount {
	if c.node == nil || c.node.Kernel == nil || c.node.Mounts == nil {
		return nil
	}
	return slices.DeleteFunc(append(c.fstab(), c.mountUnits()...), func(m mount) bool {
		return m.on == "/" || !path.IsAbs(m.on) || natural(m.on) || slices.Contains(c.node.Mounts, m.on)
	})
}

// fstabEscapes are how fstab writes what would separate fields.
var fstabEscapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func (c *Changes) fstab() []mount {
	e, _ := c.node.Lookup(fstab)
	var out []mount
	for i, line := range strings.Split(string(e.Data), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") || fields[2] == "swap" || len(fields) > 3 && byHand(fields[3]) {
			continue
		}
		out = append(out, mount{Place{fstab, i + 1}, path.Clean(fstabEscapes.Replace(fields[1]))})
	}
	return out
}

// byHand says whether options keep a file system from being mounted at boot.
func byHand(options string) bool {
	all := strings.Split(options, ",")
	return slices.Contains(all, "noauto") && !slices.Contains(all, "x-systemd.automount")
}

// mountUnits reads the mount units that something wants.
func (c *Changes) mountUnits() []mount {
	var out []mount
	const dir = "/etc/systemd/system"
	for _, e := range c.node.Below(dir) {
		wanted := strings.HasSuffix(path.Dir(e.Path), ".wants") || strings.HasSuffix(path.Dir(e.Path), ".requires")
		if !wanted || path.Ext(e.Path) != ".mount" || e.Kind != node.KindFile {
			continue
		}
		for i, line := range strings.Split(string(e.Data), "\n") {
			if on, ok := strings.CutPrefix(strings.ReplaceAll(line, " ", ""), "Where="); ok {
				out = append(out, mount{Place{e.Path, i + 1}, path.Clean(on)})
			}
		}
	}
	return out
}

func (m mount) covers() string {
	return fmt.Sprintf("is covered by what %s mounts on %s at boot, and nothing is mounted there now: mount it for the build if the image has it, or mount that file system over what holds data alone, such as server/db, agent/containerd or storage in K3s's data directory", m.Place, m.on)
}
