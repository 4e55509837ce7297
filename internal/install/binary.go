package install

import (
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"io"
	"os"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// ReadFile computes the digest of the file at path.
func ReadFile(path string) (node.Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return node.Source{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return node.Source{}, err
	}
	if !info.Mode().IsRegular() {
		return node.Source{}, fmt.Errorf("%s is not a regular file", path)
	}
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return node.Source{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return node.Source{Path: path, Size: size, SHA256: [sha256.Size]byte(sum.Sum(nil))}, nil
}

// Binary is K3s itself.
type Binary struct {
	node.Source
	Release k3s.Release
	// Architecture is what it runs on, as Go names it.
	Architecture string
}

// architectures are those that K3s is built for.
var architectures = map[elf.Machine]string{
	elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_ARM: "arm", elf.EM_S390: "s390x", elf.EM_RISCV: "riscv64",
}

// ReadBinary reads of a K3s binary what it is, without running it.
func ReadBinary(path string) (Binary, error) {
	file, err := ReadFile(path)
	if err != nil {
		return Binary{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return Binary{}, err
	}
	defer f.Close()
	// Its table of sections stands at the very end, so that a part of one is none.
	program, err := elf.NewFile(f)
	if err != nil {
		return Binary{}, fmt.Errorf("%s is no program that Linux runs (%w): take the file k3s, or k3s-arm64, of a release of K3s", path, err)
	}
	architecture, known := architectures[program.Machine]
	if !known {
		return Binary{}, fmt.Errorf("%s is for %s, which K3s is not built for", path, program.Machine)
	}
	release, err := k3s.ReadVersion(f, file.Size)
	if err != nil {
		return Binary{}, fmt.Errorf("%s: %w", path, err)
	}
	return Binary{Source: file, Release: release, Architecture: architecture}, nil
}
