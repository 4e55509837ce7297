package install

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Archive holds container images, which K3s imports.
type Archive struct {
	// Name is the file's name on the node.
	Name string
	node.Source
	// Images are those in it, by their names; none where Unread says why that is
	// not known.
	Images []Image
	Unread string
}

// Image is a container image in an archive.
type Image struct {
	// Name is its whole name, with registry and tag.
	Name string
	// Architectures are those that it is for, as Go names them.
	Architectures []string
}

// tagged takes the name apart: the repository without its registry, and the tag,
// which is empty where a digest stands in its place.
func (i Image) tagged() (repository, tag string) {
	_, rest, _ := strings.Cut(i.Name, "/")
	if repository, _, digest := strings.Cut(rest, "@"); digest {
		return repository, ""
	}
	repository, tag, _ = strings.Cut(rest, ":")
	return repository, tag
}

// imageOf says whether an archive has an image of one of repositories, whatever
// registry it is from, by a name that K3s can ask for it by, or else one by another
// name, if any. K3s asks for its images by the tag of their release and never for
// latest, and containerd knows an image by its whole name: one that is named by its
// digest alone is not found by a tag.
func (o Options) imageOf(repositories []string) (has bool, otherwise string) {
	for _, a := range o.Images {
		for _, i := range a.Images {
			repository, tag := i.tagged()
			switch {
			case !slices.Contains(repositories, repository):
			case tag == "" || tag == name.DefaultTag:
				otherwise = i.Name
			default:
				return true, ""
			}
		}
	}
	return false, otherwise
}

// Limits of what is kept of an archive. No image's configuration is as large.
const (
	maxDocument  = 4 << 20
	maxDocuments = 64 << 20
)

// unpackers read an archive by the end of its name, as K3s does (wharfie,
// pkg/tarfile). The last that fits counts.
var unpackers = []struct {
	suffix string
	open   func(io.Reader) (io.Reader, error)
}{
	{".tar", func(r io.Reader) (io.Reader, error) { return r, nil }},
	{".tar.gz", gunzip},
	{".tgz", gunzip},
	{".tar.bz2", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{".tbz", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{".tar.zst", unzstd},
	{".tzst", unzstd},
}

func gunzip(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }

func unzstd(r io.Reader) (io.Reader, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// ReadArchive reads the archive at file, which is to be called name on the node, once
// and without unpacking it: its digest, and which images are in it. Every blob that is
// named by its digest has that, and nothing that an image consists of is missing.
func ReadArchive(file, called string) (Archive, error) {
	a := Archive{Name: called}
	f, err := os.Open(file)
	if err != nil {
		return a, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return a, err
	}
	if !info.Mode().IsRegular() {
		return a, fmt.Errorf("%s is not a regular file", file)
	}
	sum := sha256.New()
	all := bufio.NewReaderSize(io.TeeReader(f, sum), 1<<20)
	c := contents{names: map[string]bool{}, documents: map[string][]byte{}}
	if unpack := unpackerOf(called); unpack == nil {
		a.Unread = "archives of this compression are not looked into"
	} else if err := c.read(all, unpack); err != nil {
		return a, fmt.Errorf("%s cannot be read as an archive of container images: %w: take another copy of it", file, err)
	}
	if _, err := io.Copy(io.Discard, all); err != nil {
		return a, fmt.Errorf("reading %s: %w", file, err)
	}
	a.Source = node.Source{Path: file, Size: info.Size(), SHA256: [sha256.Size]byte(sum.Sum(nil))}
	if a.Unread != "" {
		return a, nil
	}
	if a.Images, err = c.images(); err != nil {
		return a, fmt.Errorf("%s: %w", file, err)
	}
	return a, nil
}

func unpackerOf(called string) func(io.Reader) (io.Reader, error) {
	for _, u := range slices.Backward(unpackers) {
		if strings.HasSuffix(called, u.suffix) {
			return u.open
		}
	}
	return nil
}

// contents are what of an archive's files is kept.
type contents struct {
	names map[string]bool
	// documents are the small files that may be JSON, by name.
	documents map[string][]byte
	kept      int
}

func (c *contents) read(packed io.Reader, unpack func(io.Reader) (io.Reader, error)) error {
	plain, err := unpack(packed)
	if err != nil {
		return err
	}
	if closer, ok := plain.(io.Closer); ok {
		defer closer.Close()
	}
	files := tar.NewReader(plain)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := c.file(path.Clean(h.Name), h, files); err != nil {
			return err
		}
	}
	if len(c.names) == 0 {
		return errors.New("it is empty")
	}
	// What follows the end of the tar shows a stream that was cut, too.
	_, err = io.Copy(io.Discard, plain)
	return err
}

// file takes in one file.
func (c *contents) file(called string, h *tar.Header, data io.Reader) error {
	if h.Typeflag == tar.TypeDir {
		return nil
	}
	c.names[called] = true
	if h.Typeflag != tar.TypeReg {
		return nil // a layer that is another's too is a link to it
	}
	buffered := bufio.NewReader(data)
	sum := sha256.New()
	var kept bytes.Buffer
	to := io.Writer(sum)
	if first, _ := buffered.Peek(1); h.Size <= maxDocument && len(first) == 1 && (first[0] == '{' || first[0] == '[') {
		if c.kept += int(h.Size); c.kept > maxDocuments {
			return fmt.Errorf("its descriptions of images have more than %d MiB", maxDocuments>>20)
		}
		to = io.MultiWriter(sum, &kept)
	}
	if _, err := io.Copy(to, buffered); err != nil {
		return fmt.Errorf("%s: %w", called, err)
	}
	if want, named := digestIn(called); named && want != hex.EncodeToString(sum.Sum(nil)) {
		return fmt.Errorf("%s has another digest than its name says", called)
	}
	if kept.Len() > 0 {
		c.documents[called] = kept.Bytes()
	}
	return nil
}

// digestIn is the SHA-256 that a file is named by: blobs of an OCI layout,
// configurations, and layers as go-containerregistry names them.
func digestIn(called string) (string, bool) {
	dir, base := path.Split(called)
	if dir != "" && dir != "blobs/sha256/" {
		return "", false
	}
	if dir == "" {
		base = strings.TrimPrefix(strings.TrimSuffix(strings.TrimSuffix(base, ".json"), ".tar.gz"), "sha256:")
	}
	sum, err := hex.DecodeString(base)
	return base, err == nil && len(sum) == sha256.Size
}

// images lists what the archive says that it holds: as "docker save" writes it or,
// where that is not there, as an OCI layout.
func (c *contents) images() ([]Image, error) {
	found := map[string][]string{}
	var err error
	switch {
	case c.documents["manifest.json"] != nil:
		err = c.saved(found)
	case c.documents["index.json"] != nil:
		err = c.index(c.documents["index.json"], "", found, 0)
	default:
		return nil, errors.New("it is no archive of container images: it has neither manifest.json nor index.json")
	}
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New("no image in it has a name, so that K3s would import none")
	}
	var out []Image
	for _, n := range slices.Sorted(maps.Keys(found)) {
		slices.Sort(found[n])
		out = append(out, Image{n, slices.Compact(found[n])})
	}
	return out, nil
}

// saved reads manifest.json.
func (c *contents) saved(found map[string][]string) error {
	var manifest tarball.Manifest
	if err := json.Unmarshal(c.documents["manifest.json"], &manifest); err != nil {
		return fmt.Errorf("manifest.json: %w", err)
	}
	for _, image := range manifest {
		architecture, err := c.configured(path.Clean(image.Config))
		if err != nil {
			return err
		}
		for _, layer := range image.Layers {
			if !c.names[path.Clean(layer)] {
				return fmt.Errorf("the layer %s of %s is missing", layer, strings.Join(image.RepoTags, ", "))
			}
		}
		for _, tag := range image.RepoTags {
			if err := add(found, tag, architecture); err != nil {
				return err
			}
		}
	}
	return nil
}

// configured is the architecture that an image's configuration says.
func (c *contents) configured(called string) (string, error) {
	data := c.documents[called]
	if data == nil {
		return "", fmt.Errorf("the configuration %s of an image is missing", called)
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(data))
	if err != nil {
		return "", fmt.Errorf("the configuration %s of an image: %w", called, err)
	}
	return config.Architecture, nil
}

// The annotations that name an image (containerd, OCI).
var nameAnnotations = []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"}

// maxIndexes is how deep an index may be in another.
const maxIndexes = 4

// index reads an index of an OCI layout. What it lists and the archive lacks is for
// other architectures, as long as there is something of the image.
func (c *contents) index(data []byte, called string, found map[string][]string, depth int) error {
	index, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("index.json: %w", err)
	}
	for _, m := range index.Manifests {
		image := called
		for _, a := range slices.Backward(nameAnnotations) {
			if n := m.Annotations[a]; n != "" && depth == 0 {
				image = n
			}
		}
		blob := "blobs/" + m.Digest.Algorithm + "/" + m.Digest.Hex
		switch data := c.documents[blob]; {
		case image == "" || m.Annotations["vnd.docker.reference.type"] != "":
		case data == nil && depth > 0:
		case data == nil:
			return fmt.Errorf("the manifest %s of %s is missing", blob, image)
		case m.MediaType.IsIndex() && depth < maxIndexes:
			if err := c.index(data, image, found, depth+1); err != nil {
				return err
			}
			if full, err := fullName(image); err != nil || found[full] == nil {
				return fmt.Errorf("nothing of the image %s is in it", image)
			}
		default:
			if err := c.manifest(data, image, found); err != nil {
				return err
			}
		}
	}
	return nil
}

// manifest reads one of an OCI layout.
func (c *contents) manifest(data []byte, image string, found map[string][]string) error {
	m, err := v1.ParseManifest(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("a manifest of %s: %w", image, err)
	}
	architecture, err := c.configured("blobs/" + m.Config.Digest.Algorithm + "/" + m.Config.Digest.Hex)
	if err != nil {
		return err
	}
	for _, layer := range m.Layers {
		if blob := "blobs/" + layer.Digest.Algorithm + "/" + layer.Digest.Hex; !c.names[blob] {
			return fmt.Errorf("the layer %s of %s is missing", blob, image)
		}
	}
	return add(found, image, architecture)
}

func add(found map[string][]string, image, architecture string) error {
	full, err := fullName(image)
	if err == nil {
		found[full] = append(found[full], architecture)
	}
	return err
}

// fullName is the name by which containerd knows an image.
func fullName(image string) (string, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return "", fmt.Errorf("an image in it is called %q: %w", image, err)
	}
	return strings.Replace(ref.Name(), name.DefaultRegistry+"/", "docker.io/", 1), nil
}
