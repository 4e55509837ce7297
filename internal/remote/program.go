package remote

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Program is what root's shell runs on a machine for a caller.
type Program struct {
	// Script is read by sh in a directory of its own, which is in memory where
	// that can be. Its standard input ends when it has to: when nobody waits for
	// it any more. Each line that it prints comes back whole if it is no longer
	// than MaxProgramLine.
	Script []byte
	// Files lie beside the script, by name.
	Files map[string][]byte
	// Timeout is how long it may take.
	Timeout time.Duration
}

// MaxProgramLine bounds a line that a program prints, in bytes.
const MaxProgramLine = maxLine - 100

// scriptName is what the script of a program is called there.
const scriptName = "program.sh"

// Run runs p with root's rights and returns what it printed, which is all of it or
// an error. When ctx ends the program does too.
func (r *Machine) Run(ctx context.Context, p Program) ([]byte, error) {
	opt := r.opt
	opt.Timeout = p.Timeout
	j := newJob(nil, nil, opt)
	j.program = &p
	rep, _, err := r.exchange(ctx, j)
	if err != nil {
		if ctx.Err() != nil || time.Now().After(j.until) {
			r.stop(ctx, j)
		}
		return nil, err
	}
	return rep.said, nil
}

// stop has the program of j end, and waits for that a little.
func (r *Machine) stop(ctx context.Context, j *job) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopping)
	defer cancel()
	file := stopFile(j)
	r.ask(ctx, fmt.Sprintf(": >%[1]s; for i in 1 2 3 4; do sleep 1; test -e %[1]s || exit 0; done; rm -f %[1]s", file))
	r.Settle(ctx)
}

// stopping is how long a program has for ending when it is told to.
const stopping = 8 * time.Second

// stopFile is what the user of the connection makes to end a program. Nobody else
// can know its name.
func stopFile(j *job) string { return uploadDirectory + "/k3s-cis-" + j.nonce + ".stop" }

// programFiles are the members of the archive that are the program.
func (j *job) programFiles() []jobFile {
	if j.program == nil {
		return nil
	}
	list := []jobFile{{name: "program", mode: 0o700, dir: true}, {name: "program/" + scriptName, mode: 0o600, data: j.program.Script}}
	for _, name := range slices.Sorted(maps.Keys(j.program.Files)) {
		list = append(list, jobFile{name: "program/" + name, mode: 0o600, data: j.program.Files[name]})
	}
	return list
}

// inMemory are the directories for what is to leave nothing on a disk, the first
// that works.
var inMemory = []string{"/run", "/var/lib", "/etc", ""}

// bases are the directories in which the staging directory is made.
func (j *job) bases() []string {
	if j.program != nil {
		return inMemory
	}
	return stagingBases
}

// printed reads a line that the program printed.
func (p *replyParser) printed(line string) error {
	if p.job.program == nil {
		return damaged("it holds output of a program, which was not asked for")
	}
	p.reply.said = append(append(p.reply.said, line...), '\n')
	return nil
}
