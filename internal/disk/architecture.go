package disk

import (
	"debug/elf"
	"errors"
	"fmt"

	securejoin "github.com/cyphar/filepath-securejoin"
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
		host, err := securejoin.SecureJoin(dir, program)
		if err != nil {
			continue
		}
		f, err := elf.Open(host)
		if err != nil {
			continue // missing, or a script
		}
		machine := f.Machine
		_ = f.Close()
		if name, ok := machines[machine]; ok {
			return name, nil
		}
		return "", fmt.Errorf("%s is for %s, which K3s does not run on", program, machine)
	}
	return "", ErrNoProgram
}
