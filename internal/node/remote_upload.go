package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// upload sends the request as a file that unpacks itself, and runs that.
func (r *RemoteMachine) upload(ctx context.Context, j *job, archive []byte, pieces []piece) (*reply, error) {
	file := path.Join(uploadDirectory, "k3s-cis-"+j.nonce+".sh")
	script := selfExtracting(j, file, archive, pieces)
	if err := r.send(ctx, j, file, script); err != nil {
		return nil, fmt.Errorf("uploading the request to %s: %w", file, err)
	}
	commands, err := r.uploadCommands(j, file)
	if err != nil {
		return nil, err
	}
	var rep *reply
	for _, command := range commands {
		rep, err = r.run(ctx, j, command, nil)
		if !errors.Is(err, errSilent) {
			break
		}
	}
	if err != nil && ctx.Err() == nil {
		// The script removes itself as soon as it runs; it may not have run.
		r.remove(ctx, file)
	}
	return rep, err
}

// removing is how long the machine has to remove a file. One that did not answer
// in time may not do so either.
const removing = time.Second

func (r *RemoteMachine) remove(ctx context.Context, file string) {
	ctx, cancel := context.WithTimeout(ctx, removing)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		cmd := &packersdk.RemoteCmd{Command: "rm -f " + file}
		if r.comm.Start(ctx, cmd) == nil {
			cmd.Wait()
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// uploadCommands returns the commands that run an uploaded script, to be tried
// one after the other.
func (r *RemoteMachine) uploadCommands(j *job, file string) ([]string, error) {
	run := "sh " + file
	if r.opt.Wrap == nil {
		return []string{fmt.Sprintf("sh -c '%[3]s; exec %[1]s' || sudo -n %[1]s || doas -n %[1]s || echo k3s-cis %[2]s cannot root", run, j.nonce, onlyRoot)}, nil
	}
	var list []string
	// Most templates want the path of something executable; those without a
	// shell in them fail where /tmp is mounted noexec.
	for _, what := range []string{file, run} {
		command, err := r.opt.Wrap(what)
		if err != nil {
			return nil, err
		}
		list = append(list, "chmod 0700 "+file+"; "+command)
	}
	return list, nil
}

// selfExtracting returns a script with the archive behind it.
func selfExtracting(j *job, file string, archive []byte, pieces []piece) []byte {
	var unpack strings.Builder
	for _, p := range pieces {
		if p.dir {
			fmt.Fprintf(&unpack, "folder %d:%d %o %s\n", p.uid, p.gid, unixMode(p.mode), quote(p.name))
			continue
		}
		fmt.Fprintf(&unpack, "piece %d %d %d:%d %o %s\n", p.offset, len(p.data), p.uid, p.gid, unixMode(p.mode), quote(p.name))
	}
	script := func(header int) string {
		return fmt.Sprintf(uploadScript, j.nonce, quote(file), header, strings.Join(quoteAll(stagingBases), " "), unpack.String(), j.questions())
	}
	// The script holds its own length, which depends on how long that number is.
	header := 0
	for len(script(header)) != header {
		header = len(script(header))
	}
	return append([]byte(script(header)), archive...)
}

const uploadScript = `#!/bin/sh
nonce=%[1]s self=%[2]s header=%[3]d
umask 077
trap : HUP PIPE TERM INT
cannot() {
	echo "k3s-cis $nonce cannot $1"
	exit
}
piece() {
	tail -c "+$((header + $1 + 1))" "$self" | head -c "$2" >"$5" && chown "$3" "$5" && chmod "$4" "$5"
}
folder() {
	mkdir "$3" && chown "$1" "$3" && chmod "00$2" "$3"
}
unpack() {
set -e
%[5]s}
{ (
	[ "$(id -u)" = 0 ] || cannot root
	work=
	for base in %[4]s; do
		mkdir -m 700 "$base/.k3s-cis-$nonce" 2>/dev/null && work=$base/.k3s-cis-$nonce && break
	done
	[ "$work" ] && cd "$work" || cannot directory
	%[6]s
	if command -v tar >/dev/null 2>&1; then
		tail -c "+$((header + 1))" "$self" | tar -xpf - >/dev/null 2>&1
	else
		(unpack) >/dev/null 2>&1
	fi
	rm -f "$self"
	[ -f end ] && . ./guard.sh </dev/null
	cd / && rm -rf "$work"
	cannot unpack
) 9>&1 >&8 8>&- | while read -r line; do :; done; } 8>&1
# The pipe ends when everything that was started here has. Should the guard have
# been killed too, what is left goes now.
rm -f "$self" 2>/dev/null
for base in %[4]s; do
	work=$base/.k3s-cis-$nonce
	[ -d "$work" ] || continue
	if [ -e "$work/armed" ] && ! [ -e "$work/settled" ]; then
		sh "$work/undo"
	elif [ -e "$work/clean" ]; then
		sh "$work/clean"
	fi >/dev/null 2>&1 && rm -rf "$work"
done
exit 0
`

func quoteAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = quote(s)
	}
	return out
}

// send uploads one file that only its owner may read. It may hold secrets of
// the node's configuration; its name cannot be guessed.
func (r *RemoteMachine) send(ctx context.Context, j *job, name string, data []byte) error {
	fi := fs.FileInfo(upload{path.Base(name), int64(len(data))})
	done := make(chan error, 1)
	go func() { done <- r.comm.Upload(name, bytes.NewReader(data), &fi) }()
	ctx, cancel := j.limit(ctx)
	defer cancel()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// upload describes the uploaded script to communicators that set modes.
type upload struct {
	name string
	size int64
}

func (u upload) Name() string     { return u.name }
func (u upload) Size() int64      { return u.size }
func (upload) Mode() fs.FileMode  { return 0o700 }
func (upload) ModTime() time.Time { return time.Now() }
func (upload) IsDir() bool        { return false }
func (upload) Sys() any           { return nil }

var _ os.FileInfo = upload{}
