package kube

import (
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// Object is one Kubernetes object of a manifest.
type Object struct {
	// File is the name of the manifest and Line where the object begins.
	File string
	Line int

	APIVersion, Kind, Namespace, Name string
	// Raw is the object as JSON.
	Raw []byte
	// Typed is the decoded object, such as *networkingv1.NetworkPolicy; nil
	// for kinds that this package does not know.
	Typed runtime.Object
}

// Manifest is a file below K3s's manifests directory.
type Manifest struct {
	// Path is absolute on the node.
	Path string
	Data []byte
}

// LoadManifest reads all objects of a manifest as K3s's deploy controller
// does; Lists are taken apart. Kinds of Kubernetes are decoded strictly,
// others pass as they are. An error joins *Error values.
func LoadManifest(name string, data []byte) ([]Object, error) {
	panic("not written yet")
}

// CheckManifestName says why K3s would not deploy a manifest of this name, or
// would take it for one of its own, or nil.
func CheckManifestName(path string) error {
	panic("not written yet")
}

// CheckManifests judges everything below one node's manifests directory dir:
// names, two files that prune each other's objects, contents, and objects that
// release r does not know. It returns the objects that K3s would deploy.
func CheckManifests(r k3s.Release, dir string, manifests []Manifest) ([]Object, []k3s.Problem) {
	panic("not written yet")
}
