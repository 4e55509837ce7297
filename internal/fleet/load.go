package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// reportFile is what a report for programs is called in a folder.
const reportFile = "report.json"

// maxReport is how large a report may be, in bytes. A real one has a fifth of a
// megabyte.
const maxReport = 64 << 20

// find returns the reports that arguments name, each once and sorted: a file, a
// folder with every report.json in it at any depth, or a pattern of either.
func find(arguments []string) ([]string, error) {
	var errs []error
	seen := map[string]bool{}
	for _, argument := range arguments {
		names := []string{argument}
		if _, err := os.Lstat(argument); err != nil {
			if names, err = filepath.Glob(argument); err != nil || len(names) == 0 {
				errs = append(errs, fmt.Errorf("%q is no file, no folder and no pattern that fits one", argument))
			}
		}
		for _, name := range names {
			found, err := below(name)
			if err != nil {
				errs = append(errs, err)
			}
			for _, f := range found {
				seen[filepath.Clean(f)] = true
			}
		}
	}
	var out []string
	for f := range seen {
		out = append(out, f)
	}
	slices.Sort(out)
	return out, errors.Join(errs...)
}

// below returns the reports in a folder, or the file itself.
func below(name string) ([]string, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return []string{name}, nil
	}
	var out []string
	err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() == reportFile {
			out = append(out, path)
		}
		return err
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%q has no %s in it", name, reportFile)
	}
	return out, err
}

// numbered says which number a control has in a benchmark.
type numbered struct {
	Control
	benchmark string
}

// Load reads reports, several at a time, and says what there is to say of them at
// now. A file that is no report is in Unreadable.
func Load(files []string, now time.Time, version string) *Fleet {
	var (
		from       report.Loader
		mu         sync.Mutex
		work       sync.WaitGroup
		images     []Image
		unreadable = []Unreadable{}
		controls   = map[string]numbered{}
		next       = make(chan string)
	)
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for file := range next {
				r, err := read(&from, file)
				i := imageOf(file, r)
				mu.Lock()
				if err != nil {
					unreadable = append(unreadable, Unreadable{file, safetext.Line(err.Error())})
				} else {
					images = append(images, i)
					addControls(controls, r)
				}
				mu.Unlock()
			}
		})
	}
	for _, file := range files {
		next <- file
	}
	close(next)
	work.Wait()
	slices.SortFunc(unreadable, func(a, b Unreadable) int { return cmp.Compare(a.Source, b.Source) })
	return assemble(images, inOrder(controls), unreadable, now, version)
}

// read reads one report.
func read(from *report.Loader, file string) (report.Report, error) {
	fi, err := os.Stat(file)
	if err == nil && fi.Size() > maxReport {
		err = fmt.Errorf("larger than %d bytes", maxReport)
	}
	if err != nil {
		return report.Report{}, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return report.Report{}, err
	}
	return from.Load(data)
}

// addControls adds the controls of a report. A control has the number of the
// newest benchmark.
func addControls(all map[string]numbered, r report.Report) {
	for _, res := range r.Results {
		had, known := all[res.Key]
		if known && report.CompareIDs(release(had.benchmark), release(r.Benchmark)) >= 0 {
			continue
		}
		all[res.Key] = numbered{Control{strings.Clone(res.Key), strings.Clone(res.ID), strings.Clone(res.Title)}, r.Benchmark}
	}
}

// release is a benchmark's release, such as 1.10.
func release(benchmark string) string { return strings.TrimPrefix(benchmark, "cis-") }

// inOrder are controls by number, then by name.
func inOrder(all map[string]numbered) []Control {
	out := make([]Control, 0, len(all))
	for _, c := range all {
		out = append(out, c.Control)
	}
	slices.SortFunc(out, func(a, b Control) int {
		return cmp.Or(report.CompareIDs(a.ID, b.ID), cmp.Compare(a.Key, b.Key))
	})
	return out
}
