package remote

import (
	"cmp"
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

// request file: a script that unpacks itself, for where the command that runs as
// root cannot take the archive on its own standard input.

// pour sends the request file through a command of the connection's user, and
// runs it with the same command. What is cut off on the way, that removes.
func (r *Machine) pour(ctx context.Context, j *job, archive body, pieces []piece) (*reply, error) {
	file := requestFile(j)
	script := selfExtracting(j, file, archive, pieces)
	before := receive(j, file, script, archive.onDisk(), "test -t 0", "tty", fmt.Sprintf("head -c %d", script.size()))
	return r.runFile(ctx, j, file, before, script.read(r.opt.Progress))
}

// typeIn does the same where the command reads a terminal, which takes only text.
func (r *Machine) typeIn(ctx context.Context, j *job, archive body, pieces []piece) (*reply, error) {
	file := requestFile(j)
	script := selfExtracting(j, file, archive, pieces)
	before := receive(j, file, script, archive.onDisk(), "! command -v base64 >/dev/null", "base64", fmt.Sprintf("head -c %d | base64 -d", typedSize(script.size())))
	return r.runFile(ctx, j, file, before, &typing{from: script.read(r.opt.Progress)})
}

// upload sends the request file as the communicator sends files.
func (r *Machine) upload(ctx context.Context, j *job, archive body, pieces []piece) (*reply, error) {
	file := requestFile(j)
	script := selfExtracting(j, file, archive, pieces)
	// Over SFTP a new file has its mode only when all of it is there, and who has
	// it open then goes on reading: what is there already keeps its mode.
	limited, cancel := j.limit(ctx)
	r.ask(limited, "umask 077; : >"+file)
	cancel()
	if err := r.send(ctx, j, file, script); err != nil {
		if said := r.withdraw(ctx, j, file, script.size()); said != "" {
			err = fmt.Errorf("%w; it said: %s", err, said)
		}
		return nil, fmt.Errorf("uploading the request to %s: %w", file, err)
	}
	return r.runFile(ctx, j, file, "", nil)
}

// requestFile is where the request waits to be run.
func requestFile(j *job) string { return path.Join(uploadDirectory, "k3s-cis-"+j.nonce+".sh") }

// runFile runs the request file, the first time behind a command that takes it
// from standard input.
func (r *Machine) runFile(ctx context.Context, j *job, file, before string, stdin input) (*reply, error) {
	commands, err := r.fileCommands(j, file)
	if err != nil {
		return nil, err
	}
	var rep *reply
	for i, command := range commands {
		if i > 0 {
			before, stdin = "", nil
		}
		var again error
		rep, again = r.run(ctx, j, before+command, stdin)
		if i == 0 || !errors.Is(again, errSilent) {
			err = again
		}
		if !errors.Is(again, errSilent) {
			break
		}
	}
	var no refusal
	if err != nil && (!errors.As(err, &no) || passes[no] == 0) {
		// The script removes itself as soon as it runs; it may not have run.
		r.withdraw(ctx, j, file, 0)
	}
	return rep, err
}

// receive returns the beginning of a command that takes the request file from
// standard input, unless it is refused at once. Only the user may read the file.
// Where less than all of it comes, it is gone, and nothing else is run. Files of the
// build host with large bytes in all are not sent before there is room for them.
func receive(j *job, file string, script body, large int64, refused, why, take string) string {
	say := "echo k3s-cis " + j.nonce + " cannot "
	size, room := script.size(), ""
	if large > 0 {
		room = j.refuseFull(source.there, uploadRoom(size, large)...)
	}
	return fmt.Sprintf("sh -c '%[1]s; %[6]s && { %[2]s%[7]s; exit 1; }; %[9]strap : HUP PIPE TERM INT; umask 077; echo k3s-cis %[3]s ready; "+
		"if %[8]s >%[5]s; then wc -c <%[5]s | grep -qx %[4]d && exit 0; test -s %[5]s && %[2]swhole || %[2]sstdin; else %[2]supload; fi; "+
		"rm -f %[5]s; exit 1' || exit 1; ", calm, say, j.nonce, size, file, refused, why, take, room)
}

// fileCommands returns the commands that run the request file, to be tried
// one after the other.
func (r *Machine) fileCommands(j *job, file string) ([]string, error) {
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
func selfExtracting(j *job, file string, archive body, pieces []piece) body {
	var unpack strings.Builder
	for _, p := range pieces {
		if p.dir {
			fmt.Fprintf(&unpack, "folder %d:%d %o %s\n", p.uid, p.gid, unixMode(p.mode), quote(p.name))
			continue
		}
		fmt.Fprintf(&unpack, "piece %d %d %d:%d %o %s\n", p.offset, p.size(), p.uid, p.gid, unixMode(p.mode), quote(p.name))
	}
	bases := ""
	for _, base := range j.bases() {
		bases += `"$1" ` + quote(base) + "\n"
	}
	script := func(header int) string {
		return fmt.Sprintf(uploadHead, j.nonce, quote(file), header, int64(header)+archive.size(), bases, unpack.String(), j.questions(), keepFree) +
			string(scriptText("upload.sh"))
	}
	// The script holds its own length, which depends on how long that number is.
	header := 0
	for len(script(header)) != header {
		header = len(script(header))
	}
	return append(body{{data: []byte(script(header))}}, archive...)
}

// uploadHead is what scripts/upload.sh needs before it. It begins again in a shell
// of its own: the one that reads it may end at the first failure (-e), print what
// it does (-x), hold functions, aliases and traps, and be any. What an option, a
// file or a variable could change comes with neither an argument nor the
// environment then. One line does it, since a shell may print each that it reads
// (-v), or read one only (-t); the variable has bash look for its own commands
// before functions.
const uploadHead = `#!/bin/sh
POSIXLY_CORRECT=1; case ${1-} in %[1]s) ;; *) \exec env -i PATH="${PATH:-/bin:/usr/bin}" HOME="${HOME:-/}" LC_ALL=C sh %[2]s %[1]s; \exit ;; esac
nonce=%[1]s self=%[2]s header=%[3]d size=%[4]d
all_bases() {
%[5]s}
unpack() {
set -e
%[6]s}
ask() %[7]s
keep_free() { %[8]s; }
`

// send uploads one file that only its owner may read. It may hold secrets of
// the node's configuration; its name cannot be guessed. When ctx ends, so does
// what is sent.
func (r *Machine) send(ctx context.Context, j *job, name string, data body) error {
	ctx, cancel := j.limit(ctx)
	defer cancel()
	fi := fs.FileInfo(upload{path.Base(name), data.size()})
	done := make(chan error, 1)
	from := data.read(r.opt.Progress)
	go func() {
		err := r.comm.Upload(name, ending{ctx, from}, &fi)
		done <- cmp.Or(from.failure(), err)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	// What is under way may still make the file.
	select {
	case <-done: //nolint:errcheck // follows from the end of the context
	case <-time.After(j.farewell()):
	}
	return context.Cause(ctx)
}

// farewell is how long the machine has for each step of removing what is left of
// a request. One that did not answer in time may not do so either.
func (j *job) farewell() time.Duration {
	if time.Now().After(j.until) {
		return time.Second / 2
	}
	return 4 * time.Second
}

// withdraw removes the request file, also when ctx has ended: a communicator
// whose connection is gone makes another. Where size is not 0 and so many bytes
// cannot be written there, the result is what the machine says to that.
func (r *Machine) withdraw(ctx context.Context, j *job, file string, size int64) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.farewell())
	defer cancel()
	command := "rm -f " + file
	if size > 0 {
		// SFTP has no word for a full disk.
		command += fmt.Sprintf("; head -c %d /dev/zero >%s; rm -f %[2]s", size, file)
	}
	return r.ask(ctx, command)
}

// ask runs a command of the connection's user until ctx ends, and returns the
// end of what it prints.
func (r *Machine) ask(ctx context.Context, command string) string {
	said := newOutput(nil, 64<<10)
	cmd := &packersdk.RemoteCmd{Command: "sh -c '" + command + "'", Stdout: said, Stderr: said}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if r.comm.Start(ctx, cmd) == nil {
			cmd.Wait()
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	return said.lastLines()
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
