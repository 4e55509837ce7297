package remote

import (
	"fmt"
	"path"
	"slices"
	"strings"
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
func (j *job) rooms() []room {
	if j.change == nil {
		return nil
	}
	var out []room
	for _, e := range j.change.Write {
		if e.Source == nil || !plainPath.MatchString(e.Path) {
			continue
		}
		dir := path.Dir(e.Path)
		i := slices.IndexFunc(out, func(r room) bool { return r.at[len(r.at)-1] == dir })
		if i < 0 {
			i, out = len(out), append(out, room{name: "echo " + dir, at: lineage(dir)})
		}
		there := fmt.Sprintf("LC_ALL=C sha256sum %s 2>&1 | grep -q -e ^%x -e denied", e.Path, e.Source.SHA256)
		out[i].sizes = append(out[i].sizes, roomSize{there, e.Source.Size})
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
// in own or where its files of the build host are to lie.
func (j *job) refuseFull(own ...room) string {
	no := "echo k3s-cis " + j.nonce + " cannot room; exit 1"
	out := "set -f; "
	for _, r := range append(own, j.rooms()...) {
		out += r.refuse(no) + "; "
	}
	return out
}

// stagingRoom is what files with bytes in all need in the staging directory that the
// shell is in.
func stagingRoom(bytes int64) room {
	return room{name: "(cd ..; pwd)", at: []string{"."}, sizes: []roomSize{{"false", bytes}}}
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
