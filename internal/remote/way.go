package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// The ways a request can travel, as Outcome.Way names them.
const (
	wayStdin  = "one command"
	wayUpload = "one file and one command"
)

// uploadDirectory is where the user of the connection may put a file.
const uploadDirectory = "/tmp"

// stagingBases are the directories in which the staging directory is made, the
// first that works. Only root may write to any of them, so that what an earlier
// run left there can be trusted.
var stagingBases = []string{"/var/lib", "/run", "/etc", ""}

// keepFree takes room on the machine's disk that is given back when there is an
// error to report: a full disk has no room for that.
const keepFree = "head -c 131072 /dev/zero >room 2>/dev/null"

// questions ask the machine what the scripts will want to know: which tools it
// has, which kernel, and what lies on which file system. The answers come while
// the request is on its way. A caller's shell may take a pattern that no file
// matches for an error (failglob): there is none before set -f.
func (j *job) questions() string {
	list := []string{"tar --version >tar.version", "find --version >find.version", "readlink /proc/self/ns/pid >pid.namespace", "sync --help 2>&1 | grep -c -e -f >sync.takes"}
	if len(j.dirs) > 0 {
		places, mounts := "", ""
		for _, dir := range j.above() {
			places += " " + dir
			mounts += " -e [[:space:]]" + dir + "[[:space:]]"
		}
		list = append(list, "stat -L -c %d:%n ."+places+" >places", "set -f; grep -c"+mounts+" /proc/self/mountinfo >mounts")
	}
	return "{ " + strings.Join(list, "; ") + "; } </dev/null 2>/dev/null"
}

// above are the directories that the request has to do with, those of its own
// included, as far as the shell takes their paths for words. The root directory
// is the mount that the others are not to be.
func (j *job) above() []string {
	seen := map[string]bool{}
	for _, d := range j.dirs {
		seen[d.Path] = true
	}
	// The request waits in the first of stagingBases wherever that is possible;
	// anywhere else it is at worst on another device.
	for dir := stagingBases[0]; dir != "/"; dir = path.Dir(dir) {
		seen[dir] = true
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(seen)), func(dir string) bool { return dir == "/" || !plainPath.MatchString(dir) })
}

// plainPath matches paths that no shell takes for more than a word.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9/._@+-]+$`)

// exchange sends a request the first way that works.
func (r *Machine) exchange(ctx context.Context, j *job) (*reply, string, error) {
	archive, pieces, err := j.archive()
	if err != nil {
		return nil, "", err
	}
	r.opt.Log(fmt.Sprintf("Sending a request of %d KiB: %s", (archive.size()+1023)/1024, j.summary()))
	ways := []way{
		{wayStdin, func() (*reply, error) {
			command, ok := r.streamCommand(j, archive.onDisk())
			if !ok {
				return nil, refusal("template")
			}
			in := archive.read(r.opt.Progress)
			in.optional = true
			return r.run(ctx, j, command, in)
		}},
		{wayUpload, func() (*reply, error) { return r.pour(ctx, j, archive, pieces) }},
		{wayUpload, func() (*reply, error) { return r.typeIn(ctx, j, archive, pieces) }},
		{wayUpload, func() (*reply, error) { return r.upload(ctx, j, archive, pieces) }},
	}
	for {
		r.mu.Lock()
		first := r.way
		r.mu.Unlock()
		rep, err := ways[first].send()
		var no refusal
		next := first
		if errors.As(err, &no) {
			next = max(first, passes[no])
		}
		if next == first {
			return rep, ways[first].name, err
		}
		if no != "template" {
			r.opt.Log(fmt.Sprintf("Uploading the request, since it cannot go in through the command itself: %s", string(no)))
		}
		r.mu.Lock()
		r.way = next
		r.mu.Unlock()
	}
}

// way is one way in which a request can travel.
type way struct {
	name string
	send func() (*reply, error)
}

// The ways in the order in which they are tried.
const (
	stream = iota
	poured
	typed
	uploaded
)

// passes has the way that may work where another was refused.
var passes = map[refusal]int{"template": poured, "tar": poured, "tty": typed, "base64": uploaded, "stdin": uploaded}

// summary says in a few words what the request is about.
func (j *job) summary() string {
	if j.program != nil {
		return "run a program"
	}
	if j.change == nil {
		return fmt.Sprintf("collect %d paths", len(j.query))
	}
	files, dirs := 0, 0
	for _, e := range j.change.Write {
		if e.Kind == node.KindFile {
			files++
		} else {
			dirs++
		}
	}
	return fmt.Sprintf("%d files, %d directories and %d kernel parameters to put in place, %d paths to collect",
		files, dirs, len(j.change.Kernel), len(j.query))
}

// onlyRoot leaves everybody else to sudo. Root's files tell root without a
// process, unless both the root directory and the first process of a container
// are another's.
const onlyRoot = "test -O / && test -O /proc/1 || id -u | grep -qx 0 || exit 1"

// calm undoes what an environment can do to a shell that can be bash: options,
// functions in the place of tools, tools with options of their own. See guard.sh
// for what else it may hold.
const calm = "{ set +aefuvxC; } 2>/dev/null; unset -f cat cd command echo false find grep head id mkdir printf read readlink rm sh stat tar test true wc; unset GREP_OPTIONS TAR_OPTIONS"

// streamCommand returns the one command that takes the archive on its standard
// input. It holds nothing that a shell on the way could expand: no dollar sign,
// backtick, double quote, backslash or line break. The second result is false
// when the user's execute_command cannot pass standard input on. Files of the build
// host with large bytes in all are not sent before there is room for them.
func (r *Machine) streamCommand(j *job, large int64) (string, bool) {
	say := "echo k3s-cis " + j.nonce + " cannot "
	dir := "/.k3s-cis-" + j.nonce
	var enter, clear, sweep []string
	for _, base := range j.bases() {
		enter = append(enter, fmt.Sprintf("{ mkdir -m 700 %[1]s && cd %[1]s; } 2>/dev/null", base+dir))
		clear = append(clear, base+dir)
		sweep = append(sweep, fmt.Sprintf("test -d %[1]s && { if test -e %[1]s/armed && ! test -e %[1]s/settled; then sh %[1]s/undo 2>/dev/null | grep -qx undone; elif test -e %[1]s/clean; then sh %[1]s/clean; fi >/dev/null 2>&1 && rm -rf %[1]s; }", base+dir))
	}
	ready := "echo k3s-cis " + j.nonce + " ready"
	unpack := "test -t 0 && { " + say + "tty; exit; }; command -v tar >/dev/null 2>&1 || { " + say + "tar; exit; }; "
	room := ""
	if large > 0 {
		room = j.tellHad() + j.refuseFull(source.had, j.stagingRoom()) + ready + "; "
	} else {
		unpack += ready + "; "
	}
	unpack += strings.Join([]string{
		"{ (trap : HUP PIPE TERM INT",
		"umask 077",
		strings.Join(enter, " || ") + " || { " + say + "directory; exit; }",
		j.questions(),
		room + keepFree + " && { tar -xpf - >/dev/null 2>&1 || head -c 65536 /dev/zero >more; } 2>/dev/null || { " + say + "full; df -P . >&2; exit; }",
		"test -f end && . ./guard.sh",
		"test -s guard.sh && " + say + "whole || " + say + "stdin",
		"cd /",
		"rm -rf " + strings.Join(clear, " "),
	}, "; ") +
		// The pipe ends when everything that was started here has. Should the
		// guard have been killed too, what is left goes now.
		") 9>&1 >&8 8>&- | while read line; do :; done; } 8>&1; " + strings.Join(sweep, "; ") + "; exit 0"
	// Standard input is read by the first of these that runs as root only.
	direct := "sh -c '" + calm + "; " + onlyRoot + "; " + unpack + "'"
	command := "sh -c '" + calm + "; " + unpack + "'"
	if r.opt.Wrap == nil {
		return direct + " || sudo -n " + command + " || doas -n " + command + " || " + say + "root", true
	}
	wrapped, ok := r.wrapStream(direct)
	return wrapped + " || " + say + "root", ok
}

// wrapStream puts command into the user's execute_command when that is a plain
// prefix of words such as "sudo -n": then standard input reaches the command.
// With a pipe or a password on standard input, or a shell that wants the path
// of a script, it does not.
func (r *Machine) wrapStream(command string) (string, bool) {
	const mark = "K3SCISPATH"
	rendered, err := r.opt.Wrap(mark)
	if err != nil {
		return "", false
	}
	prefix, rest, found := strings.Cut(strings.TrimSpace(rendered), mark)
	if !found || strings.TrimSpace(rest) != "" || strings.ContainsAny(prefix, "'\"`$|<>&;()\\\n") {
		return "", false
	}
	for _, word := range strings.Fields(prefix) {
		switch base := path.Base(word); {
		case strings.HasSuffix(base, "sh"), base == "su":
			return "", false
		case strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "--") && strings.Contains(word, "S"), word == "--stdin":
			return "", false
		}
	}
	wrapped, err := r.opt.Wrap(command)
	return wrapped, err == nil
}

// input is what a command gets on its standard input.
type input interface {
	io.Reader
	// failure is why it could not be read; nil for no reason.
	failure() error
}

// run runs one command and reads its answer.
func (r *Machine) run(ctx context.Context, j *job, command string, stdin input) (*reply, error) {
	limited, cancel := j.limit(ctx)
	r.Settle(limited)
	began := time.Now()
	out, errOut := listen(j), newOutput(nil, maxReply)
	cmd := &packersdk.RemoteCmd{Command: command, Stdout: out, Stderr: errOut}
	if stdin != nil {
		cmd.Stdin = &gated{ctx: limited, gate: out.ready, data: stdin}
	}
	exited := make(chan int, 1)
	started := make(chan error, 1)
	cleaning := make(chan struct{})
	go func() {
		defer close(cleaning)
		err := r.comm.Start(limited, cmd)
		started <- err
		if err == nil {
			exited <- cmd.Wait()
		}
		out.ended()
	}()
	r.mu.Lock()
	r.cleaning = cleaning
	r.mu.Unlock()
	release := func() { out.refuse(); cancel() }
	defer func() { release() }()
	var got result
	status := 0
	for read, ended := out.read, exited; read != nil || ended != nil; {
		select {
		case err := <-started:
			if err != nil {
				return nil, fmt.Errorf("starting the command: %w", err)
			}
			started = nil
		case status = <-ended:
			ended = nil
		case got = <-read:
			read = nil
			if errors.Is(got.err, errDamaged) {
				return nil, got.err
			}
			if got.err == nil && r.opt.Early {
				release = func() { go func() { <-cleaning; cancel() }() }
				return got.reply, nil
			}
		case <-out.over:
			return nil, errTooMuch(began)
		case <-errOut.over:
			return nil, errTooMuch(began)
		case <-limited.Done():
			// What is under way on the machine ends by itself, all or nothing.
			return nil, context.Cause(limited)
		}
	}
	switch {
	case out.exceeded() || errOut.exceeded():
		return nil, errTooMuch(began)
	case got.err == nil:
		return got.reply, nil
	}
	if stdin != nil {
		if err := stdin.failure(); err != nil {
			return nil, fmt.Errorf("%w; nothing was changed", err)
		}
	}
	return nil, r.explain(got.err, status, errOut, out.output)
}

func errTooMuch(began time.Time) error {
	return fmt.Errorf("the machine sent more than %d MiB in %s", maxReply>>20, took(began))
}

// explain adds to an error what the user can do about it.
func (r *Machine) explain(err error, status int, errOut, out *output) error {
	var no refusal
	said := r.redact(errOut.lastLines())
	if said == "" && (errors.Is(err, errSilent) || errors.As(err, &no)) {
		// A terminal has one output.
		said = r.redact(out.lastLines())
	}
	if said != "" {
		said = "; it said: " + said
	}
	switch {
	case errors.As(err, &no) && no == "root" && r.opt.Wrap == nil:
		return fmt.Errorf("the command needs root's rights: the user of the connection is not root, and neither sudo -n nor doas -n works without a password; set execute_command, or ssh_pty = true where sudo requires a terminal%s", said)
	case errors.As(err, &no) && no == "root":
		return fmt.Errorf("the command needs root's rights, and execute_command does not give them%s", said)
	case errors.As(err, &no) && no == "upload":
		return fmt.Errorf("the request could not be written to %s; nothing was changed%s", uploadDirectory, said)
	case errors.As(err, &no) && no == "directory":
		return fmt.Errorf("no directory can be made in /var/lib, /run, /etc or /: the file systems are full or read-only, or a policy such as SELinux's denies it%s", said)
	case errors.As(err, &no) && no == "whole", errors.As(err, &no) && no == "unpack":
		return fmt.Errorf("the request did not arrive whole, or there is no room to unpack it; nothing was changed%s", said)
	case errors.As(err, &no) && no == "room":
		return fmt.Errorf("there is no room on the machine: No space left on device; nothing was sent and nothing was changed%s", said)
	case errors.As(err, &no) && no == "full":
		return fmt.Errorf("there is no room on the machine to unpack the request: No space left on device; nothing was changed%s", said)
	case errors.As(err, &no):
		return err
	case errors.Is(err, errSilent) && status == packersdk.CmdDisconnect:
		return fmt.Errorf("the connection was cut before an answer came back%s", said)
	case errors.Is(err, errSilent) && status == 0:
		what := "the communicator"
		if r.opt.Wrap != nil {
			what = "execute_command, or the communicator,"
		}
		return fmt.Errorf("%w although the command ended with status 0: %s runs nothing, or something else answered%s", err, what, said)
	case errors.Is(err, errSilent):
		return fmt.Errorf("%w: the command ended with status %d%s", err, status, said)
	case errors.Is(err, errCut):
		return fmt.Errorf("%w after status %d: the connection was cut, or the command killed%s", err, status, said)
	}
	return err
}

// ownLines matches what the commands say to this side.
var ownLines = regexp.MustCompile(`k3s-cis [0-9a-f]{32} .*`)

var spaces = regexp.MustCompile(`\s+`)

// lastLines returns the end of what a command printed, as one line.
func lastLines(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(spaces.ReplaceAllString(s, " ")), "?")
	if len(s) > 400 {
		s = "…" + strings.ToValidUTF8(s[len(s)-400:], "")
	}
	return s
}

var commandWords = regexp.MustCompile(`^(-.*|echo|printf|sudo|doas|su|sh|bash|env|chmod|.*/bin/.*|\|.*|%s.*)$`)

// redact takes out of s every word of the user's execute_command that could be
// a password: shells repeat the command in their messages.
func (r *Machine) redact(s string) string {
	if r.opt.Wrap == nil {
		return s
	}
	rendered, err := r.opt.Wrap("")
	if err != nil {
		return ""
	}
	for _, word := range strings.FieldsFunc(rendered, func(c rune) bool { return strings.ContainsRune(" \t\n'\"|;&<>()", c) }) {
		if !commandWords.MatchString(word) {
			s = strings.ReplaceAll(s, word, "…")
		}
	}
	return s
}
