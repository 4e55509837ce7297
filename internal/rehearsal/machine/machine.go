// Package machine rehearses the first start of a node that is a machine behind a
// communicator. One script does there, with the machine's own tools, what the room
// tree does on this host, and writes the same transcript: see
// scripts/rehearse.sh. Room remote sends it and ends it.
package machine

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
	"github.com/k3s-cis/packer-plugin-k3s/internal/remote"
)

//go:embed scripts/rehearse.sh
var script []byte

// grace is how much longer than the timeout of a request the script may take: to
// lay the files out, and to look at them.
const grace = time.Minute

// Run rehearses the first start of the machine m. Where it cannot be done there the
// error is a rehearsal.Unavailable that says what is missing. When Run returns,
// nothing of the rehearsal is left on the machine, unless the connection was lost:
// then it ends by itself as soon as the machine knows.
func Run(ctx context.Context, m *remote.Machine, r *rehearsal.Request) (*rehearsal.Observation, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	said, err := m.Run(ctx, remote.Program{
		Script: script, Files: map[string][]byte{"request.sh": []byte(variables(r) + server(r) + asks(r) + lists(r))}, Timeout: r.Timeout + grace,
	})
	if err != nil {
		return nil, fmt.Errorf("rehearsing on the machine: %w", err)
	}
	return rehearsal.Read(bytes.NewReader(bytes.ToValidUTF8(said, []byte("\uFFFD"))), r)
}

// controlPlane are the capabilities that K3s keeps without an agent, and dangerous
// those that an agent does without: none that changes the machine's modules, its
// time or its boot.
const (
	controlPlane = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+ipc_lock,+net_admin,+net_bind_service,+net_raw,+setgid,+setuid"
	dangerous    = "-sys_module,-sys_boot,-sys_time,-sys_rawio"
)

// variables returns the assignments of request.sh.
func variables(r *rehearsal.Request) string {
	agent, kept := "no", controlPlane
	if r.Agent {
		agent, kept = "yes", dangerous
	}
	var out strings.Builder
	for _, v := range [][2]string{
		{"program", r.Command[0]},
		{"directory", r.Directory},
		{"agent", agent},
		{"made_by_kernel", strings.Join(rehearsal.MadeByKernel(), " ")},
		{"kept", kept},
		{"timeout", wholeSeconds(r.Timeout)},
		{"settle", wholeSeconds(r.Settle)},
		{"scratch", strconv.FormatInt(r.Scratch, 10)},
		{"memory", strconv.FormatInt(r.Memory>>10, 10)},
		{"address", rehearsal.Address},
		{"host_name", rehearsal.HostName},
		{"database", r.Secret.Directory},
		{"database_key", r.Secret.Key},
		{"marker", r.Secret.Marker},
	} {
		fmt.Fprintf(&out, "%s=%s\n", v[0], remote.Quote(v[1]))
	}
	return out.String()
}

// wholeSeconds are those of d, and one more for what is over.
func wholeSeconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// exportable matches names that a shell and the service manager take for variables.
var exportable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// server returns the functions of the server that an agent joins.
func server(r *rehearsal.Request) string {
	var out strings.Builder
	s := r.Server
	if s == nil {
		return "server_directory=''\n"
	}
	fmt.Fprintf(&out, "server_directory=%s\nserver_up=%s\nserver_files() {\n", remote.Quote(s.Directory), remote.Quote(s.Up))
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		fmt.Fprintf(&out, "\"$1\" %s %s\n", remote.Quote(name), remote.Quote(s.Files[name]))
	}
	fmt.Fprintf(&out, "}\nserver() { exec \"$@\" env -i%s%s; }\n", quoted(s.Environment), quoted(s.Command))
	return out.String()
}

// asks returns the functions that start K3s and ask.
func asks(r *rehearsal.Request) string {
	var out, all strings.Builder
	out.WriteString("is_up() { grep -qF")
	for _, up := range r.Up {
		out.WriteString(" -e " + remote.Quote(up))
	}
	out.WriteString(" \"$1\"; }\n")
	out.WriteString("environment() {\nunset LC_ALL PWD OLDPWD LIBMOUNT_UTAB\n")
	for _, v := range r.Environment {
		if exportable.MatchString(v) {
			name, value, _ := strings.Cut(v, "=")
			fmt.Fprintf(&out, "export %s=%s\n", name, remote.Quote(value))
		}
	}
	fmt.Fprintf(&out, "}\nk3s() { exec \"$@\"%s; }\n", quoted(r.Command))
	for i, a := range r.Asks {
		once := "no"
		if len(a.Until)+len(a.Enough) == 0 {
			once = "yes"
		}
		fmt.Fprintf(&all, "\"$1\" %d %s %s\n", i, remote.Quote(a.Name), once)
		fmt.Fprintf(&out, "words_%d() { exec \"$@\"%s; }\ninput_%[1]d() { printf %%s %[3]s; }\nawaited_%[1]d() {\n", i, quoted(a.Words), remote.Quote(a.Input))
		for _, enough := range a.Enough {
			fmt.Fprintf(&out, "case $said in *%s*) return 0 ;; esac\n", remote.Quote(enough))
		}
		for _, until := range a.Until {
			fmt.Fprintf(&out, "case $said in *%s*) ;; *) return 1 ;; esac\n", remote.Quote(until))
		}
		status := 0
		if len(a.Until) == 0 {
			status = 1
		}
		fmt.Fprintf(&out, "return %d\n}\n", status)
	}
	return out.String() + "all_asks() {\n" + all.String() + "}\n"
}

func quoted(words []string) string {
	var out strings.Builder
	for _, w := range words {
		out.WriteString(" " + remote.Quote(w))
	}
	return out.String()
}

// lists returns the functions that name directories, files and what may not be in
// the datastore.
func lists(r *rehearsal.Request) string {
	var out strings.Builder
	for name, all := range map[string][]string{"all_over": r.Over, "all_traces": r.Traces} {
		fmt.Fprintf(&out, "%s() {\n", name)
		for _, dir := range all {
			fmt.Fprintf(&out, "\"$1\" %s\n", remote.Quote(path.Clean(dir)))
		}
		out.WriteString("}\n")
	}
	out.WriteString("all_files() {\n")
	for _, pick := range r.Files {
		depth, content := strconv.Itoa(pick.Depth), "0"
		if pick.Depth == node.Deep {
			depth = "deep"
		}
		if pick.Content {
			content = "1"
		}
		fmt.Fprintf(&out, "\"$1\" %s %s %s\n", depth, content, remote.Quote(pick.Path))
	}
	out.WriteString("}\nin_clear() { grep -qF")
	for _, clear := range r.Secret.Clear {
		out.WriteString(" -e " + remote.Quote(clear))
	}
	out.WriteString(" \"$1\"; }\n")
	return out.String()
}
