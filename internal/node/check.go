package node

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ModeBits are the bits an Entry's Mode may hold.
const ModeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// CheckPath says what keeps p from being the path of something on a node.
func CheckPath(p string) error {
	switch {
	case !path.IsAbs(p):
		return fmt.Errorf("path %q is not absolute", p)
	case path.Clean(p) != p:
		return fmt.Errorf("path %q is not clean: write %q", p, path.Clean(p))
	case !PlainName(p):
		return fmt.Errorf("path %q is not valid UTF-8 or has a control character in it", p)
	}
	return nil
}

// PlainName says whether s can stand in a report, a log and a line of the
// exchange with a machine without being mistaken for something else.
func PlainName(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// Check says what is wrong with q, all at once.
func (q Query) Check() error {
	var errs []error
	for _, p := range q {
		if err := CheckPath(p.Path); err != nil {
			errs = append(errs, err)
		}
		if p.Depth < Deep {
			errs = append(errs, fmt.Errorf("path %q: depth %d makes no sense", p.Path, p.Depth))
		}
	}
	return errors.Join(errs...)
}

// checkWritten says what is wrong with e as an entry to write.
func (e Entry) checkWritten() []error {
	var errs []error
	if e.Kind == KindFile && len(e.Data) > MaxFileSize {
		errs = append(errs, fmt.Errorf("path %q: %d bytes are more than the %d that can be read back", e.Path, len(e.Data), MaxFileSize))
	}
	if err := e.checkSource(); err != nil {
		errs = append(errs, err)
	}
	if e.Mode&^ModeBits != 0 {
		errs = append(errs, fmt.Errorf("path %q: mode %v has more than permission bits", e.Path, e.Mode))
	}
	if e.UID < 0 || e.GID < 0 {
		errs = append(errs, fmt.Errorf("path %q: owner %d:%d makes no sense", e.Path, e.UID, e.GID))
	}
	return errs
}

// Check says what is wrong with c, all at once.
func (c Change) Check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	role := map[string]string{}
	claim := func(p, as string) {
		if err := CheckPath(p); err != nil {
			errs = append(errs, err)
		} else if p == "/" {
			fail("the root directory itself cannot be changed")
		} else if other, taken := role[p]; taken {
			fail("path %q is to be %s and %s", p, other, as)
		}
		role[p] = as
	}
	for _, e := range c.Write {
		switch e.Kind {
		case KindFile:
			claim(e.Path, "a file")
		case KindDirectory:
			claim(e.Path, "a directory")
		default:
			fail("path %q: kind %q cannot be written", e.Path, e.Kind)
		}
		errs = append(errs, e.checkWritten()...)
	}
	for _, p := range slices.Sorted(maps.Keys(c.Links)) {
		claim(p, "a symbolic link")
		if to := c.Links[p]; to == "" || to[0] == '-' || !PlainName(to) {
			fail("path %q: a symbolic link to %q makes no sense", p, to)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(c.Modes)) {
		claim(p, "given a mode")
		if c.Modes[p]&^ModeBits != 0 {
			fail("path %q: mode %v has more than permission bits", p, c.Modes[p])
		}
	}
	for _, p := range c.Remove {
		claim(p, "removed")
	}
	for _, p := range c.RemoveAll {
		claim(p, "removed with all below it")
	}
	for _, from := range slices.Sorted(maps.Keys(c.Keep)) {
		if err := CheckPath(from); err != nil {
			errs = append(errs, err)
		}
		claim(c.Keep[from], "a copy")
	}
	for p := range role {
		for dir := path.Dir(p); dir != "/" && dir != "."; dir = path.Dir(dir) {
			if as, taken := role[dir]; taken && as != "a directory" {
				fail("path %q lies below %q, which is to be %s", p, dir, as)
			}
		}
	}
	for _, a := range c.Preconditions {
		if err := CheckPath(a.Path); err != nil {
			errs = append(errs, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Kernel)) {
		if err := CheckParameter(name, c.Kernel[name]); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, c.Rest.check()...)
	for _, name := range c.Start {
		if !serviceName.MatchString(name) {
			fail("service %q is not the name of a service", name)
		}
	}
	return errors.Join(errs...)
}

var serviceName = regexp.MustCompile(`^[A-Za-z0-9_@.][A-Za-z0-9_@.-]*$`)

func (r *Rest) check() []error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, name := range r.Services {
		if !serviceName.MatchString(name) {
			errs = append(errs, fmt.Errorf("service %q is not the name of a service", name))
		}
	}
	for _, p := range slices.Concat(r.Programs, r.Mounts) {
		if err := CheckPath(strings.TrimSuffix(p, "/")); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// CheckParameter says what keeps name from being a kernel parameter and value
// from being written to it.
func CheckParameter(name, value string) error {
	for _, part := range strings.Split(name, ".") {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/") != "" ||
			strings.Contains(part, "//") || strings.HasPrefix(part, "/") || strings.HasSuffix(part, "/") {
			return fmt.Errorf("kernel parameter %q is not a name such as vm.overcommit_memory", name)
		}
	}
	if value == "" || !PlainName(strings.ReplaceAll(value, "\t", " ")) {
		return fmt.Errorf("kernel parameter %q: value %q is not one line of text", name, value)
	}
	return nil
}
