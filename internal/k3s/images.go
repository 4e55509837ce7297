package k3s

import (
	"slices"
)

// SystemImage is a container image that K3s runs by itself.
type SystemImage struct {
	// Repositories are its names, the newest first; one of them does.
	Repositories []string
	// Disabled is the name of the component in K3s's key disable without which
	// it is not needed; "" where it always is.
	Disabled string
}

// systemImages are those of every release since v1.20 (scripts/airgap/image-list.txt);
// some had other names before v1.21.3. Their tags change with each patch, and stand in
// the file k3s-images.txt of a release.
var systemImages = []SystemImage{
	{[]string{"rancher/klipper-helm"}, ""},
	{[]string{"rancher/klipper-lb"}, "servicelb"},
	{[]string{"rancher/local-path-provisioner"}, "local-storage"},
	{[]string{"rancher/mirrored-coredns-coredns", "rancher/coredns-coredns"}, "coredns"},
	{[]string{"rancher/mirrored-library-busybox", "rancher/library-busybox"}, "local-storage"},
	{[]string{"rancher/mirrored-library-traefik", "rancher/library-traefik"}, "traefik"},
	{[]string{"rancher/mirrored-metrics-server", "rancher/metrics-server"}, "metrics-server"},
	{[]string{"rancher/mirrored-pause", "rancher/pause"}, ""},
}

// SystemImages are those that a release runs on a node that has disabled so much;
// false where they are not known, for a release line that is newer than those whose
// facts are.
func (r Release) SystemImages(disabled []string) ([]SystemImage, bool) {
	if !r.Known() {
		return nil, false
	}
	return slices.DeleteFunc(slices.Clone(systemImages), func(i SystemImage) bool {
		return i.Disabled != "" && slices.Contains(disabled, i.Disabled)
	}), true
}

// imageCache are the first releases of each line that know the file ImageCache
// (pkg/agent/containerd; docs.k3s.io/installation/airgap).
var imageCache = []Release{{Major: 1, Minor: 30, Patch: 13}, {Major: 1, Minor: 31, Patch: 9}, {Major: 1, Minor: 32, Patch: 5}, {Major: 1, Minor: 33, Patch: 1}}

// ImageCache is the file in the directory of archives that makes a release import each
// of them once, and not at every start; "" where the release does not know it. K3s
// fills it.
func (l Layout) ImageCache(r Release) string {
	newest := imageCache[len(imageCache)-1]
	known := r.AtLeast(newest.Major, newest.Minor+1)
	for _, first := range imageCache {
		known = known || r.Major == first.Major && r.Minor == first.Minor && r.Patch >= first.Patch
	}
	if !known {
		return ""
	}
	return l.Images() + "/.cache.json"
}
