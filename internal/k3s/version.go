package k3s

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// versionText is a release as K3s's linker flags put it into the binary: the
// linker ends such a string with a NUL byte.
var versionText = regexp.MustCompile(`v\d{1,3}\.\d{1,3}\.\d{1,3}(?:-[0-9A-Za-z.]{1,20})?\+k3s\d{1,3}\x00`)

// ReadVersion finds the release of a K3s binary without running it, so that a
// binary of another architecture will do: from the build information Go keeps
// in a binary, else from the one release tag that its data holds. size is the
// binary's length in bytes. It is an error when the data holds no tag, or
// several different ones.
func ReadVersion(binary io.ReaderAt, size int64) (Release, error) {
	if info, err := buildinfo.Read(binary); err == nil {
		for _, s := range info.Settings {
			if s.Key != "-ldflags" {
				continue
			}
			for word := range strings.FieldsSeq(s.Value) {
				_, text, ok := strings.Cut(strings.Trim(word, `"'`), "/pkg/version.Version=")
				if r, err := ParseRelease(text); ok && err == nil {
					return r, nil
				}
			}
		}
	}
	found, err := scanVersions(io.NewSectionReader(binary, 0, size))
	switch {
	case err != nil:
		return Release{}, fmt.Errorf("reading the K3s binary: %w", err)
	case len(found) == 0:
		return Release{}, errors.New("the binary holds no K3s release, such as v1.36.3+k3s1: it is no K3s release binary")
	case len(found) > 1:
		return Release{}, fmt.Errorf("the binary holds several K3s releases (%s): set k3s_version", strings.Join(found, ", "))
	}
	return ParseRelease(found[0])
}

// scanVersions lists the different release tags in a stream, sorted.
func scanVersions(r io.Reader) ([]string, error) {
	const longest = 64 // more than versionText can match
	var found []string
	buffer := make([]byte, 1<<20)
	kept := 0
	for {
		n, err := io.ReadFull(r, buffer[kept:])
		chunk := buffer[:kept+n]
		if bytes.Contains(chunk, []byte("+k3s")) {
			for _, m := range versionText.FindAll(chunk, -1) {
				if tag := string(m[:len(m)-1]); !slices.Contains(found, tag) {
					found = append(found, tag)
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			slices.Sort(found)
			return found, nil
		case err != nil:
			return nil, err
		}
		kept = copy(buffer, chunk[len(chunk)-longest:])
	}
}
