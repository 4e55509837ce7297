package sshtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Processes are what runs on the machine beside its server, with the command lines, each
// behind its parent. All of it descends from the server, which is the first process of
// its namespace.
func (m *Machine) Processes(t testing.TB) (pids []int, commands []string) {
	t.Helper()
	server, err := strconv.Atoi(filepath.Base(filepath.Dir(m.root)))
	require.NoError(t, err)
	processes, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	children := map[int][]int{}
	for _, at := range processes {
		stat, _ := os.ReadFile(at) // of one that has ended there is none
		_, rest, _ := strings.Cut(string(stat), ") ")
		if words := strings.Fields(rest); len(words) > 1 {
			parent, _ := strconv.Atoi(words[1])
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(at)))
			children[parent] = append(children[parent], pid)
		}
	}
	pids = slices.Clone(children[server])
	for i := 0; i < len(pids); i++ { // which grows meanwhile
		pids = append(pids, children[pids[i]]...)
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pids[i]))
		commands = append(commands, strings.ReplaceAll(string(command), "\x00", " "))
	}
	return pids, commands
}
