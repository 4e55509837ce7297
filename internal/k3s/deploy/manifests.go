package deploy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
)

// Manifest is a file below K3s's manifests directory.
type Manifest struct {
	// Path is absolute on the node.
	Path string
	Data []byte
}

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

// addOn returns the name under which K3s keeps track of a manifest: its file
// name up to the first dot.
func addOn(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return name
}

// deployed says whether K3s takes a file of this name for a manifest.
func deployed(base string) bool {
	return !strings.HasPrefix(base, ".") && slices.Contains(manifestSuffixes, strings.ToLower(path.Ext(base)))
}

// ofK3s says whether K3s has an AddOn of this name itself.
func ofK3s(name string) bool {
	return slices.ContainsFunc(ownManifests, func(own string) bool { return addOn(own) == name })
}

// CheckManifestName says why K3s would not deploy a manifest of this name, or
// would take it for one of its own, or nil.
func CheckManifestName(file string) error {
	base := path.Base(file)
	name := addOn(base)
	switch problems := validation.IsDNS1123Subdomain(name); {
	case strings.HasPrefix(base, "."):
		return fmt.Errorf("%s: K3s passes over files whose names begin with a dot; take the dot away", file)
	case !deployed(base):
		return fmt.Errorf("%s: K3s deploys files that end in %s alone; give it one of these endings", file, strings.Join(manifestSuffixes, ", "))
	case len(problems) > 0:
		return fmt.Errorf("%s: K3s names the AddOn %q after the file, up to the first dot, and Kubernetes refuses that name; use lower-case letters, digits and dashes", file, name)
	case ofK3s(name):
		return fmt.Errorf("%s: K3s has an AddOn %q of its own, and the two would prune each other's objects; choose another name", file, name)
	}
	return nil
}

// CheckManifests judges everything below one node's manifests directory dir:
// names, two files that prune each other's objects, contents, and objects that
// release r does not know. Files that K3s does not deploy, and those that it
// writes itself at every start, are passed over. It returns the objects that
// K3s would deploy.
func CheckManifests(r k3s.Release, dir string, manifests []Manifest) ([]kube.Object, []k3s.Problem) {
	var (
		objects  []kube.Object
		problems []k3s.Problem
		first    = map[string]string{} // AddOn to the file that is deployed first
		skipped  = map[string]bool{}
	)
	ordered := slices.SortedFunc(slices.Values(manifests), func(a, b Manifest) int { return strings.Compare(a.Path, b.Path) })
	for _, m := range ordered {
		if name, ok := strings.CutSuffix(path.Base(m.Path), ".skip"); ok {
			skipped[name] = true
		}
	}
	for _, m := range ordered {
		base := path.Base(m.Path)
		relative := strings.TrimPrefix(m.Path, strings.TrimSuffix(dir, "/")+"/")
		if skipped[base] || !deployed(base) || slices.Contains(ownManifests, relative) {
			continue
		}
		at := k3s.Origin{Source: m.Path}
		if err := CheckManifestName(m.Path); err != nil {
			problems = append(problems, k3s.Problem{Consequence: k3s.Ignored, Text: strings.TrimPrefix(err.Error(), m.Path+": "), Origin: at})
			continue
		}
		if other, twice := first[addOn(base)]; twice {
			problems = append(problems, k3s.Problem{
				Consequence: k3s.Ignored, Origin: at,
				Text: fmt.Sprintf("K3s takes this file and %s for the same AddOn %q, so that each prunes the other's objects; give them names that differ before the first dot", other, addOn(base)),
			})
		} else {
			first[addOn(base)] = m.Path
		}
		found, faults := kube.CheckManifest(r, m.Path, m.Data)
		objects, problems = append(objects, found...), append(problems, faults...)
	}
	return objects, problems
}
