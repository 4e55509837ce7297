package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// format is one file of a report.
type format struct {
	name   string
	render func(*view) ([]byte, error)
}

// formats lists the files that Write makes.
func formats() []format {
	return []format{
		{"report.oscal.json", renderOSCAL},
		{"report.html", renderHTML},
		{"report.sarif", renderSARIF},
		{"report.junit.xml", renderJUnit},
		{"kube-bench.json", renderKubeBench},
		{"report.json", renderJSON},
		{"report.md", renderMarkdown},
		{"report.csv", renderCSV},
		{"report.xccdf.xml", renderXCCDF},
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
	all, v := formats(), newView(r)
	rendered, written := make([]error, len(all)), make([]error, len(all))
	var work sync.WaitGroup
	for i, f := range all {
		work.Go(func() {
			data, err := f.render(v)
			if err != nil {
				rendered[i] = fmt.Errorf("cannot render %s: %w", f.name, err)
				return
			}
			written[i] = writeFile(filepath.Join(dir, f.name), data)
		})
	}
	work.Wait()
	// What keeps one file from being written mostly keeps all: it is said once.
	written = append(written[:len(all):len(all)], syncDirectories(made))
	if i := slices.IndexFunc(written, func(err error) bool { return err != nil }); i >= 0 {
		return errors.Join(errors.Join(rendered...), dirError(dir, written[i]))
	}
	return errors.Join(rendered...)
}

// dirError names the option that a user must change.
func dirError(dir string, err error) error {
	return fmt.Errorf("report_dir %q: cannot write the report: %w; give a directory that Packer may write to", dir, err)
}

// WriteFile replaces path, mode 0644, by data in one step, and makes its
// directory with its parents where they are missing. When it returns, the disk
// holds the file, whatever becomes of the power.
func WriteFile(path string, data []byte) error {
	made, err := makeDirectories(filepath.Dir(path))
	if err != nil {
		return err
	}
	if err := writeFile(path, data); err != nil {
		return err
	}
	return syncDirectories(made)
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

// CheckDirectory says, without changing anything, what keeps dir from being
// made and written to; nil where nothing is known to.
func CheckDirectory(dir string) error {
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		fi, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && filepath.Dir(at) != at:
			continue
		case err != nil && !errors.Is(err, syscall.ENOTDIR):
			return dirError(dir, err)
		case err == nil && !fi.IsDir():
			return dirError(dir, fmt.Errorf("%s is not a directory", at))
		case err == nil:
			return nil
		}
	}
}

// MakeDirectory makes dir with its parents and tries whether it can be written
// to.
func MakeDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return dirError(dir, err)
	}
	probe, err := os.CreateTemp(dir, ".probe.*")
	if err != nil {
		return dirError(dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// Of says of which build the report in dir is, and when it was made; "" where
// there is none that can be read.
func Of(dir string) (build string, created time.Time) {
	data, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		return "", time.Time{}
	}
	r, err := LoadReport(data)
	if err != nil {
		return "", time.Time{}
	}
	return r.Node.Build, r.Created
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
