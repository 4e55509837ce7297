package fetch

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// Source is a file that an option names.
type Source struct {
	// Option names it in messages.
	Option string
	// Address is the path of a file on this host, or a URL.
	Address string
	// Checksum is one as the downloader takes it: "sha256:" and 64 hexadecimal
	// digits, or "file:" and where a list of checksums is. It may stand in the
	// query of Address instead.
	Checksum string
}

// Name is the base name of the file.
func (s Source) Name() string {
	if LocalFile(s.Address) == "" {
		if u, err := url.Parse(withoutGetter(s.Address)); err == nil {
			return path.Base(u.Path)
		}
	}
	return path.Base(s.Address)
}

// Validate says what is wrong with the source as it is written. It fetches
// nothing.
func (s Source) Validate() (errs []error) {
	local := LocalFile(s.Address) != ""
	errs = Check(s.Option, []string{s.Address})
	switch checksum := s.checksum(); {
	case !local && !isURL(s.Address):
		errs = append(errs, fmt.Errorf("%s: %q is no file on the build host: write the path of one, relative to where packer runs, or a URL", s.Option, Provenance(s.Address)))
	case !local && (checksum == "" || checksum == "none"):
		errs = append(errs, fmt.Errorf("%s: %q has no checksum, and what comes over a network is not installed unseen: write its sha256, or file: and the URL of the release's list of checksums", s.Option, Provenance(s.Address)))
	case checksum != "" && checksum != "none" && !goodChecksum(checksum):
		errs = append(errs, fmt.Errorf("%s: the checksum %q is neither sha256: with 64 hexadecimal digits, nor file: with the path or URL of a list of checksums", s.Option, Provenance(checksum)))
	}
	return errs
}

// File returns the path of the file on this host. One that is there is used in
// its place; everything else is downloaded to Packer's cache, unless it is there
// already. It is an error when it has another checksum.
func (s Source) File(ctx context.Context, ui packersdk.Ui) (string, error) {
	checksum := s.checksum()
	if local := LocalFile(s.Address); local != "" && (checksum == "" || checksum == "none") {
		return local, nil
	}
	const result = "file"
	state := new(multistep.BasicStateBag)
	state.Put("ui", ui)
	step := &commonsteps.StepDownload{
		Checksum: s.Checksum, Description: s.Name(), ResultKey: result,
		// Files that share a list of checksums would share one place in the cache.
		Extension: s.Name(),
		Url:       AsFiles([]string{s.Address}),
	}
	if step.Run(ctx, state) == multistep.ActionContinue {
		if file, ok := state.Get(result).(string); ok {
			return file, nil
		}
	}
	if err, ok := state.Get("error").(error); ok {
		return "", fmt.Errorf("%s: %w", s.Option, err)
	}
	return "", errors.Join(ctx.Err(), fmt.Errorf("%s: %s could not be fetched", s.Option, Provenance(s.Address)))
}

// checksum is the one of the query where there is one, as in the downloader.
func (s Source) checksum() string {
	if LocalFile(s.Address) == "" {
		if u, err := url.Parse(withoutGetter(s.Address)); err == nil {
			if c := u.Query().Get("checksum"); c != "" {
				return c
			}
		}
	}
	return s.Checksum
}

// SHA256 is the digest that the checksum is, in lower-case hexadecimal digits; false
// where it is written elsewhere, or not at all.
func (s Source) SHA256() (string, bool) {
	sum, err := hex.DecodeString(strings.TrimPrefix(s.checksum(), "sha256:"))
	return hex.EncodeToString(sum), err == nil && len(sum) == 32
}

func goodChecksum(text string) bool {
	if list, ok := strings.CutPrefix(text, "file:"); ok {
		return list != ""
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(text, "sha256:"))
	return err == nil && len(sum) == 32
}

// isURL says whether an address is one that the downloader could fetch.
func isURL(address string) bool { return strings.Contains(address, "://") }

// withoutGetter is a URL without the name of what is to fetch it.
func withoutGetter(address string) string {
	if _, after, forced := strings.Cut(address, "::"); forced {
		return after
	}
	return address
}
