package node

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
)

// maxReply bounds what one answer may hold: the content, and room for names.
const maxReply = MaxTotalSize + 64<<20

// reply is what came back from a machine.
type reply struct {
	node      *Node
	changed   []string
	kernelSet []string
	stale     bool
	recovered bool
}

// refusal is what a machine says that could not even begin: which part of the
// way to it does not work.
type refusal string

func (r refusal) Error() string { return "the machine cannot take the request: " + string(r) }

// errSilent is an answer without a signature in it.
var errSilent = errors.New("no answer came back")

// parseReply reads the answer to j from everything that came back, which may
// have other output before and after it. Anything but a whole, signed and
// consistent answer is an error.
func parseReply(out []byte, j *job) (*reply, error) {
	sign := "k3s-cis " + j.nonce + " "
	body, encoding, err := findReply(out, sign)
	if err != nil {
		return nil, err
	}
	if body, err = decodeReply(body, encoding, sign); err != nil {
		return nil, err
	}
	p := &replyParser{in: bufio.NewReader(bytes.NewReader(body)), sign: sign, job: j, entries: map[string]Entry{}, content: map[string]bool{}}
	return p.parse()
}

// findReply returns what follows the line that begins the answer. Without one,
// the error says what else the machine had to say.
func findReply(out []byte, sign string) (body []byte, encoding string, err error) {
	err = errSilent
	for rest := out; ; {
		i := bytes.Index(rest, []byte(sign))
		if i < 0 {
			return nil, "", err
		}
		rest = rest[i+len(sign):]
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		words := strings.Fields(string(line))
		switch {
		case !whole || len(words) == 0:
		case words[0] == "begin" && len(words) == 2:
			return after, words[1], nil
		case words[0] == "cannot" && errors.Is(err, errSilent):
			err = refusal(strings.Join(words[1:], " "))
		case words[0] == "died":
			err = errors.New("the command was killed on the machine; what it had changed was put back")
		}
	}
}

// decodeReply undoes what protects an answer from a terminal.
func decodeReply(body []byte, encoding, sign string) ([]byte, error) {
	if encoding == "raw" {
		return body, nil
	}
	end := bytes.Index(body, []byte(sign+"coded"))
	if end < 0 {
		return nil, errCut
	}
	text := strings.Join(strings.Fields(string(body[:end])), "")
	var data []byte
	var err error
	switch encoding {
	case "base64":
		data, err = base64.StdEncoding.DecodeString(text)
	case "hex":
		data, err = hex.DecodeString(text)
	default:
		err = fmt.Errorf("encoding %q is not known", encoding)
	}
	if err != nil {
		return nil, fmt.Errorf("the answer of the machine is damaged: %w", err)
	}
	return data, nil
}

var errCut = errors.New("the answer of the machine was cut off")

type replyParser struct {
	in      *bufio.Reader
	sign    string
	job     *job
	lines   int
	entries map[string]Entry
	content map[string]bool // paths whose bytes were asked for
	machine bool
	kernel  map[string]string
	k3s     string
	reply   reply
	errs    []string
	links   map[string]string
	dead    map[string]string // path → link above it that leads nowhere
	seen    map[string]string // path of a link → what find saw behind it
	twins   map[string]string // directory → the same one, which is listed
	odd     []string
	total   int64
}

func (p *replyParser) parse() (*reply, error) {
	for _, m := range []*map[string]string{&p.links, &p.dead, &p.kernel, &p.seen, &p.twins} {
		*m = map[string]string{}
	}
	how, err := p.text()
	if err != nil {
		return nil, err
	}
	files := 0
	if len(p.errs) == 0 {
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
		err = fmt.Errorf("the answer of the machine is damaged: content %q", how)
	}
	if err != nil {
		return nil, err
	}
	return p.end(files)
}

// text reads the lines up to the content.
func (p *replyParser) text() (string, error) {
	behind := "" // path that the next link explains
	link := ""
	for {
		line, err := p.in.ReadString('\n')
		if err != nil {
			return "", errCut
		}
		line = strings.TrimSuffix(line, "\n")
		if how, ok := strings.CutPrefix(line, p.sign+"content "); ok {
			return how, nil
		}
		p.lines++
		kind, rest, _ := strings.Cut(line, " ")
		switch kind {
		case "e":
			err = p.entry(rest)
		case "p":
			err = p.found(rest)
		case "d":
			behind = nodePath(rest)
		case "l":
			link = nodePath(rest)
		case "t":
			target := strings.TrimSuffix(rest, "/")
			if behind == "" {
				p.links[link] = target
			} else {
				p.dead[behind], p.links[behind] = link, target
				behind = ""
			}
		case "y":
			letter, at, _ := strings.Cut(rest, " ")
			p.seen[nodePath(at)] = letter
		case "s":
			behind = nodePath(rest)
		case "a":
			p.twins[behind] = nodePath(rest)
			behind = ""
		case "odd":
			p.odd = append(p.odd, nodePath(rest))
		case "unlisted":
			return "", fmt.Errorf("a directory could not be read: %s", strings.TrimSuffix(rest, "/"))
		case "changed":
			p.reply.changed = append(p.reply.changed, rest)
		case "set":
			p.reply.kernelSet = append(p.reply.kernelSet, rest)
		case "stale":
			p.reply.stale = true
		case "recovered":
			p.reply.recovered = true
		case "machine":
			p.machine = true
		case "kernel":
			name, value, _ := strings.Cut(rest, " ")
			p.kernel[name] = value
		case "k3s":
			p.k3s = rest
		case "error":
			p.errs = append(p.errs, rest)
		default:
			err = fmt.Errorf("the answer of the machine is damaged: line %q", line)
		}
		if err != nil {
			return "", err
		}
	}
}

var errTooMany = fmt.Errorf("cannot collect what was asked for: more than %d entries", MaxEntries)

// checkLinks makes sure that the links which find saw are in the answer, each
// with what it leads to: that comes from other commands, which may have been
// killed.
func (p *replyParser) checkLinks() error {
	for at, letter := range p.seen {
		_, is := p.links[at]
		_, live := p.entries[at]
		if !is || !live && strings.Contains("fdpsbc", letter) {
			return fmt.Errorf("the answer of the machine is damaged: %s is a symbolic link, and what it leads to is missing", at)
		}
	}
	return nil
}

// finishEntries adds what the lines said about each other.
func (p *replyParser) finishEntries() error {
	if err := p.checkLinks(); err != nil {
		return err
	}
	for at, twin := range p.twins {
		p.listTwin(at, twin)
	}
	for _, dir := range p.odd {
		p.unread(dir, unreadName)
	}
	for at := range p.entries {
		p.unprintable(at)
	}
	for link, target := range p.links {
		if !plainName(link) {
			p.unprintable(link)
			continue
		}
		e, live := p.entries[link]
		if !live {
			e = Entry{Path: link, Kind: KindLink}
			if above, ok := p.dead[link]; ok {
				e.Unread = unreadDead(above)
			}
		}
		e.Target = target
		p.entries[link] = e
	}
	for at, e := range p.entries {
		if e.Kind == KindDirectory && e.Target != "" && p.walkedOnly(at) {
			e.Unread = unreadLink
			p.entries[at] = e
		}
	}
	if len(p.entries) > MaxEntries {
		return errTooMany
	}
	for at := range p.content {
		e := p.entries[at]
		switch {
		case e.Size > MaxFileSize:
			e.Unread = unreadLarge
			delete(p.content, at)
		case unreadable(at) != "":
			e.Unread = unreadable(at)
			delete(p.content, at)
		default:
			p.total += e.Size
		}
		p.entries[at] = e
	}
	if p.total > MaxTotalSize {
		return fmt.Errorf("cannot collect what was asked for: more than %d MiB of content", MaxTotalSize>>20)
	}
	return nil
}

// listTwin lists directory at as twin is, which is the same directory.
func (p *replyParser) listTwin(at, twin string) {
	for _, name := range sortedKeys(p.entries) {
		if path.Dir(name) == twin && name != twin {
			e := p.entries[name]
			e.Path = path.Join(at, path.Base(name))
			if _, listed := p.entries[e.Path]; !listed {
				p.entries[e.Path] = e
			}
		}
	}
	for _, link := range sortedKeys(p.links) {
		if path.Dir(link) == twin {
			p.links[path.Join(at, path.Base(link))] = p.links[link]
		}
	}
	if slices.Contains(p.odd, twin) {
		p.odd = append(p.odd, at)
	}
}

// unprintable drops path at when no report could show it, and says so of the
// directory that holds it.
func (p *replyParser) unprintable(at string) {
	if plainName(at) {
		return
	}
	delete(p.entries, at)
	delete(p.content, at)
	if dir := path.Dir(at); plainName(dir) {
		p.unread(dir, unreadName)
	}
}

func (p *replyParser) unread(dir, why string) {
	if e, ok := p.entries[dir]; ok {
		e.Unread = why
		p.entries[dir] = e
	}
}

// walkedOnly says whether a walk would have had to go on below at, which is a
// link to a directory, for the query to be answered.
func (p *replyParser) walkedOnly(at string) bool {
	for _, pick := range p.job.query {
		below, ok := strings.CutPrefix(at, strings.TrimSuffix(pick.Path, "/")+"/")
		if ok && at != pick.Path && (pick.Depth == Deep || strings.Count(below, "/")+1 < pick.Depth) {
			return true
		}
	}
	return false
}

// end reads the last line and makes sure that everything before it is there.
func (p *replyParser) end(files int) (*reply, error) {
	line, err := p.in.ReadString('\n')
	if err != nil {
		return nil, errCut
	}
	rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), p.sign+"end ")
	var lines, count, code int
	var status string
	if ok {
		_, err = fmt.Sscanf(rest, "%d %d %d %s", &lines, &count, &code, &status)
	}
	if !ok || err != nil || lines != p.lines || count != files {
		return nil, fmt.Errorf("%w: the last line is %q after %d lines and %d files", errCut, line, p.lines, files)
	}
	if len(p.errs) > 0 {
		errs := make([]error, len(p.errs))
		for i, text := range p.errs {
			errs[i] = errors.New(text)
		}
		return nil, errors.Join(errs...)
	}
	if status != "ok" || code != 0 {
		return nil, fmt.Errorf("the machine could not send what is on it: tar ended with %d, the command is %q", code, status)
	}
	for _, at := range sortedKeys(p.content) {
		if p.entries[at].Data == nil {
			return nil, fmt.Errorf("%s did not come back", at)
		}
	}
	list := make([]Entry, 0, len(p.entries))
	for _, e := range p.entries {
		list = append(list, e)
	}
	p.reply.node = New(p.job.query, list)
	if p.machine {
		p.reply.node.Kernel = p.kernel
	}
	p.reply.node.K3sVersion = p.k3s
	sort.Strings(p.reply.changed)
	sort.Strings(p.reply.kernelSet)
	return &p.reply, nil
}
