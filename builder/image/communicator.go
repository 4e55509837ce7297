package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	securejoin "github.com/cyphar/filepath-securejoin"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// communicator is the way provisioners reach a tree that no machine runs:
// files are copied in and out by this process, with exact modes, and commands
// run in the tree as their root. Paths are resolved as they would be if the
// tree were "/": no symbolic link leads out of it.
type communicator struct {
	root     string
	readOnly bool

	// volatile takes the tree's /run in memory away.
	volatile func() error

	// running ends when the tree is taken away; commands end with it.
	running context.Context
	end     context.CancelFunc
	mu      sync.Mutex
	closed  bool
	busy    sync.WaitGroup
}

var _ packersdk.Communicator = (*communicator)(nil)

func newCommunicator(ctx context.Context, root string, readOnly bool) *communicator {
	running, end := context.WithCancel(ctx)
	return &communicator{root: root, readOnly: readOnly, running: running, end: end, volatile: func() error { return nil }}
}

// open makes the tree ready for commands.
func (c *communicator) open() (err error) {
	if c.readOnly {
		return nil
	}
	volatile, err := mountVolatile(c.root)
	if err == nil {
		c.volatile = sync.OnceValue(volatile)
	}
	return err
}

// close ends all commands and refuses new work; when it returns, nothing of
// the communicator's uses the tree.
func (c *communicator) close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.busy.Wait()
	return c.volatile()
}

// enter announces work on the tree; the caller calls c.busy.Done after it.
func (c *communicator) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errors.New("the image's tree is closed: the build has moved on or was cancelled")
	}
	c.busy.Add(1)
	return nil
}

// change is enter for work that changes the tree.
func (c *communicator) change(what string) error {
	if c.readOnly {
		return fmt.Errorf("read_only = true: %s is refused; remove read_only or this provisioner", what)
	}
	return c.enter()
}

// host is where a path inside the tree is on this host.
func (c *communicator) host(inside string) (string, error) {
	return securejoin.SecureJoin(c.root, inside)
}

// cannotRun is the exit status of a command that could not be started, as a
// shell would give it.
const cannotRun = 126

// Start runs a command in the tree by its own /bin/sh, exactly as written. It
// returns once the command runs. A command that the tree cannot run ends at
// once and says why on its standard error: to Packer's provisioners an error
// is a machine that still boots, which they try again for minutes.
func (c *communicator) Start(ctx context.Context, cmd *packersdk.RemoteCmd) error {
	if err := c.change("running a command"); err != nil {
		return err
	}
	done, err := startCommand(ctx, c.running, c.root, cmd)
	if err != nil {
		defer c.busy.Done()
		if cmd.Stderr != nil {
			_, _ = fmt.Fprintf(cmd.Stderr, "k3s-image: %s\n", err)
		}
		cmd.SetExited(cannotRun)
		return nil
	}
	go func() {
		defer c.busy.Done()
		cmd.SetExited(<-done)
	}()
	return nil
}

// Upload writes r to the file dst. A new file is root's, an old one keeps its
// owner. With info the file gets exactly its mode; without, a new file is 0644
// and an old one keeps its mode.
func (c *communicator) Upload(dst string, r io.Reader, info *os.FileInfo) error {
	if err := c.change("uploading " + dst); err != nil {
		return err
	}
	defer c.busy.Done()
	var mode *fs.FileMode
	if info != nil && (*info) != nil {
		m := (*info).Mode() & modeBits
		mode = &m
	}
	if err := c.write(dst, r, mode); err != nil {
		return fmt.Errorf("uploading %s: %w", dst, err)
	}
	return nil
}

// modeBits are the bits of a mode that an upload carries over.
const modeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// write replaces or makes the file at inside, all or nothing.
func (c *communicator) write(inside string, r io.Reader, mode *fs.FileMode) (err error) {
	host, err := c.host(inside)
	if err != nil {
		return err
	}
	want := fs.FileMode(0o644)
	old, err := os.Lstat(host)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		old = nil
	case err != nil:
		return err
	case !old.Mode().IsRegular():
		return fmt.Errorf("is there and no regular file: %s", old.Mode())
	default:
		want = old.Mode() & modeBits
	}
	if mode != nil {
		want = *mode
	}
	f, err := os.CreateTemp(filepath.Dir(host), ".packer-upload-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	if err := keepOwner(f, old); err != nil {
		return err
	}
	if err := f.Chmod(want); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), host); err != nil {
		return err
	}
	return f.Close()
}

// UploadDir copies the directory src of this host below dst, which is made if
// it is not there. As with rsync, the directory itself is made in dst unless
// src ends with a slash. Modes of what is new are exact; symbolic links become copies of
// what they point to, as with the other communicators. exclude holds patterns
// of paths below src.
func (c *communicator) UploadDir(dst, src string, exclude []string) error {
	if err := c.change("uploading " + src); err != nil {
		return err
	}
	defer c.busy.Done()
	if !strings.HasSuffix(src, "/") {
		dst = path.Join(dst, filepath.Base(src))
	}
	if err := c.uploadTree(dst, filepath.Clean(src), "", exclude); err != nil {
		return fmt.Errorf("uploading %s to %s: %w", src, dst, err)
	}
	return nil
}

func (c *communicator) uploadTree(dst, src, below string, exclude []string) error {
	info, err := os.Stat(src)
	if err != nil {
		return err
	}
	mode := info.Mode() & modeBits
	if !info.IsDir() {
		f, err := os.Open(src)
		if err != nil {
			return err
		}
		defer f.Close()
		return c.write(dst, f, &mode)
	}
	host, err := c.host(dst)
	if err != nil {
		return err
	}
	// A directory that is there keeps its mode: /tmp and /root have their own.
	if _, err := os.Stat(host); errors.Is(err, fs.ErrNotExist) {
		if err := errors.Join(os.MkdirAll(host, 0o755), os.Chmod(host, mode)); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(below, e.Name())
		if excluded(name, exclude) {
			continue
		}
		if err := c.uploadTree(path.Join(dst, e.Name()), filepath.Join(src, e.Name()), name, exclude); err != nil {
			return err
		}
	}
	return nil
}

// excluded says whether one of patterns matches a path or its last part.
func excluded(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		p = strings.Trim(filepath.ToSlash(p), "/")
		whole, _ := path.Match(p, name)
		last, _ := path.Match(p, path.Base(name))
		return whole || last
	})
}

// Download copies the file src of the tree to w.
func (c *communicator) Download(src string, w io.Writer) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.busy.Done()
	host, err := c.host(src)
	if err != nil {
		return fmt.Errorf("downloading %s: %w", src, err)
	}
	if err := copyOut(host, w); err != nil {
		return fmt.Errorf("downloading %s: %w", src, err)
	}
	return nil
}

func copyOut(host string, w io.Writer) error {
	info, err := os.Lstat(host)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("no regular file: %s", info.Mode())
	}
	f, err := os.Open(host)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// DownloadDir copies the directory src of the tree below dst on this host,
// the counterpart of UploadDir. Devices, pipes and sockets are left out.
func (c *communicator) DownloadDir(src, dst string, exclude []string) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.busy.Done()
	if !strings.HasSuffix(src, "/") {
		dst = filepath.Join(dst, path.Base(src))
	}
	if err := c.downloadTree(src, dst, "", exclude); err != nil {
		return fmt.Errorf("downloading %s to %s: %w", src, dst, err)
	}
	return nil
}

func (c *communicator) downloadTree(src, dst, below string, exclude []string) error {
	host, err := c.host(src)
	if err != nil {
		return err
	}
	info, err := os.Lstat(host)
	if err != nil {
		if below != "" && errors.Is(err, fs.ErrNotExist) {
			return nil // a link that leads nowhere
		}
		return err
	}
	switch {
	case info.IsDir():
	case info.Mode().IsRegular():
		f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm())
		if err != nil {
			return err
		}
		return errors.Join(copyOut(host, f), f.Close())
	default:
		return nil
	}
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(host)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(below, e.Name())
		if excluded(name, exclude) {
			continue
		}
		if strings.Count(name, "/") > maxDepth {
			return fmt.Errorf("%s: deeper than %d directories; does a symbolic link lead to its own parent?", name, maxDepth)
		}
		if err := c.downloadTree(path.Join(src, e.Name()), filepath.Join(dst, e.Name()), name, exclude); err != nil {
			return err
		}
	}
	return nil
}

// maxDepth is how deep a download goes before it takes links for a circle.
const maxDepth = 100
