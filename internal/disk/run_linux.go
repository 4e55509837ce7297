package disk

import (
	"os/exec"
	"runtime"
	"syscall"
)

// runWithUs runs cmd to its end, which is at the latest that of this process:
// a tool that outlives a killed build would go on writing to its image.
func runWithUs(cmd *exec.Cmd) error {
	// The kernel ends it with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}
