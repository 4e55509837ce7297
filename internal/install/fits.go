package install

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// loaders start programs of an architecture on Linux, with glibc and with musl:
// a system that has those of one alone is of that architecture.
var loaders = map[string][]string{
	"amd64":   {"/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"},
	"arm64":   {"/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1"},
	"arm":     {"/lib/ld-linux-armhf.so.3", "/lib/ld-musl-armhf.so.1", "/lib/ld-musl-armv7.so.1"},
	"s390x":   {"/lib/ld64.so.1", "/lib/ld-musl-s390x.so.1"},
	"riscv64": {"/lib/ld-linux-riscv64-lp64d.so.1", "/lib/ld-musl-riscv64.so.1"},
}

// wider are the architectures whose kernels run programs of another: a system of
// the latter may have either kernel.
var wider = map[string]string{"arm": "arm64", "386": "amd64"}

// LoaderQuery is what Architecture wants to know of a node.
func LoaderQuery() node.Query {
	var q node.Query
	for _, name := range slices.Sorted(maps.Keys(loaders)) {
		for _, p := range loaders[name] {
			q = append(q, node.Pick{Path: p})
		}
	}
	return q
}

// Architecture is what the programs of a node are for, as Go names it; "" where its
// loaders do not say one.
func Architecture(have *node.Node) string {
	if found := architecturesOf(have); len(found) == 1 {
		return found[0]
	}
	return ""
}

func architecturesOf(have *node.Node) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(loaders)) {
		if slices.ContainsFunc(loaders[name], func(p string) bool {
			_, presence := have.Lookup(p)
			return presence == node.Present
		}) {
			found = append(found, name)
		}
	}
	return found
}

// fits refuses a binary that cannot run on the node.
func (o Options) fits(have *node.Node) error {
	found := []string{o.Architecture}
	if o.Architecture == "" {
		found = architecturesOf(have)
	}
	runs := func(name string) bool {
		return name == o.Binary.Architecture || wider[name] == o.Binary.Architecture
	}
	if len(found) == 0 || slices.ContainsFunc(found, runs) {
		return nil
	}
	return fmt.Errorf("install.binary: it is for %s, and the node's programs are for %s: take the K3s of that architecture", o.Binary.Architecture, strings.Join(found, ", "))
}

// ImagesFit refuses archives whose images are for other architectures than the binary.
func (o Options) ImagesFit() error {
	var errs []error
	for i, a := range o.Images {
		for _, image := range a.Images {
			runs := slices.ContainsFunc(image.Architectures, func(name string) bool { return name == "" || name == o.Binary.Architecture })
			if !runs {
				errs = append(errs, fmt.Errorf("install.airgap_images[%d]: %s is for %s, and the binary is for %s: take the archive of that architecture", i, image.Name, strings.Join(image.Architectures, ", "), o.Binary.Architecture))
				break // one image of an archive shows it
			}
		}
	}
	return errors.Join(errs...)
}
