package fleet

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// The exit codes of Main.
const (
	exitFine     = 0
	exitError    = 1
	exitViolated = 2
)

const usage = `Usage: packer-plugin-k3s fleet [options] REPORT...

Puts reports beside each other and writes fleet.html, fleet.json, fleet.md and
fleet.csv. REPORT is a report.json, a folder with some at any depth, or a pattern.

Exit code: 0 if the policy holds, 2 if it does not, 1 if something is wrong. A
file that is no report violates every policy.

`

// Main is the command fleet: it reads the reports that the arguments name, writes
// the files, says in a few lines on out what there is to say, and returns the
// exit code.
func Main(arguments []string, now time.Time, version string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		fmt.Fprint(errs, usage)
		flags.PrintDefaults()
	}
	dir := flags.String("out", ".", "the `folder` to write to")
	since := flags.String("since", "", "an earlier `fleet.json` to compare with")
	failOn := flags.String("fail-on", "fail", "the `policy`, some of "+policyWords+", with commas between")
	switch err := flags.Parse(arguments); {
	case errors.Is(err, flag.ErrHelp):
		return exitFine
	case err != nil:
		return exitError
	case flags.NArg() == 0:
		flags.Usage()
		return exitError
	}
	p, err := parsePolicy(*failOn)
	var earlier *Fleet
	if *since != "" && err == nil {
		earlier, err = Earlier(*since)
	}
	if err == nil && p.worse && earlier == nil {
		err = errors.New("--fail-on: worse needs --since, an earlier fleet.json")
	}
	var files []string
	if err == nil {
		files, err = find(flags.Args())
	}
	if err != nil {
		fmt.Fprintln(errs, safetext.Lines(err.Error()))
		return exitError
	}
	f := Load(files, now, version)
	if earlier != nil {
		f.Since(earlier)
	}
	violations := p.violations(f)
	if err := f.write(*dir, violations); err != nil {
		fmt.Fprintln(errs, safetext.Lines(err.Error()))
		return exitError
	}
	fmt.Fprintln(out, f.verdict())
	for _, u := range f.Unreadable {
		fmt.Fprintln(errs, safetext.Line(u.Source+": "+u.Why))
	}
	if len(violations) > 0 {
		fmt.Fprintln(errs, "The policy is violated: "+strings.Join(violations, "; ")+".")
		return exitViolated
	}
	return exitFine
}

// write writes the fleet in every format.
func (f *Fleet) write(dir string, violations []string) error {
	var errs []error
	for _, format := range []struct {
		name   string
		render func(*Fleet, []string) ([]byte, error)
	}{
		{"fleet.json", renderJSON}, {"fleet.md", renderMarkdown}, {"fleet.csv", renderCSV}, {"fleet.html", renderHTML},
	} {
		data, err := format.render(f, violations)
		if err == nil {
			err = report.WriteFile(filepath.Join(dir, format.name), data)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", format.name, err))
		}
	}
	return errors.Join(errs...)
}
