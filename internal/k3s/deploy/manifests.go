package deploy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// ownManifests are the files that K3s writes below its manifests directory at
// every start, whatever is there.
var ownManifests = []string{
	"ccm.yaml", "coredns.yaml", "local-storage.yaml", "rolebindings.yaml", "runtimes.yaml", "traefik.yaml",
	"metrics-server/aggregated-metrics-reader.yaml", "metrics-server/auth-delegator.yaml",
	"metrics-server/auth-reader.yaml", "metrics-server/metrics-apiservice.yaml",
	"metrics-server/metrics-server-deployment.yaml", "metrics-server/metrics-server-service.yaml",
	"metrics-server/resource-reader.yaml",
}

// manifestSuffixes are the endings of files that K3s deploys.
var manifestSuffixes = []string{".yaml", ".yml", ".json"}

// AddOn returns the name under which K3s keeps track of a manifest: its file
// name up to the first dot.
func AddOn(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return name
}

// isManifest says whether a file name has one of the endings.
func isManifest(base string) bool {
	return slices.Contains(manifestSuffixes, strings.ToLower(path.Ext(base)))
}

// deployed says whether K3s takes a file of this name for a manifest.
func deployed(base string) bool { return !strings.HasPrefix(base, ".") && isManifest(base) }

// ofK3s says whether K3s has an AddOn of this name itself.
func ofK3s(name string) bool {
	return slices.ContainsFunc(ownManifests, func(own string) bool { return AddOn(own) == name })
}

// CheckManifestName says why K3s would not deploy a manifest of this name, or
// would take it for one of its own, or nil. The error does not repeat the name.
func CheckManifestName(file string) error {
	base := path.Base(file)
	name := AddOn(base)
	switch problems := validation.IsDNS1123Subdomain(name); {
	case strings.HasPrefix(base, "."):
		return errors.New("K3s passes over files whose names begin with a dot; take the dot away")
	case !deployed(base):
		return fmt.Errorf("K3s deploys files that end in %s alone; give it one of these endings", strings.Join(manifestSuffixes, ", "))
	case len(problems) > 0:
		return fmt.Errorf("K3s names the AddOn %q after the file, up to the first dot, and Kubernetes refuses that name; use lower-case letters, digits and dashes", name)
	case ofK3s(name):
		return fmt.Errorf("K3s has an AddOn %q of its own, and the two would prune each other's objects; choose another name", name)
	}
	return nil
}

// Manifests is what K3s would make of its manifests directory.
type Manifests struct {
	// Files are the manifests that it would look into, in its order.
	Files []node.Entry
	// Deleted are manifests, not K3s's own, that it would delete.
	Deleted []Deleted
	// Skipped are manifests that it passes over because of a .skip file.
	Skipped []Skipped
	Objects []kube.Object
	// Problems tell of what would not be deployed, and why. Unreadable are
	// those of files whose bytes are not known.
	Problems []k3s.Problem

	contested map[identity]bool
}

// identity is what makes two objects one in the cluster.
type identity struct{ group, kind, namespace, name string }

func identityOf(o kube.Object) identity {
	// What names no namespace goes into default.
	return identity{path.Dir(o.APIVersion), o.Kind, cmp.Or(o.Namespace, "default"), o.Name}
}

// Contested says whether two manifests define o, and not alike: K3s applies both
// at each of its starts, so which of them holds is nothing to rely on.
func (m *Manifests) Contested(o kube.Object) bool { return m.contested[identityOf(o)] }

// Deleted is a manifest and the name of the key disable that deletes it.
type Deleted struct {
	Path string
	By   Disable
}

// Skipped is a manifest and the file named after it, in whatever directory.
type Skipped struct{ Path, By string }

// Limits of the manifests of one node.
const (
	maxManifests    = 2000
	maxDocuments    = 5000
	maxManifestSize = 8 << 20 // bytes of all together
)

// checkSize says why there are too many manifests to be judged, or nil.
func checkSize(files []node.Entry) error {
	documents, size := 0, 0
	for _, e := range files {
		documents += 1 + bytes.Count(e.Data, []byte("\n---"))
		size += len(e.Data)
	}
	if len(files) <= maxManifests && documents <= maxDocuments && size <= maxManifestSize {
		return nil
	}
	return fmt.Errorf("%d manifests with %d documents and %d KiB are more than the %d manifests, %d documents and %d KiB that are judged",
		len(files), documents, size>>10, maxManifests, maxDocuments, maxManifestSize>>10)
}

// ReadManifests judges everything that entries hold below one node's manifests
// directory dir: links that lead nowhere, names, two files that prune each
// other's objects, contents, and objects that release r does not know. Files
// that K3s does not deploy, and those that it writes itself at every start, are
// passed over. It is an error when there are more than can be judged.
func ReadManifests(r k3s.Release, dir string, entries []node.Entry, disables []Disable) (Manifests, error) {
	m := Manifests{Problems: nameless(disables)}
	if dead := deadLinks(entries); len(dead) > 0 {
		m.Problems = append(m.Problems, dead...)
		return m, nil
	}
	skips := map[string]string{}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(path.Base(e.Path), ".skip"); ok {
			skips[name] = e.Path
		}
	}
	for _, e := range entries {
		relative := strings.TrimPrefix(e.Path, strings.TrimSuffix(dir, "/")+"/")
		base, own := path.Base(e.Path), slices.Contains(ownManifests, relative)
		switch by, gone := deletedBy(disables, relative); {
		case e.Kind == node.KindDirectory:
		case gone && !own && isManifest(relative):
			m.Deleted = append(m.Deleted, Deleted{e.Path, by})
		case gone, own, !deployed(base):
		case skips[base] != "":
			m.Skipped = append(m.Skipped, Skipped{e.Path, skips[base]})
		default:
			m.Files = append(m.Files, e)
		}
	}
	if err := checkSize(m.Files); err != nil {
		return Manifests{}, err
	}
	m.read(r)
	m.findContested()
	return m, nil
}

// read loads the files.
func (m *Manifests) read(r k3s.Release) {
	first := map[string]string{} // AddOn to the file that is deployed first
	ignored := func(file, format string, args ...any) {
		m.Problems = append(m.Problems, k3s.Problem{Consequence: k3s.Ignored, Text: fmt.Sprintf(format, args...), Origin: k3s.Origin{Source: file}})
	}
	for _, e := range m.Files {
		if e.Kind != node.KindFile {
			ignored(e.Path, "is not a regular file, and K3s cannot read it: remove it")
			continue
		}
		if e.Data == nil {
			m.Problems = append(m.Problems, k3s.Problem{Consequence: k3s.Unreadable, Text: "its content was not looked at", Origin: k3s.Origin{Source: e.Path}})
			continue
		}
		if err := CheckManifestName(e.Path); err != nil {
			ignored(e.Path, "%v", err)
			continue
		}
		name := AddOn(e.Path)
		if other, twice := first[name]; twice {
			ignored(e.Path, "K3s takes this file and %s for the same AddOn %q, so that each prunes the other's objects; give them names that differ before the first dot", other, name)
		} else {
			first[name] = e.Path
		}
		objects, problems := kube.CheckManifest(r, e.Path, e.Data)
		m.Problems = append(m.Problems, problems...)
		m.Objects = append(m.Objects, objects...)
	}
}

// findContested finds objects that two files define in different ways.
func (m *Manifests) findContested() {
	m.contested = map[identity]bool{}
	first := map[identity]kube.Object{}
	for _, o := range m.Objects {
		id := identityOf(o)
		other, twice := first[id]
		if !twice {
			first[id] = o
			continue
		}
		if sameObject(o, other) {
			continue
		}
		m.contested[id] = true
		m.Problems = append(m.Problems, k3s.Problem{
			Consequence: k3s.Ignored, Origin: k3s.Origin{Source: o.File, Line: o.Line},
			Text: fmt.Sprintf("%s is defined otherwise at %s:%d: K3s applies one over the other at each of its starts; leave it in one of them", o, other.File, other.Line),
		})
	}
}

func sameObject(a, b kube.Object) bool {
	if a.Typed != nil && b.Typed != nil {
		return equality.Semantic.DeepEqual(a.Typed, b.Typed)
	}
	return bytes.Equal(a.Raw, b.Raw)
}

// nameless reports a name of the key disable that is empty.
func nameless(disables []Disable) []k3s.Problem {
	i := slices.IndexFunc(disables, func(d Disable) bool { return d.Name == "" })
	if i < 0 {
		return nil
	}
	return []k3s.Problem{{
		Consequence: k3s.Ignored, Origin: disables[i].Origin,
		Text: "disable has an item without a name, for which K3s deletes every manifest, its own too: take the empty item or the comma beside it out",
	}}
}

// deadLinks reports the links that end K3s's walk (walkFiles).
func deadLinks(entries []node.Entry) []k3s.Problem {
	var out []k3s.Problem
	for _, e := range entries {
		if e.Kind == node.KindLink {
			out = append(out, k3s.Problem{
				Consequence: k3s.Ignored, Origin: k3s.Origin{Source: e.Path},
				Text: fmt.Sprintf("is a symbolic link to %s, which is not there: K3s's walk ends at it, and no manifest at all is deployed; remove it", e.Target),
			})
		}
	}
	return out
}
