package disk

import (
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// EndProcesses kills the processes whose root directory is root, but for
// those in spare: a daemon that a command left behind would keep the tree
// busy, but what others run in it is not ours.
func EndProcesses(root string, spare map[int]bool) {
	for range 50 {
		left := false
		for pid := range ProcessesIn(root) {
			if !spare[pid] {
				left = true
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		if !left {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// ProcessesIn returns the ids of the processes whose root directory is root.
func ProcessesIn(root string) map[int]bool {
	out := map[int]bool{}
	var tree unix.Stat_t
	if unix.Stat(root, &tree) != nil {
		return out
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return out
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		var st unix.Stat_t
		if unix.Stat("/proc/"+e.Name()+"/root", &st) == nil && st.Dev == tree.Dev && st.Ino == tree.Ino {
			out[pid] = true
		}
	}
	return out
}
