package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Options say how a machine is reached.
type Options struct {
	// Wrap renders the user's execute_command around what is to be run, which
	// is the path of an uploaded script or a command that runs it. The command
	// gets root's rights in it. Nil means: as it is when the user is root,
	// else with sudo -n, else with doas -n.
	Wrap func(command string) (string, error)
	// Timeout is the longest that one exchange may take; 0 means 10 minutes.
	// It holds on the machine too, where that has the tool timeout.
	Timeout time.Duration
	// Log gets one line for each thing that is done; nil drops them. No line
	// holds a command or a file's content.
	Log func(string)
	// Progress gets a line every few seconds while files of the build host are on
	// their way to the machine; nil drops them.
	Progress func(string)
	// KernelRead names the parameters to collect from a running kernel into
	// Node.Kernel; one that the kernel does not have is left out.
	KernelRead []string
	// K3sVersion asks the K3s binary for its version into Node.K3sVersion.
	K3sVersion bool
	// Early returns an answer as soon as it is whole, while the command still
	// cleans up on the machine; Settle waits for that.
	Early bool
	// Container says that an image is made of the root file system of a
	// container, without what is mounted into it. What a request has to do with
	// must then not lie on such a mount; a command of its own asks for that.
	Container bool
}

const (
	defaultTimeout = 10 * time.Minute
	// shortestPatience and longestPatience bound patience: what was changed is
	// not taken back sooner because the timeout is short.
	shortestPatience, longestPatience = 4 * time.Second, 30 * time.Second
)

// patience is how much longer this side waits than the machine itself, which
// then still has to take back what it changed.
func patience(timeout time.Duration) time.Duration {
	return min(max(timeout*2/5, shortestPatience), longestPatience)
}

// Machine is a node behind a Packer communicator. Everything travels
// through one command: an archive goes in on its standard input, another
// comes back on its standard output. Where that cannot be, one file is
// uploaded before the command. Exit status 0 proves nothing: an answer counts
// only when it is whole and signed with the nonce of the request.
type Machine struct {
	comm packersdk.Communicator
	opt  Options

	mu sync.Mutex
	// way is the first way that the machine has not refused yet, so that the next
	// exchange need not ask again.
	way int
	// cleaning is closed when the last command has ended; nil before the first.
	cleaning <-chan struct{}
}

var _ node.Target = (*Machine)(nil)

// New returns the node behind comm.
func New(comm packersdk.Communicator, opts Options) *Machine {
	if opts.Timeout <= 0 {
		opts.Timeout = defaultTimeout
	}
	if opts.Log == nil {
		opts.Log = func(string) {}
	}
	return &Machine{comm: comm, opt: opts}
}

// Settle waits until the last command has ended, which it does by itself, and
// until ctx ends at the longest.
func (r *Machine) Settle(ctx context.Context) {
	r.mu.Lock()
	cleaning := r.cleaning
	r.mu.Unlock()
	if cleaning == nil {
		return
	}
	select {
	case <-cleaning:
	case <-ctx.Done():
	case <-time.After(patience(r.opt.Timeout)):
	}
}

// Read collects q with one command and changes nothing on the machine but a
// staging directory of its own, which it removes.
func (r *Machine) Read(ctx context.Context, q node.Query) (*node.Node, error) {
	if err := q.Check(); err != nil {
		return nil, fmt.Errorf("reading the machine: %w", err)
	}
	started := time.Now()
	rep, way, err := r.request(ctx, newJob(nil, q, r.opt))
	if err != nil {
		return nil, fmt.Errorf("reading the machine: %w", err)
	}
	r.opt.Log(fmt.Sprintf("Collected %d paths with %s in %s", len(rep.node.Entries()), way, took(started)))
	return rep.node, nil
}

// Apply puts c in place and reads q back, with one command. Whatever goes
// wrong on the way, the machine is as before or completely changed, and the
// error says which when that is known.
func (r *Machine) Apply(ctx context.Context, c node.Change, q node.Query) (*node.Outcome, error) {
	if err := q.Check(); err != nil {
		return nil, fmt.Errorf("reading the machine: %w", err)
	}
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("changing the machine: %w", err)
	}
	started := time.Now()
	rep, way, err := r.request(ctx, newJob(&c, q, r.opt))
	if err != nil {
		return nil, fmt.Errorf("changing the machine: %w", err)
	}
	if rep.recovered {
		r.opt.Log("Took back what an earlier run, cut off in the middle, had changed")
	}
	out := &node.Outcome{
		Node: rep.node, Stale: rep.stale, Changed: rep.changed, KernelSet: rep.kernelSet,
		Way: way, Took: time.Since(started),
	}
	if !out.Stale {
		if err := verify(c, out.Node); err != nil {
			return nil, fmt.Errorf("changing the machine: %w", err)
		}
	}
	r.opt.Log(fmt.Sprintf("Changed %d and collected %d paths with %s in %s",
		len(out.Changed), len(out.Node.Entries()), way, took(started)))
	return out, nil
}

// request sends j, unless part of it could not get into an image.
func (r *Machine) request(ctx context.Context, j *job) (*reply, string, error) {
	if !r.opt.Container {
		return r.exchange(ctx, j)
	}
	if err := r.refuseMounts(ctx, j, j.places()); err != nil {
		return nil, "", err
	}
	rep, way, err := r.exchange(ctx, j)
	if err == nil {
		err = r.refuseMounts(ctx, j, j.linked(rep.node))
	}
	return rep, way, err
}

// verify compares what was read back with what was written, as far as the
// query covers it.
func verify(c node.Change, n *node.Node) error {
	var errs []error
	for _, want := range c.Write {
		have, presence := n.Lookup(want.Path)
		switch {
		case presence == node.Unknown:
		case presence == node.Absent:
			errs = append(errs, fmt.Errorf("%s is not there after it was written", want.Path))
		case have.Kind != want.Kind || have.Mode != want.Mode || have.UID != want.UID || have.GID != want.GID:
			errs = append(errs, fmt.Errorf("%s: read back %s %v %d:%d after writing %s %v %d:%d", want.Path,
				have.Kind, have.Mode, have.UID, have.GID, want.Kind, want.Mode, want.UID, want.GID))
		case !isWhole(want, have):
			errs = append(errs, fmt.Errorf("%s: what was read back is not what was written", want.Path))
		}
	}
	for p, to := range c.Links {
		if have, presence := n.Lookup(p); presence != node.Unknown && have.Target != to {
			errs = append(errs, fmt.Errorf("%s: read back %q after making a symbolic link to %q", p, have.Target, to))
		}
	}
	for _, p := range c.Remove {
		if _, presence := n.Lookup(p); presence == node.Present {
			errs = append(errs, fmt.Errorf("%s is still there after it was removed", p))
		}
	}
	for _, p := range c.RemoveAll {
		// A directory that something is mounted on stays.
		if e, presence := n.Lookup(p); presence == node.Present && (e.Kind != node.KindDirectory || e.Target != "" || len(n.Below(p)) > 0) {
			errs = append(errs, fmt.Errorf("%s is still there after it was removed with all below it", p))
		}
	}
	return errors.Join(errs...)
}

// isWhole says whether what was read back has the content that was written, as far as
// it was read. The digest of a file of the build host was compared on the machine.
func isWhole(want, have node.Entry) bool {
	switch {
	case want.Kind != node.KindFile:
		return true
	case want.Source != nil:
		return have.Size == want.Source.Size && (have.Data == nil || sha256.Sum256(have.Data) == want.Source.SHA256)
	}
	return have.Data == nil || bytes.Equal(have.Data, want.Data)
}

func took(since time.Time) string {
	return fmt.Sprintf("%.1f s", time.Since(since).Seconds())
}
