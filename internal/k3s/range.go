package k3s

import "fmt"

// Range is a run of release lines for which the hardening guide and K3s's
// own behaviour are the same.
type Range struct {
	// Name is how people speak of it, such as "v1.25 to v1.28".
	Name string
	// First and Last are Kubernetes minors; Last 0 means all that follow.
	First, Last int
	// PodSecurityPolicy: the API server has that admission plugin.
	PodSecurityPolicy bool
	// NamespaceLabel: every namespace carries kubernetes.io/metadata.name, so
	// that network policies can select it by name.
	NamespaceLabel bool
	// TraefikLabel is the label, as "key=value", of the Traefik that K3s ships.
	TraefikLabel string
	// ExtendTokenExpiration: the guide turns
	// service-account-extend-token-expiration off.
	ExtendTokenExpiration bool
	// GCThreshold is the guide's terminated-pod-gc-threshold.
	GCThreshold int
	// SpellsDefaults: the guide also sets what K3s does by itself, the API
	// server's request-timeout and service-account-lookup, the controller
	// manager's use-service-account-credentials and the kubelet's
	// make-iptables-util-chains. It dropped them while v1.29 was new.
	SpellsDefaults bool
}

// Ranges is every supported range, oldest first
// (K3s CIS hardening guide, the tabs of its configuration section).
func Ranges() []Range {
	return []Range{
		{Name: "up to v1.20", First: OldestMinor, Last: 20, PodSecurityPolicy: true, TraefikLabel: "app=traefik", GCThreshold: 10, SpellsDefaults: true},
		{Name: "v1.21 to v1.24", First: 21, Last: 24, PodSecurityPolicy: true, NamespaceLabel: true, TraefikLabel: "app.kubernetes.io/name=traefik", GCThreshold: 10, SpellsDefaults: true},
		{Name: "v1.25 to v1.28", First: 25, Last: 28, NamespaceLabel: true, TraefikLabel: "app.kubernetes.io/name=traefik", GCThreshold: 10, SpellsDefaults: true},
		{Name: "v1.29 and newer", First: 29, NamespaceLabel: true, TraefikLabel: "app.kubernetes.io/name=traefik", ExtendTokenExpiration: true, GCThreshold: 100},
	}
}

// The Kubernetes minors this package was written against.
const (
	OldestMinor = 17
	NewestMinor = 37
)

// Range returns the range that r belongs to; the nearest one for a release
// that Supported refuses.
func (r Release) Range() Range {
	all := Ranges()
	for _, g := range all {
		if r.Major == 1 && r.Minor <= g.Last || g.Last == 0 {
			return g
		}
	}
	return all[len(all)-1]
}

// Known says whether this package was written with r's release line at hand. The
// defaults of a newer one are taken to be those of the newest known.
func (r Release) Known() bool { return !r.AtLeast(1, NewestMinor+1) }

// DefaultsName is the release line, such as v1.37, whose defaults are taken for
// those of r.
func (r Release) DefaultsName() string {
	if !r.Known() {
		return fmt.Sprintf("v1.%d", NewestMinor)
	}
	return r.MinorName()
}

// Supported returns an error for a release this package cannot judge, and a
// warning for one newer than it was written against.
func (r Release) Supported() (warning string, err error) {
	switch {
	case !r.AtLeast(1, OldestMinor):
		return "", fmt.Errorf("K3s %s is too old: the oldest supported release line is v1.%d", r, OldestMinor)
	case !r.Known():
		return fmt.Sprintf("K3s %s is newer than the newest release line known here, v1.%d: it is treated as v1.%d, whose defaults prove nothing for it; take a newer plugin", r, NewestMinor, NewestMinor), nil
	}
	return "", nil
}

// PodSecurityConfigVersion is the newest apiVersion of
// PodSecurityConfiguration that r reads; empty where Pod Security does not
// exist or PodSecurityPolicy does its work (kubernetes.io, "Enforce Pod
// Security Standards by configuring the built-in admission controller").
func (r Release) PodSecurityConfigVersion() string {
	const group = "pod-security.admission.config.k8s.io/"
	switch {
	case r.AtLeast(1, 25):
		return group + "v1"
	case r.AtLeast(1, 23):
		return group + "v1beta1"
	case r.AtLeast(1, 22):
		return group + "v1alpha1"
	}
	return ""
}

// ReadsConfigFile says whether r reads /etc/rancher/k3s/config.yaml at all.
func (r Release) ReadsConfigFile() bool { return r.AtLeast(1, 19) }

// ReadsConfigDropIns says whether r reads config.yaml.d and keys ending in "+".
func (r Release) ReadsConfigDropIns() bool { return r.AtLeast(1, 21) }

// MergesArguments says whether r knows "name+=value" and "name-=value" in
// component arguments and passes one name several times
// (pkg/daemons/config/types.go, from v1.24).
func (r Release) MergesArguments() bool { return r.AtLeast(1, 24) }

// WritesKubeletConfig says whether r configures the kubelet by a directory of
// configuration files, which a node may add to (from v1.32).
func (r Release) WritesKubeletConfig() bool { return r.AtLeast(1, 32) }

// from says whether r has a change that reached several release lines with
// different patch releases: patches tells the first one of each, and every
// newer line has it.
func (r Release) from(patches map[int]int) bool {
	newest := 0
	for minor := range patches {
		newest = max(newest, minor)
	}
	patch, backported := patches[r.Minor]
	return r.AtLeast(1, newest+1) || r.Major == 1 && backported && r.Patch >= patch
}

var (
	april2025 = map[int]int{30: 12, 31: 8, 32: 4, 33: 0}
	may2025   = map[int]int{30: 13, 31: 9, 32: 5, 33: 1}

	august2026 = map[int]int{33: 13, 34: 10, 35: 7, 36: 3}
)

// ChoosesEncryptionProvider says whether r has secrets-encryption-provider
// (docs.k3s.io, "Secrets Encryption": the April 2025 releases).
func (r Release) ChoosesEncryptionProvider() bool { return r.from(april2025) }
