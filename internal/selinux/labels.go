package selinux

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// File is a file that is to be labelled.
type File struct {
	// Path is absolute inside the root file system, clean, and leads through
	// no symbolic link: labels belong to where a file really is.
	Path string
	// Kind is the file's kind as ls -l shows it: - for a regular file, d for a
	// directory, l, b, c, p, s.
	Kind byte
}

// Labels returns the label of each file, such as
// system_u:object_r:etc_t:s0; empty where the policy says nothing or that the
// label is nobody's business. The error names the line whose expression could
// match a file but cannot be read.
func (p *Policy) Labels(files []File) ([]string, error) {
	labels := make([]string, len(files))
	open := make([]int, len(files))
	names := make([]string, len(files))
	for i, f := range files {
		open[i], names[i] = i, p.substitute(f.Path)
	}
	for _, s := range p.specs {
		var matches *regexp.Regexp
		begin := literal(s.pattern)
		left := open[:0]
		for _, i := range open {
			if s.kind != 0 && s.kind != files[i].Kind || !strings.HasPrefix(names[i], begin) {
				left = append(left, i)
				continue
			}
			if matches == nil {
				var err error
				// A dot is any character, as it is to libselinux.
				if matches, err = regexp.Compile("(?s)^" + s.pattern + "$"); err != nil {
					return nil, fmt.Errorf("%s: %q cannot be compared with %s: %w", s.where, s.pattern, files[i].Path, err)
				}
			}
			if !matches.MatchString(names[i]) {
				left = append(left, i)
				continue
			}
			labels[i] = s.label
		}
		if open = left; len(open) == 0 {
			break
		}
	}
	return labels, nil
}

// literal is what every path that pattern matches begins with; it may be
// shorter than it could be.
func literal(pattern string) string {
	if strings.Contains(pattern, "|") {
		return ""
	}
	end := strings.IndexAny(pattern, `.^$?*+[({\`)
	if end < 0 {
		return pattern
	}
	if strings.IndexByte("?*{", pattern[end]) >= 0 {
		// The character before it need not be there.
		_, size := utf8.DecodeLastRuneInString(pattern[:end])
		end -= size
	}
	return pattern[:end]
}

// substitute is the path by which the policy knows the file at name.
func (p *Policy) substitute(name string) string {
	return applied(applied(name, p.local), p.distribution)
}

// applied replaces the longest directory of name that is listed.
func applied(name string, list []substitution) string {
	best := substitution{}
	for _, s := range list {
		if (name == s.from || strings.HasPrefix(name, s.from+"/")) && len(s.from) > len(best.from) {
			best = s
		}
	}
	if best.from == "" {
		return name
	}
	if name = best.to + name[len(best.from):]; name == "" {
		return "/"
	}
	return name
}
