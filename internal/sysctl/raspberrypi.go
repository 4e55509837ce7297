package sysctl

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// raspberryConfigs are the files that the firmware of a Raspberry Pi reads, and
// those that distributions have it include.
var raspberryConfigs = []string{"config.txt", "tryboot.txt", "usercfg.txt", "syscfg.txt", "distroconfig.txt"}

// raspberryConfig returns an error where the firmware's configuration names
// another file with the kernel command line, or with more of itself, than those
// that were looked at. Options count under whatever condition they stand. The
// firmware of one machine reads a prefix from one file and the name from
// another, so that both are held against all that are known.
func raspberryConfig(_ bootSource, read []string, file string, data []byte) ([]commandLine, error) {
	dir := path.Dir(file)
	for i, line := range strings.Split(string(data), "\n") {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "include "); ok {
			if more := path.Join(dir, strings.TrimSpace(name)); !slices.Contains(read, more) {
				return nil, fmt.Errorf("line %d: includes %s, which was not looked at; put its options into config.txt", i+1, more)
			}
			continue
		}
		option, value, _ := strings.Cut(line, "=")
		option, value = strings.TrimSpace(option), strings.TrimSpace(value)
		var holds string
		switch option {
		case "cmdline":
			holds = path.Join(dir, value)
		case "os_prefix":
			holds = path.Join(dir, value+"cmdline.txt")
		default:
			continue
		}
		if !slices.Contains(read, holds) {
			return nil, fmt.Errorf("line %d: %s = %s has the kernel command line in %s, which was not looked at; name it cmdline.txt", i+1, option, value, holds)
		}
	}
	return nil, nil
}
