// Command testreport reads what go test -json prints and prints what go test
// would have printed, with the skipped tests counted at the end:
//
//	go test -json ./... | go run ./tools/testreport tools/skips
//
// It fails where a test failed, or where one was skipped that the file does not
// name: a test that does not run proves nothing, and nobody sees that it does not.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: testreport SKIPS")
		os.Exit(2)
	}
	list, err := os.ReadFile(os.Args[1]) //nolint:gosec // whoever calls it names the file
	if err == nil {
		var ok bool
		if ok, err = run(os.Stdin, os.Stdout, string(list), os.Getenv("PACKER_ACC") != ""); err == nil && ok {
			return
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	os.Exit(1)
}

// event is a line of go test -json; go doc test2json says what is in it.
type event struct {
	Action, Package, Test, Output string
}

// skip is a test that was skipped, and what it said.
type skip struct{ name, said string }

// report follows the tests of a run.
type report struct {
	out io.Writer
	// said is what each running test has printed, by package and name.
	said    map[string][]string
	skipped []skip
	failed  bool
}

// run prints the report of the events in, and says whether all is well.
func run(in io.Reader, out io.Writer, list string, acceptance bool) (bool, error) {
	allowed, err := parse(list, acceptance)
	if err != nil {
		return false, err
	}
	r := &report{out: out, said: map[string][]string{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.line(line)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
	}
	return r.end(allowed), nil
}

// parse reads the list: lines of WHEN NAME REASON, where WHEN is "acc" for what runs
// with PACKER_ACC alone, or "any". The name is a pattern as path.Match has it. Lines
// of "plain" are for tools/gotest, and allow nothing.
func parse(list string, acceptance bool) ([]string, error) {
	var allowed []string
	for i, line := range strings.Split(list, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if len(words) < 3 || !slices.Contains([]string{"acc", "any", "plain"}, words[0]) {
			return nil, fmt.Errorf("line %d of the list: %q is not acc, any or plain, a name and a reason", i+1, line)
		}
		if _, err := path.Match(words[1], ""); err != nil {
			return nil, fmt.Errorf("line %d of the list: %q: %w", i+1, words[1], err)
		}
		if words[0] == "any" || words[0] == "acc" && !acceptance {
			allowed = append(allowed, words[1])
		}
	}
	return allowed, nil
}

func (r *report) line(line string) {
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Action == "" {
		fmt.Fprint(r.out, line) // as of a build that failed
		return
	}
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		// Of a package only the last lines stay: ok or FAIL.
		if e.Test == "" {
			if e.Output != "PASS\n" {
				fmt.Fprint(r.out, e.Output)
			}
			return
		}
		if !strings.HasPrefix(e.Output, "=== ") {
			r.said[key] = append(r.said[key], e.Output)
		}
	case "skip":
		if e.Test != "" {
			r.skipped = append(r.skipped, skip{place(e), strings.Join(r.said[key], "")})
		}
		delete(r.said, key)
	case "pass":
		delete(r.said, key)
	case "fail":
		r.failed = true
		fmt.Fprint(r.out, strings.Join(r.said[key], ""))
		delete(r.said, key)
	}
}

// place is the room and the name of a test.
func place(e event) string {
	_, room, found := strings.Cut(e.Package, "/packer-plugin-k3s/")
	if !found {
		room = path.Base(e.Package)
	}
	return room + "." + e.Test
}

// end prints what is left and what was skipped.
func (r *report) end(allowed []string) bool {
	// A test that panics has no end.
	for _, key := range slices.Sorted(maps.Keys(r.said)) {
		if r.failed {
			fmt.Fprint(r.out, strings.Join(r.said[key], ""))
		}
	}
	unknown := 0
	for _, s := range r.skipped {
		if !slices.ContainsFunc(allowed, func(pattern string) bool { return covers(pattern, s.name) }) {
			unknown++
			fmt.Fprintf(r.out, "FAIL\tskipped, and not on the list: %s\n%s", s.name, s.said)
		}
	}
	fmt.Fprintf(r.out, "%d tests were skipped, %d of them not on the list\n", len(r.skipped), unknown)
	return unknown == 0 && !r.failed
}

// covers says whether a pattern is for a test or for one that it is a part of.
func covers(pattern, name string) bool {
	for {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
		i := strings.LastIndex(name, "/")
		if i < strings.Index(name, ".") {
			return false
		}
		name = name[:i]
	}
}
