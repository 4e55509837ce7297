package benchmark

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/k3s-cis/packer-plugin-k3s/internal/boot"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/sysctl"
)

// examination is one evaluation: the input, and what several controls look at
// and that is read only once.
type examination struct {
	in    Input
	paths paths
	// defaultSource names K3s's own defaults as a source.
	defaultSource string
	// lacking is told of files that are read and were not collected; nil where
	// nobody asks.
	lacking func(p string)

	// rootless says why the tree cannot be a node's root, or "".
	rootless      func() string
	configuration func() *verdict
	manifests     func() manifests
	admission     func() (*kube.Admission, *complaint)
	audit         func() (*kube.AuditPolicy, *complaint)
	refused       func() refusals
	kernel        func() (*sysctl.Parameters, error)
	boot          func() *boot.Changes
	problems      func() []k3s.Problem
	loadAdmission func(file string, data []byte) (*kube.Admission, error)
	loadAudit     func(file string, data []byte) (*kube.AuditPolicy, error)
}

// complaint is why something cannot be judged or does not hold.
type complaint struct {
	// status is Fail when the node is at fault and Error when it is the
	// evidence that is missing.
	status   Status
	text     string
	evidence []Evidence
	// remediation is empty where the control's own is right.
	remediation string
}

func examine(in Input) *examination {
	x := &examination{in: in}
	x.defaultSource = fmt.Sprintf("K3s %s default", x.release().DefaultsName())
	if in.Node == nil {
		x.in.Node = &node.Node{}
	}
	if in.Effective != nil {
		x.paths = paths{data: in.Effective.DataDir, config: in.Effective.ConfigFile}
	}
	x.rootless = sync.OnceValue(x.judgeRoot)
	x.configuration = sync.OnceValue(x.judgeConfiguration)
	x.manifests = sync.OnceValue(x.readManifests)
	x.admission = sync.OnceValues(x.readAdmission)
	x.audit = sync.OnceValues(x.readAudit)
	x.refused = sync.OnceValue(x.refusePods)
	x.kernel = sync.OnceValues(func() (*sysctl.Parameters, error) { return sysctl.Read(x.node()) })
	x.boot = sync.OnceValue(func() *boot.Changes {
		n := x.node().WithoutHidden()
		if in.Boot.Of(n) {
			return in.Boot
		}
		return boot.Read(n)
	})
	x.problems = sync.OnceValue(x.findProblems)
	x.loadAdmission = oncePerFile(func(file string, data []byte) (*kube.Admission, error) {
		return kube.LoadAdmission(x.release(), file, data, x.readFile)
	})
	x.loadAudit = oncePerFile(func(file string, data []byte) (*kube.AuditPolicy, error) {
		return kube.LoadAuditPolicy(x.release(), file, data)
	})
	return x
}

// oncePerFile keeps what load makes of each file.
func oncePerFile[T any](load func(file string, data []byte) (T, error)) func(string, []byte) (T, error) {
	var mu sync.Mutex
	made := map[string]func() (T, error){}
	return func(file string, data []byte) (T, error) {
		mu.Lock()
		once, known := made[file]
		if !known {
			once = sync.OnceValues(func() (T, error) { return load(file, data) })
			made[file] = once
		}
		mu.Unlock()
		return once()
	}
}

// readAhead reads the manifests, and what rests on them, while the controls
// that do without are judged.
func (x *examination) readAhead() *sync.WaitGroup {
	var g sync.WaitGroup
	if x.configuration() == nil && x.in.Role == k3s.Server {
		g.Go(func() {
			x.manifests()
			if x.release().AtLeast(1, 25) { // before, pods are judged by policies
				x.refused()
			}
		})
	}
	return &g
}

func (x *examination) node() *node.Node { return x.in.Node }

func (x *examination) running() bool { return x.in.Node.Kernel != nil }

func (x *examination) release() k3s.Release {
	if x.in.Effective == nil {
		return k3s.Release{}
	}
	return x.in.Effective.Release
}

// judgeConfiguration returns nil when the effective configuration can be
// relied on, and otherwise the verdict of everything that rests on it.
func (x *examination) judgeConfiguration() *verdict {
	if x.in.Effective == nil {
		return &verdict{status: Error, found: "the effective configuration of K3s is not known", reason: "the evidence is missing"}
	}
	v := &verdict{
		status: Error, reason: "what K3s will run with is not known for sure",
		remediation: "Correct what is named: what rests on K3s's configuration can be judged then.",
	}
	var texts []string
	for _, p := range x.in.Effective.Problems {
		if p.Consequence == k3s.Unreadable {
			texts = append(texts, p.Text)
			v.evidence = append(v.evidence, Evidence{Source: p.Origin.Source, Line: p.Origin.Line, Detail: p.Text})
		}
	}
	if p := x.in.Effective.Program; p != "" {
		if e, _ := x.node().Lookup(p); bytes.HasPrefix(e.Data, []byte("#!")) {
			text := p + " is a script, so what it runs cannot be judged: let the service start K3s's binary itself"
			texts, v.evidence = append(texts, text), append(v.evidence, Evidence{Source: p, Line: 1, Detail: text})
		}
	}
	if len(texts) > 0 {
		v.found = few(texts)
		return v
	}
	if found, unknown := x.k3sOnNode(); !found {
		v.found = "no K3s found on the node: no configuration file, no service, no binary"
		if unknown != "" {
			v.found += " (" + unknown + " was not looked at)"
		}
		v.reason = "K3s's defaults prove nothing where K3s is not known to run"
		v.remediation = "Install K3s's binary and its service before this provisioner; INSTALL_K3S_SKIP_START=true keeps the installer from starting it."
		return v
	}
	return nil
}

// k3sOnNode looks for a sign that K3s will run on the node: its configuration,
// its service or its binary. Without one, K3s's own defaults are no evidence.
func (x *examination) k3sOnNode() (found bool, unknown string) {
	config := x.configFile()
	if x.in.Effective.Service != nil {
		return true, ""
	}
	signs := append([]string{config}, k3s.BinaryPaths()...)
	for _, p := range signs {
		switch _, presence := x.node().Lookup(p); presence {
		case node.Present:
			return true, ""
		case node.Unknown:
			if unknown == "" {
				unknown = p
			}
		}
	}
	for _, e := range x.node().Below(k3s.DropInDir(config)) {
		if e.Kind == node.KindFile && isYAML(e.Path) {
			return true, ""
		}
	}
	return x.node().K3sVersion != "", unknown
}

func isYAML(p string) bool {
	return slices.Contains([]string{".yaml", ".yml"}, strings.ToLower(path.Ext(p)))
}

// children returns what is directly in dir; a directory that is known to be
// absent has none. The text says why that is not known.
func (x *examination) children(dir string) ([]node.Entry, string) {
	return x.below(dir, dir+"/-", false)
}

// tree returns everything below dir.
func (x *examination) tree(dir string) ([]node.Entry, string) {
	return x.below(dir, dir+"/-/-/-/-/-/-", true)
}

// below returns what is below dir, provided that a probe path there would have
// been seen.
func (x *examination) below(dir, probe string, deep bool) ([]node.Entry, string) {
	e, presence := x.node().Lookup(dir)
	switch {
	case presence == node.Unknown:
		return nil, x.unseen(dir)
	case presence == node.Absent:
		return nil, ""
	case e.Unread != "":
		return nil, fmt.Sprintf("%s could not be read: %s", dir, e.Unread)
	}
	if _, p := x.node().Lookup(probe); p == node.Unknown {
		return nil, "what is in " + dir + " was not looked at"
	}
	for _, first := range []func(string) (string, string){x.node().HiddenBelow, x.node().UndoneBelow} {
		if p, _ := first(dir); p != "" {
			return nil, x.unseen(p)
		}
	}
	var out []node.Entry
	for _, e := range x.node().Below(dir) {
		if deep && e.Kind == node.KindDirectory && e.Unread != "" {
			return nil, fmt.Sprintf("%s could not be read: %s", e.Path, e.Unread)
		}
		if deep || path.Dir(e.Path) == dir {
			out = append(out, e)
		}
	}
	return out, ""
}

// unseen says why nothing is known of p.
func (x *examination) unseen(p string) string {
	if how := x.node().Undone(p); how != "" {
		return p + " " + how
	}
	if why := x.node().Hidden(p); why != "" {
		return p + " " + why + ", so that a booted node does not see what the image has there: mount that file system over what holds data alone, such as server/db, agent/containerd or storage in K3s's data directory, or waive the control"
	}
	return p + " was not looked at"
}

// errNotCollected marks files that nothing is known of.
var errNotCollected = errors.New("was not looked at")

// readFile returns the bytes of a file of the node; it is what Kubernetes's
// loaders read with.
func (x *examination) readFile(p string) ([]byte, error) {
	e, presence := x.node().Lookup(p)
	switch {
	case presence == node.Absent:
		return nil, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
	case presence == node.Unknown && (x.node().Hidden(p) != "" || x.node().Undone(p) != ""):
		return nil, errors.New(x.unseen(p))
	case presence == node.Unknown:
		x.lack(p)
		return nil, fmt.Errorf("%s %w", p, errNotCollected)
	case e.Unread != "":
		return nil, fmt.Errorf("%s could not be read: %s", p, e.Unread)
	case e.Kind != node.KindFile:
		return nil, fmt.Errorf("%s is a %s: %w", p, e.Kind, fs.ErrNotExist)
	case e.Data == nil:
		x.lack(p)
		return nil, fmt.Errorf("the content of %s %w", p, errNotCollected)
	case len(e.Data) > k3s.MaxConfigSize:
		return nil, fmt.Errorf("%s has %d KiB, which is more than the %d KiB that are judged", p, len(e.Data)>>10, k3s.MaxConfigSize>>10)
	}
	return e.Data, nil
}

func (x *examination) lack(p string) {
	if x.lacking != nil {
		x.lacking(p)
	}
}

// file returns a file's bytes, or the complaint that the verdict becomes.
func (x *examination) file(p string) ([]byte, *complaint) {
	data, err := x.readFile(p)
	switch {
	case err == nil:
		return data, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, &complaint{status: Fail, text: p + " is missing", evidence: []Evidence{{Source: p, Detail: "not there"}}}
	}
	return nil, &complaint{status: Error, text: err.Error(), evidence: []Evidence{{Source: p, Detail: err.Error()}}}
}

// lineOf returns the line of a file that begins with word, or 0.
func (x *examination) lineOf(file, word string) int {
	data, err := x.readFile(file)
	if err != nil {
		return 0
	}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if bytes.HasPrefix(bytes.TrimSpace(text), []byte(word)) {
			return line
		}
	}
	return 0
}

func (c *complaint) verdict(expected string) verdict {
	v := verdict{status: c.status, found: c.text, expected: expected, evidence: c.evidence, remediation: c.remediation, hard: true}
	if c.status == Error {
		v.reason = "the evidence is missing"
	}
	return v
}
