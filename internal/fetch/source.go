package fetch

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// stores are what begins a URL that nothing but the client of an object store
// could fetch. The plugin is built without those clients.
var stores = []string{"s3::", "s3://", "gcs::", "gcs://", "gs://"}

// schemes are those of URLs that the downloader knows.
var schemes = []string{"file", "git", "hg", "http", "https", "smb", "ssh"}

// Check refuses what no download could reach, by the option that names
// it.
func Check(option string, urls []string) (errs []error) {
	for _, u := range urls {
		for _, store := range stores {
			if strings.HasPrefix(u, store) {
				errs = append(errs, fmt.Errorf(
					"%s: %q needs a client of that store, which this plugin is built without; give the file's https URL, signed where it is not public", option, Provenance(u)))
			}
		}
		scheme, _, isURL := strings.Cut(u, "://")
		if isURL && errs == nil && !strings.Contains(scheme, "::") && !slices.Contains(schemes, strings.ToLower(scheme)) {
			errs = append(errs, fmt.Errorf("%s: %q: nothing fetches %q; give a path, or a URL of http, https or file", option, Provenance(u), scheme))
		}
	}
	return errs
}

// notArchive tells the downloader to leave a file packed, whatever its name
// ends with: bases are unpacked with owners and devices, which it would lose, and
// K3s reads archives of images as they are.
const notArchive = "archive=false"

// AsFiles adds notArchive to every URL. The path of a file on this host becomes
// a URL first, as "#", "?" and "%" are letters in it.
func AsFiles(urls []string) []string {
	out := make([]string, len(urls))
	for i, u := range urls {
		if path := LocalFile(u); path != "" {
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

// LocalFile returns the absolute path of what is given as the path of a file on
// this host, or "".
func LocalFile(source string) string {
	path, err := filepath.Abs(source)
	if err != nil {
		return ""
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return path
}

// Provenance is where a file came from without what gives access to it: a
// password, or the signature in a query.
func Provenance(source string) string {
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
