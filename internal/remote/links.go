package remote

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

func (p *replyParser) sawLink(rest string) error {
	letter, at, _ := strings.Cut(rest, " ")
	at = nodePath(at)
	p.seen[at] = letter
	return p.asked(at)
}

// twin reads "DEPTH CONTENT PATH/": which directory the last path is under another
// name, and how both were asked for.
func (p *replyParser) twin(rest string) error {
	depth, of, _ := strings.Cut(rest, " ")
	content, of, _ := strings.Cut(of, " ")
	pick := node.Pick{Path: p.behind, Depth: node.Deep, Content: content == "1"}
	if depth != "deep" {
		pick.Depth, _ = strconv.Atoi(depth) // what is none lists nothing
	}
	same := pick
	same.Path = nodePath(of)
	_, again := p.twins[pick]
	if again || pick.Depth == 0 || pick == same || !slices.Contains(p.job.query, pick) || !slices.Contains(p.job.query, same) {
		return damaged("directory %q is said to be %q", excerpt(p.behind), excerpt(rest))
	}
	p.twins[pick], p.behind = same.Path, ""
	return nil
}

// checkLinks makes sure that the links which find saw are in the answer, each
// with what it leads to: that comes from other commands, which may have been
// killed.
func (p *replyParser) checkLinks() error {
	for at, letter := range p.seen {
		_, is := p.links[at]
		_, live := p.entries[at]
		if !is || !live && strings.Contains("fdpsbc", letter) {
			return damaged("%s is a symbolic link, and what it leads to is missing", excerpt(at))
		}
	}
	return nil
}

// finishEntries adds what the lines said about each other.
func (p *replyParser) finishEntries() error {
	if err := p.checkLinks(); err != nil {
		return err
	}
	if err := p.listTwins(); err != nil {
		return err
	}
	for dir := range p.odd {
		p.unread(dir, node.UnreadName)
	}
	for at := range p.entries {
		p.unprintable(at)
	}
	for link, target := range p.links {
		if !node.PlainName(link) {
			p.unprintable(link)
			continue
		}
		e, live := p.entries[link]
		if !live {
			e = node.Entry{Path: link, Kind: node.KindLink}
			if above, ok := p.dead[link]; ok {
				e.Unread = node.UnreadDead(above)
			}
		}
		e.Target = target
		p.entries[link] = e
	}
	for at, e := range p.entries {
		switch {
		case e.Kind != node.KindDirectory:
			continue
		case e.Target != "" && p.walkedOnly(at):
			e.Unread = node.UnreadLink
		case p.walkedTo(at):
			e.Unread = node.UnreadDeep
		}
		p.entries[at] = e
	}
	if len(p.entries) > node.MaxEntries {
		return errTooMany
	}
	for at := range p.content {
		e := p.entries[at]
		switch {
		case e.Size > node.MaxFileSize:
			e.Unread = node.UnreadLarge
			delete(p.content, at)
		case node.Unreadable(at) != "":
			e.Unread = node.Unreadable(at)
			delete(p.content, at)
		default:
			p.total += e.Size
		}
		p.entries[at] = e
	}
	for _, name := range p.same {
		if p.content[name] {
			p.total += p.entries[name].Size
		}
	}
	if p.total > node.MaxTotalSize {
		return fmt.Errorf("cannot collect what was asked for: more than %d MiB of content", node.MaxTotalSize>>20)
	}
	return nil
}

// listTwins lists every directory that is another one as that one is.
func (p *replyParser) listTwins() error {
	if len(p.twins) == 0 {
		return nil
	}
	below := map[string][]string{} // what is below each directory that is listed for another
	for pick, of := range p.twins {
		if _, is := p.twins[node.Pick{Path: of, Depth: pick.Depth, Content: pick.Content}]; is {
			return damaged("directory %q is said to be %q, which is not listed either", excerpt(pick.Path), excerpt(of))
		}
		below[of] = nil
	}
	file := func(name string) {
		dir := name
		for range node.MaxDepth {
			if dir = path.Dir(dir); dir == "/" {
				break
			}
			if list, ok := below[dir]; ok {
				below[dir] = append(list, name)
			}
		}
	}
	for name := range p.entries {
		file(name)
	}
	for link := range p.links {
		if _, live := p.entries[link]; !live {
			file(link)
		}
	}
	odd := slices.Collect(maps.Keys(p.odd))
	total := 0
	for pick, of := range p.twins {
		if total += len(below[of]) + len(odd); total > node.MaxEntries {
			return errTooMany
		}
		for _, name := range below[of] {
			if under := name[len(of):]; pick.Depth == node.Deep || strings.Count(under, "/") <= pick.Depth {
				p.copyTo(pick.Path+under, name, pick.Content)
			}
		}
		for _, dir := range odd {
			if node.Within(of, dir) {
				p.odd[pick.Path+dir[len(of):]] = true
			}
		}
	}
	return nil
}

// copyTo enters what is at name as being at at too, with its bytes where they
// are wanted there.
func (p *replyParser) copyTo(at, name string, content bool) {
	e, live := p.entries[name]
	if _, listed := p.entries[at]; live && !listed {
		e.Path = at
		p.entries[at] = e
	}
	if content && p.content[name] && !p.content[at] {
		p.same[at] = name
	}
	if target, ok := p.links[name]; ok {
		p.links[at] = target
	}
}

// fillTwins gives what is at one place under another name the bytes that came.
func (p *replyParser) fillTwins() error {
	for at, name := range p.same {
		e, of := p.entries[at], p.entries[name]
		switch {
		case of.Unread != "":
			e.Unread = of.Unread
			p.entries[at] = e
		case e.Kind != node.KindFile:
			return fmt.Errorf("%s changed while it was read", at)
		case e.Unread == "":
			if err := p.put(at, of.Data); err != nil {
				return err
			}
		}
	}
	return nil
}

// unprintable drops path at when no report could show it, and says so of the
// directory that holds it.
func (p *replyParser) unprintable(at string) {
	if node.PlainName(at) {
		return
	}
	delete(p.entries, at)
	delete(p.same, at)
	if p.content[at] {
		delete(p.content, at)
		p.dropped[at] = true
	}
	if dir := path.Dir(at); node.PlainName(dir) {
		p.unread(dir, node.UnreadName)
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
		if ok && at != pick.Path && !p.job.query.Follows(at, pick.Content) && (pick.Depth == node.Deep || strings.Count(below, "/")+1 < pick.Depth) {
			return true
		}
	}
	return false
}

// walkedTo says whether a walk ended at at because of its depth.
func (p *replyParser) walkedTo(at string) bool {
	return slices.ContainsFunc(p.job.query, func(pick node.Pick) bool {
		below, ok := strings.CutPrefix(at, strings.TrimSuffix(pick.Path, "/")+"/")
		return ok && pick.Depth == node.Deep && strings.Count(below, "/")+1 == node.MaxDepth
	})
}
