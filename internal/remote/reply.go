package remote

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Limits of one answer. A machine may send whatever it likes.
const (
	// maxReply bounds everything that one command prints, in bytes: the content,
	// and room for names.
	maxReply = node.MaxTotalSize + 64<<20
	// maxLine bounds one line of an answer, in bytes: a path of every length that
	// the kernel opens, and more.
	maxLine = 64 << 10
	// maxLines bounds the lines of one answer, as the machine does itself.
	maxLines = 4 * node.MaxEntries
	// maxText bounds the bytes of all these lines.
	maxText = 32 << 20
	// maxNoise bounds what comes before an answer, in bytes: greetings, warnings.
	maxNoise = 8 << 20
	// maxErrors is how many of a machine's errors are repeated.
	maxErrors = 20
)

// reply is what came back from a machine.
type reply struct {
	node      *node.Node
	changed   []string
	kernelSet []string
	stale     bool
	recovered bool
	// said is what a program printed.
	said []byte
}

// refusal is what a machine says that could not even begin: which part of the
// way to it does not work.
type refusal string

func (r refusal) Error() string { return "the machine cannot take the request: " + string(r) }

var (
	// errSilent is an answer without a signature in it.
	errSilent = errors.New("no answer came back")
	// errDamaged is an answer that no machine gives which runs the request. What
	// else it has to say need not be waited for.
	errDamaged = errors.New("the answer of the machine is damaged")
)

// damaged says what is wrong with an answer.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errDamaged}, args...)...)
}

// excerpt is the beginning of what a machine said, for an error.
func excerpt(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// parseReply reads the answer to j while it comes in, which may have other
// output before and after it. Anything but a whole, signed and consistent answer
// is an error. ready hears what the machine says of standard input, as soon as
// it says so.
func parseReply(out io.Reader, j *job, ready chan<- readiness) (*reply, error) {
	sign := "k3s-cis " + j.nonce + " "
	in := bufio.NewReaderSize(out, maxLine)
	encoding, err := findReply(in, sign, ready)
	if err != nil {
		return nil, err
	}
	if encoding == "raw" {
		return newReplyParser(in, sign, j).parse()
	}
	return parseCoded(in, encoding, sign, j)
}

// longestSign is more than the lines have bytes that count before an answer.
const longestSign = 200

// findReply reads up to the line that begins the answer, and returns how that is
// encoded. Without one, the error says what else the machine had to say.
func findReply(in *bufio.Reader, sign string, ready chan<- readiness) (encoding string, err error) {
	said, noise := errSilent, 0
	var has []int
	hear := func(how readiness) {
		select {
		case ready <- how:
		default: // nobody listens, or it was heard already
		}
	}
	for {
		line, length, err := lastOfLine(in)
		if err != nil {
			return "", said
		}
		if noise += length; noise > maxNoise {
			return "", damaged("more than %d MiB came before it", maxNoise>>20)
		}
		i := bytes.LastIndex(line, []byte(sign))
		if i < 0 {
			continue
		}
		words := strings.Fields(string(line[i+len(sign):]))
		switch {
		case len(words) == 0:
		case words[0] == "ready":
			hear(readiness{takes: true, has: has})
		case words[0] == "looks":
			hear(readiness{looks: true})
		case words[0] == "has" && len(words) == 2:
			if n, err := strconv.Atoi(words[1]); err == nil && len(has) < maxErrors*10 {
				has = append(has, n)
			}
		case words[0] == "begin" && len(words) == 2:
			return words[1], nil
		case words[0] == "cannot":
			hear(readiness{})
			if errors.Is(said, errSilent) {
				said = refusal(excerpt(strings.Join(words[1:], " ")))
			}
		case words[0] == "died":
			said = errors.New("the command was killed on the machine; what it had changed was put back")
		case words[0] == "kept" && len(words) == 2:
			said = fmt.Errorf("the command was killed on the machine, and what was there before could not be put back: the originals are in %s and in directories named %s* beside what was replaced", excerpt(words[1]), node.StagingPrefix)
		}
	}
}

// lastOfLine reads a line and returns the end of it, which is all of it unless it
// is very long, and its length.
func lastOfLine(in *bufio.Reader) (end []byte, length int, err error) {
	for length <= maxNoise {
		var part []byte
		part, err = in.ReadSlice('\n')
		length += len(part)
		end = append(end, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return end, length, err
		}
		end = bytes.Clone(end[len(end)-longestSign:])
	}
	return end, length, nil
}

var errCut = errors.New("the answer of the machine was cut off")

type replyParser struct {
	in      *bufio.Reader
	sign    string
	job     *job
	lines   int
	text    int // bytes of these lines
	entries map[string]node.Entry
	content map[string]bool // paths whose bytes were asked for
	dropped map[string]bool // those of them that no report could show
	machine bool
	kernel  map[string]string
	k3s     string
	mounts  []string
	reply   reply
	errs    []error
	failed  int                  // how many errors there were
	links   map[string]string    // path → target
	dead    map[string]string    // path → link above it that leads nowhere
	seen    map[string]string    // path of a link → what find saw behind it
	twins   map[node.Pick]string // directory as it was picked → the same one, which is listed so
	same    map[string]string    // file of a twin → the same one, whose bytes are sent
	odd     map[string]bool
	changes map[string]bool // what the request can change
	// behind is the path that the next link explains, link the last one named.
	behind, link string
	total        int64
}

func newReplyParser(in *bufio.Reader, sign string, j *job) *replyParser {
	return &replyParser{
		in: in, sign: sign, job: j, changes: j.changes(),
		entries: map[string]node.Entry{}, content: map[string]bool{}, dropped: map[string]bool{}, kernel: map[string]string{},
		links: map[string]string{}, dead: map[string]string{}, seen: map[string]string{}, twins: map[node.Pick]string{}, same: map[string]string{}, odd: map[string]bool{},
	}
}

func (p *replyParser) parse() (*reply, error) {
	how, err := p.report()
	if err != nil {
		return nil, err
	}
	files := 0
	if p.failed == 0 {
		if err := p.finishEntries(); err != nil {
			return nil, err
		}
	}
	switch how {
	case "none":
	case "tar":
		files, err = p.archives()
	case "plain":
		files, err = p.plain()
	default:
		err = damaged("content %q", excerpt(how))
	}
	if err != nil {
		return nil, err
	}
	return p.end(files)
}

// line reads one line, without its end.
func (p *replyParser) line() (string, error) {
	line, err := p.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", damaged("a line is longer than %d KiB: %q", maxLine>>10, excerpt(string(line)))
	case err != nil:
		return "", errCut
	}
	return string(line[:len(line)-1]), nil
}

// report reads the lines up to the content.
func (p *replyParser) report() (string, error) {
	for {
		line, err := p.line()
		if err != nil {
			return "", err
		}
		if how, ok := strings.CutPrefix(line, p.sign+"content "); ok {
			return how, nil
		}
		p.lines++
		if p.text += len(line); p.lines > maxLines || p.text > maxText {
			return "", damaged("more than %d lines or %d MiB of them", maxLines, maxText>>20)
		}
		kind, rest, _ := strings.Cut(line, " ")
		read, known := replyLines[kind]
		if !known {
			return "", damaged("line %q", excerpt(line))
		}
		if err := read(p, rest); err != nil {
			return "", err
		}
	}
}

// replyLines read what stands behind the first word of a line.
var replyLines = map[string]func(p *replyParser, rest string) error{
	"e":   (*replyParser).entry,
	"p":   (*replyParser).found,
	"d":   (*replyParser).explained,
	"s":   (*replyParser).explained,
	"l":   func(p *replyParser, rest string) error { p.link = nodePath(rest); return nil },
	"t":   (*replyParser).target,
	"y":   (*replyParser).sawLink,
	"a":   (*replyParser).twin,
	"odd": (*replyParser).oddName,
	"unlisted": func(_ *replyParser, rest string) error {
		return fmt.Errorf("a directory could not be read: %s", excerpt(strings.TrimSuffix(rest, "/")))
	},
	"changed":   (*replyParser).changed,
	"set":       (*replyParser).set,
	"stale":     func(p *replyParser, _ string) error { p.reply.stale = true; return nil },
	"recovered": func(p *replyParser, _ string) error { p.reply.recovered = true; return nil },
	"machine":   func(p *replyParser, _ string) error { p.machine = true; return nil },
	"kernel":    (*replyParser).parameter,
	"k3s":       func(p *replyParser, rest string) error { p.k3s = rest; return nil },
	"mount":     (*replyParser).mount,
	"error":     (*replyParser).failure,
	"x":         (*replyParser).printed,
}

// maxMountPoints is how many mount points an answer may name.
const maxMountPoints = 20_000

// mount reads where something is mounted.
func (p *replyParser) mount(rest string) error {
	if len(p.mounts) >= maxMountPoints {
		return fmt.Errorf("more than %d file systems are mounted", maxMountPoints)
	}
	p.mounts = append(p.mounts, path.Clean(unescapeMount(rest)))
	return nil
}

// explained reads the path that the next line says something about.
func (p *replyParser) explained(rest string) error {
	p.behind = nodePath(rest)
	return p.asked(p.behind)
}

// target reads where the last link leads, or the one that a path lies behind.
func (p *replyParser) target(rest string) error {
	target := strings.TrimSuffix(rest, "/")
	if p.behind == "" {
		p.links[p.link] = target
		return p.asked(p.link)
	}
	if !node.Within(p.link, p.behind) {
		return damaged("%q is no part of %q", excerpt(p.link), excerpt(p.behind))
	}
	p.dead[p.behind], p.links[p.behind] = p.link, target
	p.behind = ""
	return nil
}

func (p *replyParser) oddName(rest string) error {
	dir := nodePath(rest)
	p.odd[dir] = true
	return p.asked(dir)
}

func (p *replyParser) changed(rest string) error {
	if !p.changes[rest] {
		return damaged("%q changed, which was not asked for", excerpt(rest))
	}
	p.reply.changed = append(p.reply.changed, rest)
	return nil
}

func (p *replyParser) set(name string) error {
	if p.job.change == nil || p.job.change.Kernel[name] == "" {
		return damaged("kernel parameter %q was set, which was not asked for", excerpt(name))
	}
	p.reply.kernelSet = append(p.reply.kernelSet, name)
	return nil
}

func (p *replyParser) parameter(rest string) error {
	name, value, _ := strings.Cut(rest, " ")
	if !slices.Contains(p.job.opt.KernelRead, name) {
		return damaged("it holds kernel parameter %q, which was not asked for", excerpt(name))
	}
	p.kernel[name] = value
	return nil
}

func (p *replyParser) failure(text string) error {
	if p.failed++; p.failed <= maxErrors {
		p.errs = append(p.errs, errors.New(text))
	}
	return nil
}

// asked refuses what is neither a path of the query nor one that it covers.
func (p *replyParser) asked(at string) error {
	if !p.job.query.Covers(at) {
		return damaged("it holds %q, which was not asked for", excerpt(at))
	}
	return nil
}

// changes are the paths that j may change.
func (j *job) changes() map[string]bool {
	all := map[string]bool{}
	if j.change == nil {
		return all
	}
	add := func(p string) {
		for ; !all[p]; p = path.Dir(p) {
			all[p] = true
		}
	}
	for _, e := range j.change.Write {
		add(e.Path)
	}
	for _, p := range slices.Concat(j.change.Remove, j.change.RemoveAll) {
		add(p)
	}
	for _, p := range j.change.Keep {
		add(p)
	}
	for p := range j.change.Links {
		add(p)
	}
	for p := range j.change.Modes {
		add(p)
	}
	return all
}

var errTooMany = fmt.Errorf("cannot collect what was asked for: more than %d entries", node.MaxEntries)

// end reads the last line and makes sure that everything before it is there.
func (p *replyParser) end(files int) (*reply, error) {
	line, err := p.line()
	if err != nil {
		return nil, err
	}
	rest, ok := strings.CutPrefix(line, p.sign+"end ")
	var lines, count, code int
	var status string
	if ok {
		_, err = fmt.Sscanf(rest, "%d %d %d %s", &lines, &count, &code, &status)
	}
	if !ok || err != nil || lines != p.lines || count != files {
		return nil, fmt.Errorf("%w: the last line is %q after %d lines and %d files", errCut, excerpt(line), p.lines, files)
	}
	if p.failed > 0 {
		if more := p.failed - len(p.errs); more > 0 {
			p.errs = append(p.errs, fmt.Errorf("and %d errors more", more))
		}
		return nil, errors.Join(p.errs...)
	}
	if status == "unsynced" {
		return nil, errors.New("the machine is changed, but not all of it gets to its disk, or what was staged there cannot be removed")
	}
	if status != "ok" || code != 0 {
		return nil, fmt.Errorf("the machine could not send what is on it: tar ended with %d, the command is %q", code, excerpt(status))
	}
	for _, at := range slices.Sorted(maps.Keys(p.content)) {
		if p.entries[at].Data == nil {
			return nil, fmt.Errorf("%s did not come back", at)
		}
	}
	if err := p.fillTwins(); err != nil {
		return nil, err
	}
	list := make([]node.Entry, 0, len(p.entries))
	for _, e := range p.entries {
		list = append(list, e)
	}
	p.reply.node = node.New(p.job.query, list)
	if p.machine {
		p.reply.node.Kernel, p.reply.node.Mounts = p.kernel, p.mounts
	}
	p.reply.node.K3sVersion = p.k3s
	sort.Strings(p.reply.changed)
	sort.Strings(p.reply.kernelSet)
	return &p.reply, nil
}
