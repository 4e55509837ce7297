package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
)

// format is one file of a report.
type format struct {
	name   string
	render func(*view) ([]byte, error)
}

// formats lists the files that Write makes, those that take longest first: so
// all processors are done at about the same time.
func formats() []format {
	return []format{
		{"report.oscal.json", renderOSCAL},
		{"report.html", renderHTML},
		{"report.sarif", renderSARIF},
		{"report.junit.xml", renderJUnit},
		{"kube-bench.json", renderKubeBench},
		{"report.json", renderJSON},
		{"report.md", renderMarkdown},
	}
}

// Files returns the names of the files that Write makes in its directory.
func Files() []string {
	var names []string
	for _, f := range formats() {
		names = append(names, f.name)
	}
	return names
}

// Write writes r in every format into dir, which it makes with its parents
// where they are missing. Each file appears whole, mode 0644, or not at all: it
// is written under a temporary name and renamed. When Write returns, the disk
// holds them, whatever becomes of the power. A file of an earlier report is
// replaced. The same report gives the same bytes.
//
// The error of a directory that cannot be written names the option
// report_dir. A file that cannot be rendered or written does not keep the
// others from being written.
func Write(dir string, r Report) error {
	made, err := makeDirectories(filepath.Clean(dir))
	if err != nil {
		return dirError(dir, err)
	}
	all := formats()
	written := make([]error, len(all))
	errs := []error{render(r, func(i int, data []byte) {
		written[i] = writeFile(filepath.Join(dir, all[i].name), data)
	})}
	// What keeps one file from being written mostly keeps all: it is said once.
	for _, err := range slices.Concat(written, []error{syncDirectories(made)}) {
		if err != nil {
			errs = append(errs, dirError(dir, err))
			break
		}
	}
	return errors.Join(errs...)
}

// Render returns the files that Write makes, by name. The error names each that
// cannot be rendered; the others are there all the same.
func Render(r Report) (map[string][]byte, error) {
	all := formats()
	rendered := make([][]byte, len(all))
	err := render(r, func(i int, data []byte) { rendered[i] = data })
	files := map[string][]byte{}
	for i, data := range rendered {
		if data != nil {
			files[all[i].name] = data
		}
	}
	return files, err
}

// render renders r in every format and calls take with each one's index and
// file, in no order and side by side. No processor waits for what take does: a
// build waits for both no longer than it must.
func render(r Report, take func(i int, data []byte)) error {
	all, v := formats(), newView(r)
	errs := make([]error, len(all))
	next := make(chan int, len(all))
	for i := range all {
		next <- i
	}
	close(next)
	var work sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for i := range next {
				data, err := all[i].render(v)
				if err != nil {
					errs[i] = fmt.Errorf("cannot render %s: %w", all[i].name, err)
					continue
				}
				work.Go(func() { take(i, data) })
			}
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

// dirError names the option that a user must change.
func dirError(dir string, err error) error {
	return fmt.Errorf("report_dir %q: cannot write the report: %w; give a directory that Packer may write to", dir, err)
}

// writeFile replaces path by data in one step.
func writeFile(path string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	return err
}

// makeDirectories makes dir and its missing parents and returns every directory
// whose entries that and the files to come change.
func makeDirectories(dir string) (changed []string, err error) {
	changed = []string{dir}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); err == nil || filepath.Dir(at) == at {
			break
		}
		changed = append(changed, filepath.Dir(at))
	}
	return changed, os.MkdirAll(dir, 0o755)
}

// syncDirectories makes the entries of directories last, where the system can.
func syncDirectories(dirs []string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	var errs []error
	for _, dir := range dirs {
		d, err := os.Open(dir)
		if err == nil {
			err = d.Sync()
			_ = d.Close()
		}
		// Some shared folders say so of their directories: they know no such thing.
		if !errors.Is(err, syscall.EINVAL) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
