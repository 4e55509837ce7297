package remote

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// room is what files of the build host need of a file system before any of them is
// sent. Its commands hold nothing that a shell expands once it takes no patterns
// (set -f).
type room struct {
	// name is a command that prints what the user reads.
	name string
	// at are the directory and those above it, the deepest last: what is not there
	// yet will be on the file system of the last one that is.
	at []string
	// sizes are those of the files, in bytes.
	sizes []roomSize
	// apart are commands of which one fails where the file system was asked about
	// already.
	apart []string
}

// roomSize is how many bytes a file needs, unless the command there succeeds.
type roomSize struct {
	there string
	bytes int64
}

// rooms are those of the directories that get files of the build host. What is there
// already needs none, and what may not be looked at counts as there. A path that is
// more than a word for the shell is not asked about: what is full shows when the file
// is put in place.
func (j *job) rooms(there func(source) string) []room {
	var out []room
	for _, s := range j.sources() {
		if !plainPath.MatchString(s.path) {
			continue
		}
		dir := path.Dir(s.path)
		i := slices.IndexFunc(out, func(r room) bool { return r.at[len(r.at)-1] == dir })
		if i < 0 {
			i, out = len(out), append(out, room{name: "echo " + dir, at: lineage(dir)})
		}
		out[i].sizes = append(out[i].sizes, roomSize{there(s), s.Size})
	}
	return shared(out)
}

// shared adds to each of the rooms what the later ones need, where they are on the
// same file system, and asks no second time there.
func shared(rooms []room) []room {
	out := slices.Clone(rooms)
	for i, r := range rooms {
		for _, earlier := range rooms[:i] {
			out[i].apart = append(out[i].apart, r.elsewhere(earlier))
		}
		for _, later := range rooms[i+1:] {
			for _, s := range later.sizes {
				out[i].sizes = append(slices.Clip(out[i].sizes), roomSize{r.elsewhere(later) + " || " + s.there, s.bytes})
			}
		}
	}
	return out
}

// elsewhere returns a command that succeeds where the rooms are on two file systems.
func (r room) elsewhere(other room) string {
	device := func(r room) string { return "stat -L -c %d " + strings.Join(r.at, " ") + " | tail -n 1; " }
	return "! { " + device(r) + device(other) + "} | uniq -d | grep -q ."
}

// lineage is dir below all directories above it, the root first.
func lineage(dir string) []string {
	if dir == "/" {
		return []string{dir}
	}
	return append(lineage(path.Dir(dir)), dir)
}

// refuse returns a command that says what is missing, and then runs no, where the file
// system has too little room. Where that is not known, because the machine lacks a
// tool or the file system does not tell, it shows on the way.
func (r room) refuse(no string) string {
	known := strings.Join(append(slices.Clip(r.apart), r.stat("%b")+" | grep -qvx 0"), " && ")
	free := r.stat("%f") + "; echo *; " + r.stat("%S")
	lacks := "{ " + free + "; " + r.sum("-") + "; } | xargs expr | xargs test 0 -gt"
	said := fmt.Sprintf("{ %s; echo needs; { echo 0; %s; } | xargs expr; echo bytes and has; { %s; } | xargs expr; echo bytes free; } 2>/dev/null | xargs echo >&2", r.name, r.sum("+"), free)
	return fmt.Sprintf("{ %s && %s; } </dev/null 2>/dev/null && { %s; %s; }", known, lacks, said, no)
}

// stat prints a number of the file system.
func (r room) stat(format string) string {
	return "stat -f -c " + format + " " + strings.Join(r.at, " ") + " | tail -n 1"
}

// sum prints the sizes of what is not there, each behind an operator.
func (r room) sum(operator string) string {
	var out []string
	for _, s := range r.sizes {
		out = append(out, fmt.Sprintf("%s || echo %s %d", s.there, operator, s.bytes))
	}
	return strings.Join(out, "; ")
}

// refuseFull returns commands that refuse the request where there is no room for it,
// in own or where its files of the build host are to lie, unless they are there.
func (j *job) refuseFull(there func(source) string, own ...room) string {
	no := "echo k3s-cis " + j.nonce + " cannot room; exit 1"
	out := "set -f; "
	for _, r := range append(own, j.rooms(there)...) {
		out += r.refuse(no) + "; "
	}
	return out
}

// stagingRoom is what the files of the build host that are sent need in the staging
// directory that the shell is in.
func (j *job) stagingRoom() room {
	r := room{name: "(cd ..; pwd)", at: []string{"."}}
	for _, s := range j.sources() {
		r.sizes = append(r.sizes, roomSize{fmt.Sprintf("test -e told.%d", s.number), s.Size})
	}
	return r
}

// source is a file of the build host that a request has.
type source struct {
	*node.Source
	number int
	path   string
}

// sources are those in the order of their numbers, from 1.
func (j *job) sources() []source {
	var out []source
	if j.change == nil {
		return nil
	}
	for _, e := range j.change.Write {
		if e.Source != nil {
			out = append(out, source{e.Source, len(out) + 1, e.Path})
		}
	}
	return out
}

// there is a command that succeeds where the file is there already, or may not be
// looked at. Of a pipe nothing would ever be read.
func (s source) there() string {
	return fmt.Sprintf("{ { test -f %[1]s || ! test -e %[1]s; } && LC_ALL=C sha256sum %[1]s 2>&1 | grep -q -e ^%[2]x -e denied; }", s.path, s.SHA256)
}

// had succeeds where tellHad has found it.
func (s source) had() string { return fmt.Sprintf("test -e had.%d", s.number) }

// tellHad returns commands by which the machine says which files of the build host it
// has already, so that they need not be sent, and keeps that in the staging directory
// that the shell is in: reading them takes a while. A path that is more than a word
// for the shell is not asked about. What an earlier run left, which was cut off, is
// taken back first: then nothing is known of what will be there.
func (j *job) tellHad() string {
	say := "echo k3s-cis " + j.nonce
	out, tell := say+" looks; ", ""
	for _, s := range j.sources() {
		if !plainPath.MatchString(s.path) {
			continue
		}
		out += fmt.Sprintf("test -f %[1]s && stat -L -c %%s %[1]s | grep -qx %[2]d && LC_ALL=C sha256sum %[1]s | grep -q ^%[3]x && true >had.%[4]d; ", s.path, s.Size, s.SHA256, s.number)
		tell += fmt.Sprintf("if %s && true >told.%d; then %s has %[2]d; fi; ", s.had(), s.number, say)
	}
	left := "ls -a"
	for _, base := range stagingBases {
		left += " " + base + "/"
	}
	return "{ " + out + "if " + left + " | grep ^.k3s-cis- | grep -qv " + j.nonce + "; then :; else " + tell + ":; fi; } </dev/null 2>/dev/null; "
}

// uploadRoom is what a request file needs, and what then is unpacked of it beside it
// or elsewhere.
func uploadRoom(file, unpacked int64) []room {
	staging := stagingBases[0]
	apart := fmt.Sprintf("! stat -L -c %%d %s %s | uniq -d | grep -q .", uploadDirectory, staging)
	return []room{
		{name: "echo " + uploadDirectory, at: []string{uploadDirectory}, sizes: []roomSize{{"false", file}, {apart, unpacked}}},
		{name: "echo " + staging, at: lineage(staging), sizes: []roomSize{{"false", unpacked}}},
	}
}
