package remote

import (
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// nodePath reads a path that a slash was put after, so that spaces at its end
// survive.
func nodePath(s string) string { return path.Clean("/" + strings.TrimSuffix(s, "/")) }

// kinds are the bits of a mode that stat prints and the letters that find does.
var kinds = map[string]node.Kind{"8": node.KindFile, "4": node.KindDirectory, "f": node.KindFile, "d": node.KindDirectory}

// entry reads "CONTENT MODE USER GROUP SIZE PATH/" with the mode as stat prints
// it, the kind in its first digit.
func (p *replyParser) entry(s string) error {
	content, rest, _ := strings.Cut(s, " ")
	mode, rest, _ := strings.Cut(rest, " ")
	bits, err := strconv.ParseUint(mode, 16, 16)
	if err != nil {
		return damaged("entry %q", excerpt(s))
	}
	return p.add(content, strconv.FormatUint(bits>>12, 16), bits, rest)
}

// found reads "CONTENT KIND MODE USER GROUP SIZE PATH/" as find prints it, the
// kind as a letter and the permissions in octal.
func (p *replyParser) found(s string) error {
	content, rest, _ := strings.Cut(s, " ")
	kind, rest, _ := strings.Cut(rest, " ")
	mode, rest, _ := strings.Cut(rest, " ")
	bits, err := strconv.ParseUint(mode, 8, 16)
	if err != nil || len(kind) != 1 || bits > 0o7777 {
		return damaged("entry %q", excerpt(s))
	}
	return p.add(content, kind, bits, rest)
}

// add adds an entry of which "USER GROUP SIZE PATH/" is still to be read.
func (p *replyParser) add(content, kind string, bits uint64, rest string) error {
	f := strings.SplitN(rest, " ", 4)
	if len(f) != 4 {
		return damaged("entry %q", excerpt(rest))
	}
	uid, err1 := strconv.ParseUint(f[0], 10, 31)
	gid, err2 := strconv.ParseUint(f[1], 10, 31)
	size, err3 := strconv.ParseInt(f[2], 10, 64)
	if errors.Join(err1, err2, err3) != nil || size < 0 || !strings.HasSuffix(f[3], "/") {
		return damaged("entry %q", excerpt(rest))
	}
	at := nodePath(f[3])
	if err := p.asked(at); err != nil {
		return err
	}
	e := node.Entry{Path: at, Kind: node.KindOther, UID: int(uid), GID: int(gid), Mode: fs.FileMode(bits & 0o777)}
	for bit, value := range specialBits {
		if bits&uint64(value) != 0 {
			e.Mode |= bit
		}
	}
	if k, known := kinds[kind]; known {
		e.Kind = k
	}
	if e.Kind == node.KindFile {
		e.Size = size
		if content == "1" {
			if !p.job.query.WantsContent(at) {
				return damaged("it is to hold %q, which was not asked for", excerpt(at))
			}
			p.content[at] = true
		}
	}
	p.entries[at] = e
	if len(p.entries) > 2*node.MaxEntries { // some may yet turn out to be none
		return damaged("%w", errTooMany)
	}
	return nil
}
