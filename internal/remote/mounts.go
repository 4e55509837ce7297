package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// engineFiles are what every container engine mounts into every container in
// place of the image's own.
var engineFiles = []string{"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}

// volatile are directories that no image holds anything in: the kernel makes up
// what is in them, or each boot empties them.
var volatile = []string{"/proc", "/sys", "/dev", "/run", "/tmp"}

// questionSize bounds the shell words of one question, in bytes: the kernel
// takes no argument longer than 128 KiB, and quoting them once more adds some.
const questionSize = 48 << 10

// maxMounts bounds the answer to one question, in bytes.
const maxMounts = 4 << 20

// place is a path that a request has to do with, and how far below it.
type place struct {
	path  string
	depth int
}

// places are all paths that j reads, writes or removes.
func (j *job) places() []place {
	var out []place
	for _, pick := range j.query {
		out = append(out, place{pick.Path, pick.Depth})
	}
	if c := j.change; c != nil {
		for _, e := range c.Write {
			out = append(out, place{e.Path, 0})
		}
		for _, p := range slices.Concat(c.Remove, slices.Sorted(maps.Keys(c.Links))) {
			out = append(out, place{p, 0})
		}
		for _, p := range c.RemoveAll {
			out = append(out, place{p, node.Deep})
		}
		for _, p := range slices.Sorted(maps.Values(c.Keep)) {
			out = append(out, place{p, 0})
		}
	}
	return out
}

// linked are the links that were found on the way through a directory: what
// they lead to was collected in their place, or is not there.
func (j *job) linked(n *node.Node) []place {
	var out []place
	for _, e := range n.Entries() {
		asked := slices.ContainsFunc(j.query, func(pick node.Pick) bool { return pick.Path == e.Path })
		if e.Target != "" && !asked {
			out = append(out, place{e.Path, 0})
		}
	}
	return out
}

// refuseMounts fails when one of the places that j has to do with lies on a
// file system mounted into the container. What is written there is not in the
// image that is made of the container, and what is read there proves nothing of
// it.
func (r *Machine) refuseMounts(ctx context.Context, j *job, rest []place) error {
	on := map[string][]string{}
	for len(rest) > 0 {
		n, size := 0, 0
		for ; n < len(rest) && (n == 0 || size < questionSize); n++ {
			size += len(quote(quote(rest[n].path))) + 1
		}
		answer, err := r.askMounts(ctx, j, rest[:n])
		if err != nil {
			return fmt.Errorf("asking the container what is mounted into it: %w", err)
		}
		for i, p := range rest[:n] {
			if at := mountOf(answer.mounts, place{answer.real[i], p.depth}); at != "" {
				on[at] = append(on[at], p.path)
			}
		}
		rest = rest[n:]
	}
	var errs []error
	for _, at := range slices.Sorted(maps.Keys(on)) {
		slices.Sort(on[at])
		paths := slices.Compact(on[at])
		more := ""
		if len(paths) > 1 {
			more = fmt.Sprintf(" and %d more", len(paths)-1)
		}
		errs = append(errs, fmt.Errorf("%s is mounted into the container, so that the image gets nothing of what is there, and %s%s cannot be hardened or judged: take it out of volumes and tmpfs of the source, or start from an image that has no VOLUME there", at, paths[0], more))
	}
	return errors.Join(errs...)
}

// mountOf returns the mount point that p lies on, or that lies within the depth
// to which p is walked; empty where p is in the container's own root file system.
func mountOf(mounts []string, p place) string {
	for _, at := range mounts {
		if at == "/" || slices.Contains(engineFiles, at) || slices.ContainsFunc(volatile, func(dir string) bool { return node.Within(dir, at) }) {
			continue
		}
		if node.Within(at, p.path) {
			return at
		}
		if below, ok := strings.CutPrefix(at, strings.TrimSuffix(p.path, "/")+"/"); ok &&
			(p.depth == node.Deep || strings.Count(below, "/") < p.depth) {
			return at
		}
	}
	return ""
}

// containerMounts is what a container says of its mounts.
type containerMounts struct {
	uid    int
	mounts []string
	real   []string // of each place that was asked for, links resolved
}

// askMounts asks with the rights of the connection's user and, where that is
// not root, once more with root's, since others cannot follow links everywhere.
func (r *Machine) askMounts(ctx context.Context, j *job, places []place) (*containerMounts, error) {
	command := "sh -c " + quote(mountsScript(j.nonce, places))
	answer, err := r.mounts(ctx, j, command, len(places))
	if err != nil || answer.uid == 0 {
		return answer, err
	}
	as := "sudo -n " + command + " || doas -n " + command
	if r.opt.Wrap != nil {
		var ok bool
		if as, ok = r.wrapStream(command); !ok {
			// A template for scripts: what it runs is refused later if it does
			// not give root's rights.
			return answer, nil
		}
	}
	rooted, err := r.mounts(ctx, j, as, len(places))
	if err == nil && rooted.uid == 0 {
		return rooted, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("commands run in the container as user %d, and nothing gives them root's rights: set exec_user = \"root\" in the source, or execute_command", answer.uid)
}

// mountsScript prints who runs it, the mounts, and where each place really is.
// A directory is entered to follow its links, which takes no process; a path
// that is not there is where its nearest directory is.
func mountsScript(nonce string, places []place) string {
	words := make([]string, len(places))
	for i, p := range places {
		words[i] = quote(p.path)
	}
	return fmt.Sprintf(`echo "k3s-cis %[1]s mounts $(id -u)"
sed "s/^/m /" /proc/self/mountinfo
for path in %[2]s; do
	real=
	[ -L "$path" ] && real=$(readlink -f "$path")
	if [ -z "$real" ] && [ -L "$path" ]; then
		to=$(readlink "$path")
		case $to in
		/*) path=$to ;;
		*) path=${path%%/*}/$to ;;
		esac
	fi
	if [ -z "$real" ]; then
		at=$path
		below=
		while [ "$at" ] && ! [ -d "$at" ]; do
			below=/${at##*/}$below
			at=${at%%/*}
		done
		real=$(cd -P "$at/" 2>/dev/null && pwd -P) || real=$at
		real=$real$below
	fi
	printf "p %%s\n" "$real"
done
echo "k3s-cis %[1]s mounts end"`, nonce, strings.Join(words, " "))
}

// mounts runs one question and reads its answer, which must be whole.
func (r *Machine) mounts(ctx context.Context, j *job, command string, places int) (*containerMounts, error) {
	limited, cancel := j.limit(ctx)
	defer cancel()
	began := time.Now()
	var data bytes.Buffer
	out, errOut := newOutput(&data, maxMounts), newOutput(nil, maxReply)
	cmd := &packersdk.RemoteCmd{Command: command, Stdout: out, Stderr: errOut}
	ended := make(chan error, 1)
	go func() {
		err := r.comm.Start(limited, cmd)
		if err == nil {
			cmd.Wait()
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			return nil, fmt.Errorf("starting the command: %w", err)
		}
	case <-out.over:
		return nil, fmt.Errorf("the machine sent more than %d MiB in %s", maxMounts>>20, took(began))
	case <-errOut.over:
		return nil, errTooMuch(began)
	case <-limited.Done():
		return nil, context.Cause(limited)
	}
	answer, err := parseMounts(data.String(), j.nonce)
	if err == nil && len(answer.real) != places {
		err = errCut
	}
	if err != nil {
		return nil, mountsError(err, r.redact(errOut.lastLines()))
	}
	return answer, nil
}

// mountsError adds what the command said, and what the user can do about it.
func mountsError(err error, said string) error {
	switch {
	case strings.Contains(said, "not a TTY"):
		return fmt.Errorf("%w: pty = true of the source wants a terminal, which Packer does not have: take it out", err)
	case said != "":
		return fmt.Errorf("%w; it said: %s", err, said)
	}
	return err
}

// parseMounts reads what mountsScript prints, also from a terminal.
func parseMounts(out, nonce string) (*containerMounts, error) {
	sign := "k3s-cis " + nonce + " mounts "
	_, body, found := strings.Cut(out, sign)
	if !found {
		return nil, errSilent
	}
	body, _, found = strings.Cut(body, sign+"end")
	if !found {
		return nil, errCut
	}
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(body, "\r\n", "\n"), "\n"), "\n")
	uid, err := strconv.Atoi(lines[0])
	if err != nil {
		return nil, fmt.Errorf("the answer of the container is damaged: user %q", excerpt(lines[0]))
	}
	a := &containerMounts{uid: uid}
	root := false
	for _, line := range lines[1:] {
		kind, rest, _ := strings.Cut(line, " ")
		switch fields := strings.Fields(rest); {
		case kind == "m" && len(fields) > 5:
			at := unescapeMount(fields[4])
			a.mounts, root = append(a.mounts, at), root || at == "/"
		case kind == "p" && path.IsAbs(rest):
			a.real = append(a.real, path.Clean(rest))
		default:
			return nil, fmt.Errorf("the answer of the container is damaged: line %q", excerpt(line))
		}
	}
	if !root {
		return nil, errors.New("the container does not say what its root file system is: /proc is not mounted in it")
	}
	return a, nil
}

var octal = regexp.MustCompile(`\\[0-7]{3}`)

// unescapeMount undoes how the kernel writes spaces, tabs, line breaks and
// backslashes in proc(5) mountinfo.
func unescapeMount(s string) string {
	return octal.ReplaceAllStringFunc(s, func(code string) string {
		n, err := strconv.ParseUint(code[1:], 8, 8)
		if err != nil {
			return code
		}
		return string([]byte{byte(n)})
	})
}
