package tree

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
)

// writer writes the transcript; several may use it at once.
type writer struct {
	mu  sync.Mutex
	out *bufio.Writer
}

func newWriter(w io.Writer) *writer { return &writer{out: bufio.NewWriter(w)} }

// line writes one line, in which text is of bounded length and has no line break.
func (w *writer) line(kind, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = w.out.WriteString(kind + " " + text + "\n")
}

func (w *writer) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.out.Flush()
}

// performance is one run of K3s on the stage.
type performance struct {
	request *rehearsal.Request
	w       *writer
	began   time.Time
	up      chan struct{}
	ended   chan struct{} // closed when K3s has ended
	how     string        // in which way
}

// Bounds of what is written of a log and of an answer.
const (
	maxLogLines    = 10_000
	maxAnswerBytes = 1 << 20
)

// perform starts K3s, asks, and looks at what it made.
func (p *performance) perform() {
	p.began = time.Now()
	p.up, p.ended = make(chan struct{}), make(chan struct{})
	if err := p.start(); err != nil {
		p.w.line("failed", fmt.Sprintf("%s cannot be started: %v", p.request.Command[0], err))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.request.Timeout)
	defer cancel()
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.w.line("late", p.since())
	case <-p.up:
		p.w.line("up", p.since())
		for _, a := range p.request.Asks {
			p.ask(ctx, a)
		}
		p.search()
	}
	if p.dead() {
		p.w.line("exited", p.how)
	}
	p.look()
}

// dead says whether K3s has ended.
func (p *performance) dead() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *performance) since() string { return fmt.Sprintf("%.2f", time.Since(p.began).Seconds()) }

// start starts K3s, whose log is written as it comes.
func (p *performance) start() error {
	log, end, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{
		Path: p.request.Command[0], Args: p.request.Command, Env: p.request.Environment, Dir: p.request.Directory,
		Stdout: end, Stderr: end, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = end.Close()
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		p.hear(log)
	}()
	go func() {
		_ = cmd.Wait()
		select { // its last words may say why
		case <-heard:
		case <-time.After(time.Second):
		}
		p.how = ending(cmd.ProcessState)
		close(p.ended)
	}()
	return nil
}

func ending(s *os.ProcessState) string {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return fmt.Sprintf("signal %d (%s)", status.Signal(), status.Signal())
	}
	return fmt.Sprintf("status %d", s.ExitCode())
}

// hear writes the log, the first lines of it whole.
func (p *performance) hear(log io.Reader) {
	in := bufio.NewReaderSize(log, rehearsal.MaxLine)
	up := false
	for n := 0; ; n++ {
		line, err := in.ReadString('\n')
		line = oneLine(line)
		if line != "" && n < maxLogLines {
			p.w.line("log", line)
		}
		if !up && slices.ContainsFunc(p.request.Up, func(says string) bool { return strings.Contains(line, says) }) {
			up = true
			close(p.up)
		}
		if err != nil {
			return
		}
	}
}

// oneLine makes a line of the transcript of a line of output.
func oneLine(s string) string {
	s = strings.TrimRight(s, "\r\n")
	if len(s) > rehearsal.MaxLine-500 {
		s = s[:rehearsal.MaxLine-500]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

// pause is how long an ask waits before it is put again.
const pause = 200 * time.Millisecond

// ask puts an ask until it has an answer that is one, or the time is over. Then the
// last whole answer counts: that the next one did not come takes nothing of it back.
func (p *performance) ask(ctx context.Context, a rehearsal.Ask) {
	settled, cancel := context.WithTimeout(ctx, p.request.Settle)
	defer cancel()
	given, found, last, said := false, false, 0, ""
	for {
		if status, text, whole := p.once(settled, a); whole {
			given, last, said = true, status, text
			found = len(a.Until)+len(a.Enough) == 0 || awaited(a, text)
		}
		if found || settled.Err() != nil || p.dead() {
			break
		}
		select {
		case <-settled.Done():
		case <-time.After(pause):
		}
	}
	if given {
		p.answer(a.Name, last, found, said)
	}
}

func awaited(a rehearsal.Ask, text string) bool {
	for _, enough := range a.Enough {
		if strings.Contains(text, enough) {
			return true
		}
	}
	for _, until := range a.Until {
		if !strings.Contains(text, until) {
			return false
		}
	}
	return len(a.Until) > 0
}

// notStarted is the status of a program that cannot be started, as a shell has it.
const notStarted = 127

// once puts an ask. Its answer is whole unless the time was over before it came.
func (p *performance) once(ctx context.Context, a rehearsal.Ask) (status int, text string, whole bool) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, a.Words[0], a.Words[1:]...)
	cmd.Env, cmd.Dir = p.request.Environment, "/"
	cmd.Stdin = strings.NewReader(a.Input)
	limit := &limited{w: &out, left: maxAnswerBytes}
	cmd.Stdout, cmd.Stderr = limit, limit
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, "", false
	case cmd.ProcessState == nil:
		return notStarted, err.Error(), true
	}
	return cmd.ProcessState.ExitCode(), out.String(), true
}

// limited takes no more than so many bytes, and drops the rest.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	take := b[:min(len(b), l.left)]
	l.left -= len(take)
	_, err := l.w.Write(take)
	return len(b), err
}

func (p *performance) answer(name string, status int, found bool, text string) {
	said := ""
	if found {
		said = " found"
	}
	p.w.line("answer", fmt.Sprintf("%s %d%s", name, status, said))
	for line := range strings.Lines(text) {
		p.w.line("said", name+" "+oneLine(line))
	}
}

// search looks for the Secret in the files of the datastore.
func (p *performance) search() {
	s := p.request.Secret
	key, open, providers := false, false, map[string]bool{}
	err := filepath.WalkDir(s.Directory, func(at string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(at) //nolint:gosec // all that could be reached lies in the namespace
		if err != nil {
			return err
		}
		key = key || bytes.Contains(data, []byte(s.Key))
		for _, clear := range s.Clear {
			open = open || bytes.Contains(data, []byte(clear))
		}
		for {
			_, rest, found := bytes.Cut(data, []byte(s.Marker))
			if !found {
				return nil
			}
			if name, _, ends := strings.Cut(string(rest[:min(len(rest), 20)]), ":"); ends {
				providers[name] = true
			}
			data = rest
		}
	})
	if err != nil {
		return // what was not searched is not said to be
	}
	if key {
		p.w.line("key", "")
	}
	if open {
		p.w.line("clear", "")
	}
	for name := range providers {
		p.w.line("provider", oneLine(name))
	}
	p.w.line("stored", "")
}

// look writes modes and owners of the files that were asked for.
func (p *performance) look() {
	for _, pick := range p.request.Files {
		err := filepath.WalkDir(pick.Path, func(at string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it went meanwhile, or is not there
			}
			if err != nil {
				return err
			}
			if strings.ContainsAny(at, "\n") {
				return fmt.Errorf("%q has a line break in its name", at)
			}
			depth := strings.Count(strings.TrimPrefix(at, pick.Path), "/")
			if err := p.entry(at, pick); err != nil {
				return err
			}
			if d.IsDir() && pick.Depth != node.Deep && depth >= pick.Depth {
				return fs.SkipDir
			}
			return nil
		})
		if err != nil {
			return
		}
	}
	p.w.line("looked", "")
}

// maxContent is how much is written of a file, in bytes.
const maxContent = 256 << 10

func (p *performance) entry(at string, pick node.Pick) error {
	var st syscall.Stat_t
	if err := syscall.Lstat(at, &st); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	p.w.line("entry", fmt.Sprintf("%x %d %d %s", st.Mode, st.Uid, st.Gid, at))
	if !pick.Content || at != pick.Path || st.Mode&syscall.S_IFMT != syscall.S_IFREG || st.Size > maxContent {
		return nil
	}
	data, err := os.ReadFile(at)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		p.w.line("content", at+" "+oneLine(line))
	}
	return nil
}
