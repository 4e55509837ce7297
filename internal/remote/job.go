package remote

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// scripts run on the machine. They are the same for every request; what differs
// is in settings and plan.sh, which are generated.
//
//go:embed scripts/*.sh
var scripts embed.FS

// functionScripts hold the worker's functions, which travel as one file.
var functionScripts = []string{"lib.sh", "stage.sh", "trees.sh", "rest.sh", "commit.sh", "machine.sh", "look.sh", "program.sh", "send.sh"}

// job is one request to a machine.
type job struct {
	nonce  string
	change *node.Change // nil when the request only reads
	query  node.Query
	opt    Options
	// program is run in the place of all else; nil for none.
	program *Program
	// until is when the answer has to be there, whatever way the request takes.
	until time.Time

	dirs    []jobDir
	dirAt   map[string]int
	payload []jobFile
	serial  int // files and removals are numbered through
}

// jobDir is a directory that the request has to do with.
type jobDir struct {
	node.Entry
	need int // 0 for one that need not be there, 1 for a parent, 2 with mode and owner
}

// jobFile is one member of the archive.
type jobFile struct {
	name     string
	mode     fs.FileMode
	uid, gid int
	data     []byte
	source   *node.Source // in the place of data
	dir      bool
}

func (f jobFile) size() int64 {
	if f.source != nil {
		return f.source.Size
	}
	return int64(len(f.data))
}

func newJob(c *node.Change, q node.Query, opt Options) *job {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	j := &job{nonce: hex.EncodeToString(raw[:]), change: c, query: q, opt: opt, dirAt: map[string]int{}}
	j.until = time.Now().Add(opt.Timeout + patience(opt.Timeout) + j.sending())
	return j
}

// slowest is the speed at which files of the build host travel at least, in bytes a
// second.
const slowest = 256 << 10

// sending is how long files of the build host may be on their way, beside the
// timeout.
func (j *job) sending() time.Duration {
	if j.change == nil {
		return 0
	}
	size := int64(0)
	for _, e := range j.change.Write {
		if e.Source != nil {
			size += e.Source.Size
		}
	}
	return time.Duration(size/slowest) * time.Second
}

// limit is ctx until the answer has to be there, with the reason.
func (j *job) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithDeadlineCause(ctx, j.until,
		fmt.Errorf("the command did not end within %s, and was given up after %s", j.opt.Timeout+j.sending(), j.opt.Timeout+patience(j.opt.Timeout)+j.sending()))
}

// members returns what the archive holds, the file "end" last: when that has
// arrived, all of it has.
func (j *job) members() []jobFile {
	mode := "read"
	if j.change != nil {
		mode = "apply"
	}
	if j.program != nil {
		mode = "run"
	}
	plan := j.plan()
	durable := "yes"
	if j.opt.Container || j.program != nil {
		durable = "no" // an image is made of it while it is still there, or it is gone then
	}
	settings := fmt.Sprintf("nonce=%s\nstop=%s\nmode=%s\ndurable=%s\nseconds=%d\nmax_size=%d\nmax_total=%d\nmax_entries=%d\nmax_depth=%d\n",
		j.nonce, stopFile(j), mode, durable, max(1, int(j.opt.Timeout/time.Second)), node.MaxFileSize, node.MaxTotalSize, node.MaxEntries, node.MaxDepth)
	list := []jobFile{
		{name: "guard.sh", mode: 0o600, data: scriptText("guard.sh")},
		{name: "worker.sh", mode: 0o600, data: scriptText("worker.sh")},
		{name: "functions.sh", mode: 0o600, data: scriptText(functionScripts...)},
		{name: "settings", mode: 0o600, data: []byte(settings)},
		{name: "plan.sh", mode: 0o600, data: []byte(plan)},
		{name: "w", mode: 0o700, dir: true},
	}
	list = append(append(list, j.payload...), j.programFiles()...)
	return append(list, jobFile{name: "end", mode: 0o600, data: []byte(j.nonce + "\n")})
}

// scriptText returns scripts as they stand on the disk, one behind the other.
func scriptText(names ...string) []byte {
	var out []byte
	for _, name := range names {
		text, err := scripts.ReadFile("scripts/" + name)
		if err != nil {
			panic(err) // the scripts are a part of the plugin
		}
		out = append(out, text...)
	}
	return out
}

// piece is where a member's bytes lie in the archive, for machines that have
// no tar.
type piece struct {
	jobFile
	offset int64
}

// archive returns the request as a tar archive.
func (j *job) archive() (body, []piece, error) {
	var all body
	var buf bytes.Buffer
	var pieces []piece
	w := tar.NewWriter(&buf)
	now := time.Now().Truncate(time.Second)
	number := 0
	for _, m := range j.members() {
		if m.source != nil {
			// Apart, so that the machine need not get it.
			if err := w.Flush(); err != nil {
				return nil, nil, fmt.Errorf("packing %s: %w", m.name, err)
			}
			all, number = append(all, part{data: bytes.Clone(buf.Bytes())}), number+1
			buf.Reset()
		}
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: m.name, Size: m.size(), Mode: int64(unixMode(m.mode)),
			Uid: m.uid, Gid: m.gid, ModTime: now, Format: tar.FormatGNU,
		}
		if m.dir {
			h.Typeflag, h.Name = tar.TypeDir, m.name+"/"
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, nil, fmt.Errorf("packing %s: %w", m.name, err)
		}
		pieces = append(pieces, piece{m, all.size() + int64(buf.Len())})
		if m.source != nil {
			filling := make([]byte, (tarBlock-m.source.Size%tarBlock)%tarBlock)
			all = append(all, part{data: bytes.Clone(buf.Bytes()), member: number}, part{source: m.source, member: number}, part{data: filling, member: number})
			buf.Reset()
			// The writer would wait for the bytes that go past it.
			w = tar.NewWriter(&buf)
			continue
		}
		if _, err := w.Write(m.data); err != nil {
			return nil, nil, fmt.Errorf("packing %s: %w", m.name, err)
		}
	}
	err := w.Close()
	return append(all, part{data: buf.Bytes()}), pieces, err
}

// tarBlock is what the members of an archive are filled up to, in bytes.
const tarBlock = 512

// plan returns plan.sh: the request as shell functions that call the function
// named by their argument once for each thing. See scripts/lib.sh for what the
// columns mean.
func (j *job) plan() string {
	var dirs, files, sources, links, modes, removes, trees, keeps strings.Builder
	c := j.change
	if c == nil {
		c = &node.Change{}
	}
	j.layDirs(c)
	for i, d := range j.dirs {
		call(&dirs, strconv.Itoa(i), strconv.Itoa(d.need), fmt.Sprintf("%o", unixMode(d.Mode)), fmt.Sprintf("%d:%d", d.UID, d.GID),
			quote(d.Path), quote(quote(d.Path)), quote(statLine(d.Kind, d.Mode, d.UID, d.GID)),
			strconv.Itoa(j.dirAt[path.Dir(d.Path)]), quote(quote(path.Base(d.Path))))
	}
	number := map[string]int{}
	for _, e := range c.Write {
		if e.Kind != node.KindFile {
			continue
		}
		d, base := j.dirAt[path.Dir(e.Path)], path.Base(e.Path)
		name := "w" + e.Path
		j.payload = append(j.payload, jobFile{name: name, mode: e.Mode, uid: e.UID, gid: e.GID, data: e.Data, source: e.Source})
		sum := sha256.Sum256(e.Data)
		if e.Source != nil {
			sum = e.Source.SHA256
			call(&sources, quote(name), quote(e.Path), hex.EncodeToString(sum[:]), fmt.Sprintf("%o", unixMode(e.Mode)),
				fmt.Sprintf("%d:%d", e.UID, e.GID), quote(statLine(node.KindFile, e.Mode, e.UID, e.GID)))
		}
		number[e.Path] = j.next()
		call(&files, strconv.Itoa(number[e.Path]), strconv.Itoa(d), quote(base), quote(e.Path), quote(quote(e.Path)),
			quote(statLine(node.KindFile, e.Mode, e.UID, e.GID)), hex.EncodeToString(sum[:]), quote(quote(name)), quote(quote(base)))
	}
	for _, p := range slices.Sorted(maps.Keys(c.Links)) {
		call(&links, quote(p), quote(quote(p)), quote(c.Links[p]))
	}
	for _, p := range slices.Sorted(maps.Keys(c.Modes)) {
		call(&modes, fmt.Sprintf("%o", unixMode(c.Modes[p])), quote(p), quote(quote(p)))
	}
	for _, p := range c.Remove {
		number[p] = j.next()
		call(&removes, strconv.Itoa(number[p]), strconv.Itoa(j.dirAt[path.Dir(p)]), quote(path.Base(p)), quote(p), quote(quote(p)))
	}
	for _, p := range c.RemoveAll {
		call(&trees, quote(p))
	}
	for _, from := range slices.Sorted(maps.Keys(c.Keep)) {
		to := c.Keep[from]
		if n, ok := number[from]; ok {
			call(&keeps, strconv.Itoa(j.dirAt[path.Dir(to)]), quote(path.Base(to)), quote(to), quote(quote(to)),
				strconv.Itoa(n), quote(from), quote(quote(path.Base(to))))
		}
	}
	var out strings.Builder
	function(&out, "all_dirs", dirs.String())
	function(&out, "all_files", files.String())
	function(&out, "all_sources", sources.String())
	function(&out, "all_links", links.String())
	function(&out, "all_modes", modes.String())
	function(&out, "all_removes", removes.String())
	function(&out, "all_trees", trees.String())
	function(&out, "all_keeps", keeps.String())
	planServices(&out, c)
	j.planPreconditions(&out, c)
	j.planKernel(&out, c)
	j.planPicks(&out)
	return out.String()
}

// planServices writes what must be at rest, and what is started at the end.
func planServices(out *strings.Builder, c *node.Change) {
	rest := c.Rest
	asked, stop := "yes", "no"
	if rest == nil {
		rest, asked = &node.Rest{}, "no"
	}
	if rest.Stop {
		stop = "yes"
	}
	fmt.Fprintf(out, "rest_asked=%s rest_stop=%s rest_advice=%s\n", asked, stop, quote(rest.Advice))
	var services, starts strings.Builder
	for _, name := range rest.Services {
		call(&services, quote(name))
	}
	for _, name := range c.Start {
		call(&starts, quote(name))
	}
	function(out, "rest_services", services.String())
	function(out, "starts", starts.String())
	oneOf(out, "rest_program", rest.Programs, "")
	oneOf(out, "rest_mount", rest.Mounts, "*")
}

// oneOf writes a function that says whether its argument is one of patterns, in
// which * stands for any characters, with end after it.
func oneOf(out *strings.Builder, name string, patterns []string, end string) {
	fmt.Fprintf(out, "%s() {\n\tcase $1 in\n", name)
	for _, p := range patterns {
		parts := strings.Split(p, "*")
		for i := range parts {
			parts[i] = quote(parts[i])
		}
		fmt.Fprintf(out, "\t%s%s) return 0 ;;\n", strings.Join(parts, "*"), end)
	}
	out.WriteString("\tesac\n\treturn 1\n}\n")
}

// layDirs numbers every directory that c has to do with, parents first, and
// puts those that may have to be made into the archive, as they are to be.
func (j *job) layDirs(c *node.Change) {
	need := map[string]jobDir{}
	above := func(p string, n int) {
		for dir := path.Dir(p); ; dir = path.Dir(dir) {
			if d, ok := need[dir]; !ok || d.need < n {
				need[dir] = jobDir{node.Entry{Path: dir, Kind: node.KindDirectory, Mode: 0o755}, n}
			}
			if dir == "/" {
				return
			}
		}
	}
	for _, p := range slices.Concat(c.Remove, c.RemoveAll) {
		above(p, 0)
	}
	for _, e := range c.Write {
		above(e.Path, 1)
	}
	for p := range c.Links {
		above(p, 1)
	}
	for _, from := range slices.Sorted(maps.Keys(c.Keep)) {
		// The parent of a copy is made only when the copy is.
		above(c.Keep[from], 0)
	}
	for _, e := range c.Write {
		if e.Kind == node.KindDirectory {
			need[e.Path] = jobDir{e, 2}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(need)) {
		d := need[p]
		j.dirAt[p] = len(j.dirs)
		if d.need > 0 && p != "/" {
			j.payload = append(j.payload, jobFile{name: "w" + p, mode: d.Mode, uid: d.UID, gid: d.GID, dir: true})
		}
		j.dirs = append(j.dirs, d)
	}
}

func (j *job) planPreconditions(out *strings.Builder, c *node.Change) {
	var exact, children strings.Builder
	named := map[string][]string{}
	for _, a := range c.Preconditions {
		if a.Children {
			continue
		}
		sums := slices.Clone(a.Either)
		for i, s := range sums {
			if s == "" {
				sums[i] = "-"
			}
		}
		call(&exact, quote(a.Path), quote(quote(a.Path)), quote(strings.Join(sums, "|")))
		named[path.Dir(a.Path)] = append(named[path.Dir(a.Path)], quote(a.Path))
	}
	for _, a := range c.Preconditions {
		if !a.Children || len(a.Suffixes) == 0 {
			continue
		}
		dir := quote(strings.TrimSuffix(a.Path, "/"))
		fmt.Fprintf(&children, "for f in %s/* %s/.[!.]* %s/..?*; do case $f in\n", dir, dir, dir)
		if known := named[a.Path]; len(known) > 0 {
			fmt.Fprintf(&children, "%s) ;;\n", strings.Join(known, "|"))
		}
		var ends []string
		for _, s := range a.Suffixes {
			ends = append(ends, "*"+quote(s))
		}
		fmt.Fprintf(&children, "%s) [ -f \"$f\" ] && holds=0 ;;\nesac; done\n", strings.Join(ends, "|"))
	}
	function(out, "assumed", exact.String())
	function(out, "assumed_children", children.String())
}

func (j *job) planKernel(out *strings.Builder, c *node.Change) {
	var set, read strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.Kernel)) {
		call(&set, quote(name), quote(parameterPath(name)), quote(c.Kernel[name]))
	}
	names := slices.Clone(j.opt.KernelRead)
	sort.Strings(names)
	for _, name := range slices.Compact(names) {
		if node.CheckParameter(name, "1") == nil {
			call(&read, quote(name), quote(parameterPath(name)))
		}
	}
	function(out, "kernel_set", set.String())
	function(out, "kernel_read", read.String())
	ask := "no"
	if j.opt.K3sVersion {
		ask = "yes"
	}
	fmt.Fprintf(out, "ask_k3s=%s\n", ask)
}

func (j *job) planPicks(out *strings.Builder) {
	var picks, walks strings.Builder
	seen := map[string]bool{}
	for i, p := range j.query {
		if answered(j.query, i) {
			continue // a walk more is processes more
		}
		depth, content := "deep", "0"
		if p.Depth != node.Deep {
			depth = strconv.Itoa(p.Depth)
		}
		if p.Content {
			content = "1"
		}
		call(&picks, depth, content, quote(p.Path), quote(quote(p.Path)))
		if depth == "1" {
			content = "x"
		}
		if key := depth + " " + content; p.Depth != 0 && !seen[key] {
			seen[key] = true
			call(&walks, depth, content)
		}
	}
	function(out, "picks", picks.String())
	function(out, "walks", walks.String())
}

// answered says whether another pick brings all that pick number i asks for;
// of equal ones the first stays.
func answered(q node.Query, i int) bool {
	for k, other := range q {
		if k == i || other.Path != q[i].Path || q[i].Content && !other.Content {
			continue
		}
		deeper := other.Depth == node.Deep || q[i].Depth != node.Deep && other.Depth >= q[i].Depth
		if deeper && (other != q[i] || k < i) {
			return true
		}
	}
	return false
}

func (j *job) next() int {
	j.serial++
	return j.serial
}

// call writes one call of the function that "$1" names; the arguments are
// shell words already.
func call(b *strings.Builder, words ...string) {
	fmt.Fprintf(b, "\"$1\" %s\n", strings.Join(words, " "))
}

func function(b *strings.Builder, name, body string) {
	fmt.Fprintf(b, "%s() {\n%s:\n}\n", name, body)
}

// quote makes s one shell word.
func quote(s string) string { return Quote(s) }

// Quote makes one shell word of s.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// specialBits are the bits of chmod that fs.FileMode has elsewhere.
var specialBits = map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000}

// unixMode is the numeric mode of chmod.
func unixMode(m fs.FileMode) uint32 {
	n := uint32(m.Perm())
	for bit, value := range specialBits {
		if m&bit != 0 {
			n |= value
		}
	}
	return n
}

// statLine is what stat -c '%f %u %g' prints.
func statLine(k node.Kind, m fs.FileMode, uid, gid int) string {
	kind := uint32(0o100000)
	if k == node.KindDirectory {
		kind = 0o040000
	}
	return fmt.Sprintf("%x %d %d", kind|unixMode(m), uid, gid)
}

// parameterPath is where /proc/sys has a kernel parameter. A slash in a name
// stands for a dot in a directory's name, such as that of a VLAN interface.
func parameterPath(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}
