package image

import (
	"fmt"
	"io"
	"net/url"
	"path"
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

// asFiles adds notArchive to every URL.
func asFiles(urls []string) []string {
	out := make([]string, len(urls))
	for i, u := range urls {
		separator := "?"
		if strings.Contains(u, "?") {
			separator = "&"
		}
		out[i] = u + separator + notArchive
	}
	return out
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
	if err != nil || u.Host == "" {
		return source // a path
	}
	u.RawQuery = ""
	if forced {
		getter += "::"
	}
	return getter + u.Redacted()
}
