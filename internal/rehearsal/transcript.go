package rehearsal

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Observation is what was seen of a rehearsal.
type Observation struct {
	// Up is true where K3s said that it is, after UpAfter.
	Up      bool
	UpAfter time.Duration
	// Exited is how K3s ended by itself, such as "status 1"; "" where it did not.
	Exited string
	// Late is true where K3s was not up when the time was over, after LateAfter.
	Late      bool
	LateAfter time.Duration
	// Full is true where the scratch had no room left.
	Full bool
	// Log is what K3s logged, the first and the last lines of it.
	Log []string
	// Started are the arguments of each component, as they were logged.
	Started map[k3s.Component][]k3s.Argument
	Answers map[string]Answer
	// Stored is what was found in the datastore.
	Stored Stored
	// Node are the files as they were after the start; nil where they were not
	// looked at.
	Node *node.Node
	// Traces are paths of the image that are not as they were before.
	Traces []string
	// Warnings say what the rehearsal did without.
	Warnings []string
}

// Answer is what came of an ask.
type Answer struct {
	// Status is the exit status of the command.
	Status int
	// Found is true where all that was awaited was in the answer.
	Found bool
	Lines []string
}

// Text is all that was answered.
func (a Answer) Text() string { return strings.Join(a.Lines, "\n") }

// Stored is what was found in the files of the datastore.
type Stored struct {
	// Looked is true where they were searched.
	Looked bool
	// Key and Clear say whether the Secret's name and its value were there.
	Key, Clear bool
	// Providers are the names behind the marker of what is encrypted.
	Providers []string
}

// Unavailable is what the environment lacks for a rehearsal.
type Unavailable struct {
	Lacks []string
	// OfAgent is true where the control plane alone could be rehearsed.
	OfAgent bool
}

func (u *Unavailable) Error() string { return strings.Join(u.Lacks, "; ") }

// Refused is what the environment would not do for a rehearsal, although it lacks
// nothing that could be told beforehand: a mount, a device, a name.
type Refused struct{ Words string }

func (r *Refused) Error() string { return r.Words }

// Limits of a transcript. A machine may write whatever it likes.
const (
	// MaxLine bounds one line, in bytes.
	MaxLine       = 60_000
	maxTranscript = 32 << 20
	maxLines      = 200_000
	maxLog        = 20_000
)

var (
	errUnfinished = errors.New("the rehearsal ended before it was done")
	errTranscript = errors.New("the transcript of the rehearsal is damaged")
)

// Read reads the transcript of r. Without its last line it is an error: what a
// program that was killed had seen is not all there was to see.
func Read(in io.Reader, r *Request) (*Observation, error) {
	t := &transcript{request: r, seen: &Observation{Started: map[k3s.Component][]k3s.Argument{}, Answers: map[string]Answer{}}, content: map[string][]byte{}, asked: map[string]bool{}}
	for _, a := range r.Asks {
		t.asked[a.Name] = true
	}
	lines := bufio.NewScanner(io.LimitReader(in, maxTranscript))
	lines.Buffer(nil, MaxLine+1000)
	for n := 0; lines.Scan(); n++ {
		if n > maxLines {
			return nil, fmt.Errorf("%w: more than %d lines", errTranscript, maxLines)
		}
		if t.ended {
			return nil, fmt.Errorf("%w: it goes on behind its end", errTranscript)
		}
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		read, known := transcriptLines[kind]
		if !known {
			return nil, fmt.Errorf("%w: line %d is of no known kind", errTranscript, n+1)
		}
		if err := read(t, rest); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", errTranscript, n+1, err)
		}
	}
	switch {
	case lines.Err() != nil:
		return nil, fmt.Errorf("%w: %w", errTranscript, lines.Err())
	case len(t.lacks) > 0:
		return nil, &Unavailable{Lacks: append(t.lacks, t.agentLacks...)}
	case len(t.agentLacks) > 0:
		return nil, &Unavailable{Lacks: t.agentLacks, OfAgent: true}
	case t.refused != "":
		return nil, &Refused{t.refused}
	case t.failed != "":
		return nil, errors.New(t.failed)
	case !t.ended:
		return nil, errUnfinished
	}
	return t.done(), nil
}

type transcript struct {
	request *Request
	seen    *Observation
	asked   map[string]bool
	lacks   []string
	// agentLacks is what the agent alone lacks.
	agentLacks []string
	refused    string
	failed     string
	entries    []node.Entry
	content    map[string][]byte
	looked     bool
	ended      bool
}

// transcriptLines read what stands behind the first word of a line.
var transcriptLines = map[string]func(*transcript, string) error{
	"alive":   func(*transcript, string) error { return nil },
	"lacks":   func(t *transcript, s string) error { t.lacks = append(t.lacks, s); return nil },
	"agent":   func(t *transcript, s string) error { t.agentLacks = append(t.agentLacks, s); return nil },
	"warning": func(t *transcript, s string) error { t.seen.Warnings = append(t.seen.Warnings, s); return nil },
	"refused": func(t *transcript, s string) error { t.refused = s; return nil },
	"failed":  func(t *transcript, s string) error { t.failed = s; return nil },
	"up":      func(t *transcript, s string) (err error) { t.seen.Up = true; t.seen.UpAfter, err = seconds(s); return },
	"late": func(t *transcript, s string) (err error) {
		t.seen.Late = true
		t.seen.LateAfter, err = seconds(s)
		return
	},
	"exited": func(t *transcript, s string) error { t.seen.Exited = s; return nil },
	"full":   func(t *transcript, _ string) error { t.seen.Full = true; return nil },
	"log":    (*transcript).log,
	"answer": (*transcript).answer,
	"said":   (*transcript).said,
	"key":    func(t *transcript, _ string) error { t.seen.Stored.Key = true; return nil },
	"clear":  func(t *transcript, _ string) error { t.seen.Stored.Clear = true; return nil },
	"provider": func(t *transcript, s string) error {
		t.seen.Stored.Providers = append(t.seen.Stored.Providers, s)
		return nil
	},
	"stored":  func(t *transcript, _ string) error { t.seen.Stored.Looked = true; return nil },
	"looked":  func(t *transcript, _ string) error { t.looked = true; return nil },
	"entry":   (*transcript).entry,
	"content": (*transcript).file,
	"trace":   func(t *transcript, s string) error { t.seen.Traces = append(t.seen.Traces, s); return nil },
	"end":     func(t *transcript, _ string) error { t.ended = true; return nil },
}

// seconds reads a time in seconds, with or without a fraction.
func seconds(s string) (time.Duration, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n < 0 || n > 1e6 {
		return 0, fmt.Errorf("%q is no time", s)
	}
	return time.Duration(n * float64(time.Second)), nil
}

func (t *transcript) log(line string) error {
	if len(t.seen.Log) < maxLog {
		t.seen.Log = append(t.seen.Log, line)
	}
	if c, args, known := k3s.LoggedArguments(line); known {
		t.seen.Started[c] = args // of a component that was started again the last
	}
	return nil
}

// answer reads NAME STATUS and "found" where all that was awaited was there.
func (t *transcript) answer(rest string) error {
	words := strings.Fields(rest)
	if len(words) < 2 || !t.asked[words[0]] {
		return errors.New("an answer that nobody asked for")
	}
	status, err := strconv.Atoi(words[1])
	if err != nil {
		return fmt.Errorf("%q is no status", words[1])
	}
	a := t.seen.Answers[words[0]]
	a.Status, a.Found = status, len(words) > 2 && words[2] == "found"
	t.seen.Answers[words[0]] = a
	return nil
}

// said reads one line of the answer that was named last.
func (t *transcript) said(rest string) error {
	name, line, _ := strings.Cut(rest, " ")
	a, known := t.seen.Answers[name]
	if !known {
		return errors.New("a line of an answer that nobody gave")
	}
	a.Lines = append(a.Lines, line)
	t.seen.Answers[name] = a
	return nil
}

// entry reads MODE UID GID PATH, the mode as stat -c %f prints it.
func (t *transcript) entry(rest string) error {
	words := strings.SplitN(rest, " ", 4)
	if len(words) != 4 {
		return errors.New("a file without mode, owner and path")
	}
	mode, err := strconv.ParseUint(words[0], 16, 32)
	uid, errUID := strconv.ParseUint(words[1], 10, 31)
	gid, errGID := strconv.ParseUint(words[2], 10, 31)
	if err := errors.Join(err, errUID, errGID); err != nil {
		return err
	}
	p := words[3]
	if !path.IsAbs(p) || path.Clean(p) != p || !t.request.Files.Covers(p) {
		return errors.New("a file that nobody asked for")
	}
	if len(t.entries) >= node.MaxEntries {
		return fmt.Errorf("more than %d files", node.MaxEntries)
	}
	kind, known := kinds[mode&0o170000]
	if !known {
		kind = node.KindOther
	}
	if kind != node.KindLink { // what a link leads to is looked at by its own name
		t.entries = append(t.entries, node.Entry{Path: p, Kind: kind, Mode: permissions(mode), UID: int(uid), GID: int(gid)})
	}
	return nil
}

var kinds = map[uint64]node.Kind{0o100000: node.KindFile, 0o040000: node.KindDirectory, 0o120000: node.KindLink}

func permissions(mode uint64) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for bit, special := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= special
		}
	}
	return m
}

// file reads one line of a file's content: PATH and the line.
func (t *transcript) file(rest string) error {
	p, line, _ := strings.Cut(rest, " ")
	for _, pick := range t.request.Files {
		if pick.Path == p && pick.Content {
			t.content[p] = append(append(t.content[p], line...), '\n')
			return nil
		}
	}
	return errors.New("the content of a file that nobody asked for")
}

func (t *transcript) done() *Observation {
	if t.looked {
		for i, e := range t.entries {
			if data, known := t.content[e.Path]; known {
				t.entries[i].Data, t.entries[i].Size = data, int64(len(data))
			}
		}
		t.seen.Node = node.New(t.request.Files, t.entries)
	}
	return t.seen
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
