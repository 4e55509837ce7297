package remote

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// hostileAnswer names the answer that a child of the test gets.
const hostileAnswer = "K3S_CIS_HOSTILE_ANSWER"

// Limits of one answer, whatever the machine sends. Other work on the host takes
// time too: what is judged is the processor's for this side alone, which caches and
// cores that are shared only ever make longer, so that the best of some runs counts.
// The time is for one that waits for something, which never ends.
const (
	hostileProcessor = 2 * time.Second
	hostileRuns      = 3
	hostileTime      = 3 * time.Minute
	hostileMemory    = 300 << 20
)

// hostileQuery asks for a tree with content and for many directories that may
// be one and the same.
func hostileQuery() node.Query {
	q := node.Query{{Path: "/c", Depth: node.Deep, Content: true}, {Path: "/proc/x", Content: true}}
	for i := range 500 {
		q = append(q, node.Pick{Path: fmt.Sprintf("/t%03d", i), Depth: 1})
	}
	return q
}

// hostileMachine is a communicator whose machine answers as no real one would.
type hostileMachine struct {
	packersdk.Communicator
	answer func(w *hostileWriter)
}

// hostileWriter is standard output of a hostile machine. It gives up once the
// other side does not read any more, and after far more than may be sent.
type hostileWriter struct {
	out, err io.Writer
	sign     string
	sent     int
	closed   bool
}

// tooMuch is more than any answer may have.
const tooMuch = 3 * maxReply

func (w *hostileWriter) raw(data []byte) bool {
	for len(data) > 0 && !w.closed {
		n := min(len(data), 32<<10)
		_, err := w.out.Write(data[:n])
		data, w.sent = data[n:], w.sent+n
		w.closed = err != nil || w.sent > tooMuch
	}
	return !w.closed
}

// say sends lines, the sign in place of every @.
func (w *hostileWriter) say(lines ...string) bool {
	return w.raw([]byte(strings.ReplaceAll(strings.Join(lines, "\n")+"\n", "@", w.sign)))
}

// endless sends block until nobody wants it any more.
func (w *hostileWriter) endless(block string) {
	data := []byte(strings.ReplaceAll(block, "@", w.sign))
	data = bytes.Repeat(data, 1+(32<<10)/len(data))
	for w.raw(data) {
	}
}

var signOf = regexp.MustCompile(`k3s-cis [0-9a-f]{32}`)

func (m *hostileMachine) Start(_ context.Context, cmd *packersdk.RemoteCmd) error {
	w := &hostileWriter{out: cmd.Stdout, err: cmd.Stderr, sign: signOf.FindString(cmd.Command)}
	go func() {
		w.say("@ ready")
		if cmd.Stdin != nil {
			_, _ = io.Copy(io.Discard, cmd.Stdin)
		}
		m.answer(w)
		cmd.SetExited(0)
	}()
	return nil
}

func (m *hostileMachine) Upload(string, io.Reader, *os.FileInfo) error {
	return errors.New("takes no file")
}

// lots is the text of many lines; %d in them is their number.
func lots(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+"\n", i)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// hostileAnswers are answers that are to exhaust this side.
var hostileAnswers = map[string]func(w *hostileWriter){
	"holes that nobody asked for": func(w *hostileWriter) {
		w.say("@ begin raw", "@ content tar")
		for i := range 2000 {
			w.raw([]byte(hole(fmt.Sprintf("./proc/%d", i), node.MaxFileSize)))
		}
		w.raw(make([]byte, 1024))
		w.say("@ end 0 2000 0 ok")
	},
	"holes in the one file that is never collected": func(w *hostileWriter) {
		w.say("@ begin raw", "e 1 8180 0 0 4194304 /proc/x/", "@ content tar")
		w.endless(hole("./proc/x", node.MaxFileSize))
	},
	"the same hole again and again": func(w *hostileWriter) {
		w.say("@ begin raw", "e 1 8180 0 0 4194304 /c/x/", "@ content tar")
		w.endless(hole("./c/x", node.MaxFileSize))
	},
	"holes in all that was asked for": func(w *hostileWriter) {
		w.say("@ begin raw", lots(16, "e 1 8180 0 0 4194304 /c/%d/"), "@ content tar")
		for i := range 16 {
			w.raw([]byte(hole(fmt.Sprintf("./c/%d", i), node.MaxFileSize)))
		}
		w.raw(make([]byte, 1024))
		w.say("@ end 16 16 0 ok")
	},
	"more holes than may be": func(w *hostileWriter) {
		w.say("@ begin raw", lots(1000, "e 1 8180 0 0 4194304 /c/%d/"), "@ content tar")
		for i := range 1000 {
			w.raw([]byte(hole(fmt.Sprintf("./c/%d", i), node.MaxFileSize)))
		}
	},
	"holes in base64": func(w *hostileWriter) {
		w.say("@ begin base64")
		text := strings.ReplaceAll("@ content tar\n", "@", w.sign) + strings.Repeat(hole("./proc/x", node.MaxFileSize), 2000)
		w.say(base64.StdEncoding.EncodeToString([]byte(text)), "@ coded")
	},
	"holes in hex": func(w *hostileWriter) {
		w.say("@ begin hex")
		text := strings.ReplaceAll("@ content tar\n", "@", w.sign) + strings.Repeat(hole("./proc/x", node.MaxFileSize), 2000)
		w.say(hex.EncodeToString([]byte(text)), "@ coded")
	},
	"a sparse map without an end": func(w *hostileWriter) {
		w.say("@ begin raw", "e 1 8180 0 0 4194304 /c/x/", "@ content tar")
		w.raw([]byte(member("./c/x", tar.TypeGNUSparse, 0, func(block []byte) {
			copy(block[386:], "00000000000\x0000000000000\x00")
			block[482] = 1
			copy(block[483:], fmt.Sprintf("%011o\x00", node.MaxFileSize))
		})))
		w.endless(strings.Repeat("00000000000\x0000000000000\x00", 21) + "\x01\x00\x00\x00\x00\x00\x00\x00")
	},
	"the sign, 1 MB of it":       func(w *hostileWriter) { w.say(strings.Repeat("@ ", 25_000)) },
	"the sign without an end":    func(w *hostileWriter) { w.endless("@ ") },
	"the sign in lines":          func(w *hostileWriter) { w.endless("@ \n") },
	"refusals without an end":    func(w *hostileWriter) { w.endless("@ cannot x\n") },
	"readiness without an end":   func(w *hostileWriter) { w.endless("@ ready\n") },
	"beginnings without an end":  func(w *hostileWriter) { w.endless("@ begin raw\n") },
	"beginnings in one line":     func(w *hostileWriter) { w.endless("@ begin raw ") },
	"one line before the answer": func(w *hostileWriter) { w.endless("x") },
	"lines before the answer":    func(w *hostileWriter) { w.endless("Welcome!\n") },
	"one byte at a time": func(w *hostileWriter) {
		for range 1 << 18 {
			w.raw([]byte("x"))
		}
	},
	"one line in the answer": func(w *hostileWriter) { w.say("@ begin raw"); w.endless("e") },
	"words in the answer":    func(w *hostileWriter) { w.say("@ begin raw"); w.endless("e 1 8180 0 0 5 ") },
	"one entry again and again": func(w *hostileWriter) {
		w.say("@ begin raw")
		w.endless("e 1 8180 0 0 5 /c/x/\n")
	},
	"entries nobody asked for": func(w *hostileWriter) {
		w.say("@ begin raw")
		for i := 0; w.say(fmt.Sprintf("e 0 8180 0 0 5 /d/%d/", i)); i++ {
		}
	},
	"entries without an end": func(w *hostileWriter) {
		w.say("@ begin raw")
		for i := 0; w.say(lots(500, fmt.Sprintf("e 1 8180 0 0 5 /c/%d-%%d/", i))); i++ {
		}
	},
	"entries of long names": func(w *hostileWriter) {
		w.say("@ begin raw")
		for i := 0; w.say(fmt.Sprintf("e 1 8180 0 0 5 /c/%d%s/", i, strings.Repeat("/n", 15_000))); i++ {
		}
	},
	"links without an end": func(w *hostileWriter) {
		w.say("@ begin raw")
		for i := 0; w.say(lots(500, fmt.Sprintf("l /c/%d-%%d/\nt x/", i))); i++ {
		}
	},
	"links nobody asked for": func(w *hostileWriter) {
		w.say("@ begin raw")
		for i := 0; w.say(lots(500, fmt.Sprintf("l /l/%d-%%d/\nt x/", i))); i++ {
		}
	},
	"kernel parameters without an end": func(w *hostileWriter) {
		w.say("@ begin raw")
		for i := 0; w.say(lots(500, fmt.Sprintf("kernel a.%d.%%d 1", i))); i++ {
		}
	},
	"errors without an end": func(w *hostileWriter) { w.say("@ begin raw"); w.endless("error x\n") },
	"many errors": func(w *hostileWriter) {
		w.say("@ begin raw", lots(150_000, "error cannot change /c/%d: no"), "@ content none", "@ end 150000 0 0 failed")
	},
	"changes without an end": func(w *hostileWriter) { w.say("@ begin raw"); w.endless("changed /c/x\n") },
	"odd names without an end": func(w *hostileWriter) {
		w.say("@ begin raw")
		w.endless("odd /c/x/\n")
	},
	"twins": func(w *hostileWriter) {
		w.say("@ begin raw", lots(100, "e 0 8180 0 0 5 /t000/%d/"), lots(500, "s /t%03d/\na 1 0 /t000/"),
			"@ content none", "@ end 1100 0 0 ok")
	},
	"many twins": func(w *hostileWriter) {
		w.say("@ begin raw", lots(49_000, "e 0 8180 0 0 5 /t000/%d/"), lots(500, "s /t%03d/\na 1 0 /t000/"),
			"@ content none", "@ end 50000 0 0 ok")
	},
	"twins of twins": func(w *hostileWriter) {
		w.say("@ begin raw", lots(100, "e 0 8180 0 0 5 /t000/%d/"))
		for i := range 499 {
			w.say(fmt.Sprintf("s /t%03d/\na 1 0 /t%03d/", i+1, i))
		}
		w.say("@ content none", "@ end 1098 0 0 ok")
	},
	"odd twins": func(w *hostileWriter) {
		w.say("@ begin raw", lots(90_000, "odd /t000/%d/"), lots(500, "s /t%03d/\na 1 0 /t000/"), "@ content none", "@ end 91000 0 0 ok")
	},
	"names that are no UTF-8": func(w *hostileWriter) {
		w.say("@ begin raw", lots(49_000, "e 1 8180 0 0 0 /c/\xff%d/"), "@ content tar")
		for i := 0; w.raw([]byte(member(fmt.Sprintf("./c/\xff%d", i), tar.TypeReg, 0, nil))); i++ {
		}
	},
	"members without bytes": func(w *hostileWriter) {
		w.say("@ begin raw", "e 1 8180 0 0 0 /c/x/", "@ content tar")
		w.endless(member("./c/x", tar.TypeReg, 0, nil))
	},
	"members nobody asked for": func(w *hostileWriter) {
		w.say("@ begin raw", "@ content tar")
		w.endless(member("./c/y", tar.TypeReg, 8<<20, nil))
	},
	"members outside": func(w *hostileWriter) {
		w.say("@ begin raw", "@ content tar")
		w.endless(member("./c/../../../etc/passwd", tar.TypeReg, 0, nil))
	},
	"hard links to one large file": func(w *hostileWriter) {
		w.say("@ begin raw", lots(20_000, "e 1 8180 0 0 4194304 /c/%d/"), "@ content tar", hole("./c/0", node.MaxFileSize))
		for i := range 20_000 {
			w.raw([]byte(member(fmt.Sprintf("./c/%d", i), tar.TypeLink, 0, func(block []byte) { copy(block[157:], "./c/0") })))
		}
	},
	"hard links to nothing": func(w *hostileWriter) {
		w.say("@ begin raw", "e 1 8180 0 0 0 /c/x/", "@ content tar")
		w.endless(member("./c/x", tar.TypeLink, 0, func(block []byte) { copy(block[157:], "./c/x") }))
	},
	"a member of 8 EiB": func(w *hostileWriter) {
		w.say("@ begin raw", "e 1 8180 0 0 5 /c/x/", "@ content tar")
		w.raw([]byte(records("size", "9223372036854775807") + member("./c/x", tar.TypeReg, 0, nil)))
		w.endless("\x00")
	},
	"PAX headers without an end": func(w *hostileWriter) {
		w.say("@ begin raw", "@ content tar")
		w.endless(records("path", "/c"))
	},
	"global PAX headers without an end": func(w *hostileWriter) {
		w.say("@ begin raw", "@ content tar")
		w.endless(member("pax", tar.TypeXGlobalHeader, 11, nil) + padded("11 path=/c\n"))
	},
	"long names without an end": func(w *hostileWriter) {
		w.say("@ begin raw", "@ content tar")
		w.endless(member("././@LongLink", tar.TypeGNULongName, 1<<20, nil) + strings.Repeat("n", 1<<20))
	},
	"padding without an end": func(w *hostileWriter) {
		w.say("@ begin raw", "@ content tar")
		w.endless("\x00")
	},
	"archives of nothing": func(w *hostileWriter) {
		w.say("@ begin raw", "@ content tar")
		w.endless(strings.Repeat("\x00", 1024) + "x")
	},
	"a compressed answer": func(w *hostileWriter) {
		w.say("@ begin raw", "@ content tar")
		w.endless("\x1f\x8b\x08\x00\x00\x00\x00\x00")
	},
	"plain files nobody asked for": func(w *hostileWriter) {
		w.say("@ begin raw", "@ content plain")
		for w.say("f 4194304 /c/y\n" + strings.Repeat("y", node.MaxFileSize)) {
		}
	},
	"a plain file again and again": func(w *hostileWriter) {
		w.say("@ begin raw", "e 1 8180 0 0 4194304 /c/y/", "@ content plain")
		for w.say("f 4194304 /c/y\n" + strings.Repeat("y", node.MaxFileSize)) {
		}
	},
	"plain files of a name without an end": func(w *hostileWriter) {
		w.say("@ begin raw", "@ content plain")
		w.endless("f 5 /c/y")
	},
	"counts that are not held": func(w *hostileWriter) {
		w.say("@ begin raw", "@ content none", "@ end 999999999999 999999999999 0 ok")
	},
	"base64 without an end": func(w *hostileWriter) { w.say("@ begin base64"); w.endless("AAAA") },
	"base64 in short lines": func(w *hostileWriter) { w.say("@ begin base64"); w.endless("A\n") },
	"spaces in base64":      func(w *hostileWriter) { w.say("@ begin base64"); w.endless(" \r\n\t") },
	"hex without an end":    func(w *hostileWriter) { w.say("@ begin hex"); w.endless("65") },
	"more after the answer": func(w *hostileWriter) {
		w.say("@ begin raw", "@ content none", "@ end 0 0 0 ok")
		w.endless("x")
	},
	"errors of the command without an end": func(w *hostileWriter) {
		w.out = w.err
		w.endless("x")
	},
}

// TestHostileAnswers reads answers that are made to exhaust this side, each in
// a process of its own, so that its memory can be told.
func TestHostileAnswers(t *testing.T) {
	if name := os.Getenv(hostileAnswer); name != "" {
		readHostile(t, hostileAnswers[name])
		return
	}
	for _, name := range slices.Sorted(maps.Keys(hostileAnswers)) {
		t.Run(name, func(t *testing.T) {
			var processor time.Duration
			for range hostileRuns {
				if processor = readInChild(t, name); raceDetector || processor < hostileProcessor {
					return
				}
			}
			assert.Less(t, processor, hostileProcessor, "in each of %d runs", hostileRuns)
		})
	}
}

// readInChild reads one hostile answer in a process of its own and returns how much
// of the processor's time that took.
func readInChild(t *testing.T, name string) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hostileTime)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestHostileAnswers$", "-test.v")
	child.Env = append(os.Environ(), hostileAnswer+"="+name)
	out, err := child.CombinedOutput()
	processor := child.ProcessState.UserTime() + child.ProcessState.SystemTime()
	peak := child.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	t.Logf("%s, %d MB: %s", processor.Round(time.Millisecond), peak>>20, regexp.MustCompile("reading the machine: .*").Find(out))
	require.NoError(t, ctx.Err(), "does not end")
	require.NoError(t, err, "%.2000s", out)
	if !raceDetector {
		assert.Less(t, peak, int64(hostileMemory))
	}
	return processor
}

// readHostile reads one hostile answer. No error may be as long as the answer.
func readHostile(t *testing.T, answer func(w *hostileWriter)) {
	m := New(&hostileMachine{answer: answer}, Options{KernelRead: []string{"vm.panic_on_oom"}})
	_, err := m.Read(t.Context(), hostileQuery())
	t.Logf("%.250v", err)
	if err != nil {
		assert.Less(t, len(err.Error()), 20_000)
	}
}

// TestCommandTimeout has machines that never end, whatever they are told.
func TestCommandTimeout(t *testing.T) {
	silent := func(w *hostileWriter) { select {} }
	for name, answer := range map[string]func(w *hostileWriter){
		"says nothing":      silent,
		"goes on with more": func(w *hostileWriter) { w.say("@ begin raw", "@ content none", "@ end 0 0 0 ok"); silent(w) },
		"sends a little at a time": func(w *hostileWriter) {
			for w.say("Please wait") {
				time.Sleep(10 * time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := New(&hostileMachine{answer: answer}, Options{Timeout: time.Second}).Read(t.Context(), hostileQuery())
			require.ErrorContains(t, err, "the command did not end within 1s, and was given up after 5s")
			assert.Less(t, time.Since(start), 15*time.Second)
		})
	}
}
