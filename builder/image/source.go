package image

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// stores are what begins a URL that nothing but the client of an object store
// could fetch. The plugin is built without those clients.
var stores = []string{"s3::", "s3://", "gcs::", "gcs://", "gs://"}

// checkSources refuses what no download could reach, by the option that names
// it.
func checkSources(option string, urls []string) (errs []error) {
	for _, u := range urls {
		for _, store := range stores {
			if strings.HasPrefix(u, store) {
				errs = append(errs, fmt.Errorf(
					"%s: %q needs a client of that store, which this plugin is built without; give the file's https URL, signed where it is not public", option, provenance(u)))
			}
		}
	}
	return errs
}

// notArchive tells the downloader to leave a file packed, whatever its name
// ends with: this builder unpacks bases itself, with owners and devices.
const notArchive = "archive=false"

// asFiles adds notArchive to every URL. The path of a file on this host becomes
// a URL first, as "#", "?" and "%" are letters in it.
func asFiles(urls []string) []string {
	out := make([]string, len(urls))
	for i, u := range urls {
		if path := localFile(u); path != "" {
			u = (&url.URL{Scheme: "file", Path: path}).String()
		}
		separator := "?"
		if strings.Contains(u, "?") {
			separator = "&"
		}
		out[i] = u + separator + notArchive
	}
	return out
}

// localFile returns the absolute path of a base that is given as the path of a
// file on this host, or "".
func localFile(source string) string {
	path, err := filepath.Abs(source)
	if err != nil {
		return ""
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return path
}

// progressOf shows on the Ui how much of the base has been unpacked.
func progressOf(w *work, ui packersdk.Ui) disk.Progress {
	return func(stream io.ReadCloser, size int64) io.ReadCloser {
		return ui.TrackProgress("unpacking "+path.Base(w.source), 0, size, stream)
	}
}

// provenance is where a base came from without what gives access to it: a
// password, or the signature in a query.
func provenance(source string) string {
	source = strings.TrimRight(strings.TrimSuffix(source, notArchive), "?&")
	getter, address, forced := strings.Cut(source, "::")
	if !forced {
		getter, address = "", source
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return source // a path
	case u.Host == "" && u.Scheme == "file":
		return u.Path
	case u.Host == "":
		return source
	}
	u.RawQuery = ""
	if forced {
		getter += "::"
	}
	return getter + u.Redacted()
}
