package disk

import (
	"debug/elf"
	"errors"
	"fmt"
)

// programs are looked at, in this order, to know a tree's architecture: every
// root file system has one of them.
var programs = []string{
	"/bin/sh", "/usr/bin/sh", "/sbin/init", "/usr/lib/systemd/systemd", "/bin/busybox",
	"/usr/local/bin/k3s", "/usr/bin/k3s", "/bin/k3s",
}

// machines are the names of architectures, as Go and K3s use them.
var machines = map[elf.Machine]string{
	elf.EM_X86_64:  "amd64",
	elf.EM_AARCH64: "arm64",
	elf.EM_ARM:     "arm",
	elf.EM_RISCV:   "riscv64",
	elf.EM_S390:    "s390x",
	elf.EM_386:     "386",
	elf.EM_PPC64:   "ppc64le",
}

// ErrNoProgram is returned for a tree that holds no program to know its
// architecture by.
var ErrNoProgram = errors.New("the tree holds no program that shows its architecture")

// Architecture returns the architecture that the programs of the tree at dir
// are for, such as "amd64".
func Architecture(dir string) (string, error) {
	for _, program := range programs {
		machine, err := machineOf(dir, program)
		if err != nil {
			continue // missing, or a script
		}
		if name, ok := machines[machine]; ok {
			return name, nil
		}
		return "", fmt.Errorf("%s is for %s, which K3s does not run on", program, machine)
	}
	return "", ErrNoProgram
}

// machineOf returns the architecture of one program of the tree at dir.
func machineOf(dir, program string) (elf.Machine, error) {
	f, err := openIn(dir, program)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		return 0, err
	}
	return e.Machine, nil
}

// CheckShell says what is wrong with the /bin/sh of the tree at dir, if it
// cannot be a program.
func CheckShell(dir string) error {
	f, err := openIn(dir, "/bin/sh")
	if err != nil {
		return fmt.Errorf("it has no usable /bin/sh: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Mode()&0o111 == 0 {
		err = fmt.Errorf("it has no usable /bin/sh: not executable: %s", info.Mode())
	}
	return err
}
