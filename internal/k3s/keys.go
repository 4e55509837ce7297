package k3s

import (
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// ValueKind is how K3s reads the value of a key.
type ValueKind int

// The kinds of keys. Lists take several values and append over file and
// command line; of the others the last value counts.
const (
	Text ValueKind = iota
	Boolean
	Number
	List
)

// Key is one key of K3s's configuration, which is the same as an option of its
// command line.
type Key struct {
	Name string
	// Aliases are other names for the same key: short ones and hidden ones.
	Aliases []string
	Kind    ValueKind
	// Env is the environment variable K3s falls back to.
	Env string
	// Only is the one role that accepts the key; empty means both.
	Only Role
	// Since and Until are the first and last minor that know the key, in some
	// patch release at least; 0 means all, as far as known.
	Since, Until int
	// OneOf lists the values K3s takes, where any other stops it.
	OneOf []string
	// patches gives the first patch release of each release line that knows
	// the key, where it was added to several lines.
	patches map[int]int
}

// In says whether a release accepts the key for a role.
func (k Key) In(release Release, role Role) bool {
	return (k.Only == "" || k.Only == role) && release.AtLeast(1, k.Since) &&
		(k.patches == nil || release.from(k.patches)) &&
		(k.Until == 0 || !release.AtLeast(1, k.Until+1))
}

// FindKey returns the key of that name or alias.
func FindKey(name string) (Key, bool) {
	i, ok := keyIndex[name]
	if !ok {
		return Key{}, false
	}
	return keys[i], true
}

// Keys returns every key that K3s has in some release.
func Keys() []Key { return slices.Clone(keys) }

// Nearest returns the key a release accepts for a role whose name is nearest
// to a misspelt one, or "" when none is near.
func Nearest(name string, release Release, role Role) string {
	return safetext.Nearest(name, func(yield func(string) bool) {
		for _, k := range keys {
			if len(k.Name) >= 4 && k.In(release, role) && !yield(k.Name) {
				return
			}
		}
	})
}

var keyIndex = func() map[string]int {
	out := map[string]int{}
	for i, k := range keys {
		out[k.Name] = i
		for _, a := range k.Aliases {
			out[a] = i
		}
	}
	return out
}()

// knownPatches are the newest patch releases of the lines whose keys were read;
// of the lines before them no more are made.
var knownPatches = map[int]int{33: 13, 34: 10, 35: 7, 36: 3, 37: 0}

// keysKnown says whether every key of r is known here: K3s adds some in patch
// releases too.
func (r Release) keysKnown() bool {
	patch, live := knownPatches[r.Minor]
	return !r.AtLeast(1, NewestMinor+1) && (!live || r.Patch <= patch)
}

// MayHaveKey says whether r is newer than the keys known here, so that it may
// have one of a name that is not known; not one that looks like a misspelling.
func (r Release) MayHaveKey(name string, role Role) bool {
	_, known := FindKey(name)
	return !known && !r.keysKnown() && Nearest(name, r, role) == ""
}

// variableIndex holds the keys of each environment variable.
var variableIndex = func() map[string][]int {
	out := map[string][]int{}
	for i, k := range keys {
		if k.Env != "" {
			out[k.Env] = append(out[k.Env], i)
		}
	}
	return out
}()

var keys = []Key{
	// logging and general
	{Name: "config", Aliases: []string{"c"}, Env: "K3S_CONFIG_FILE"},
	{Name: "debug", Kind: Boolean, Env: "K3S_DEBUG"},
	{Name: "v", Kind: Number},
	{Name: "vmodule"},
	{Name: "log", Aliases: []string{"l"}},
	{Name: "alsologtostderr", Kind: Boolean},
	{Name: "data-dir", Aliases: []string{"d"}, Env: "K3S_DATA_DIR"},
	// listener
	{Name: "bind-address"},
	{Name: "https-listen-port", Kind: Number, Only: Server},
	{Name: "advertise-address", Only: Server},
	{Name: "advertise-port", Kind: Number, Only: Server},
	{Name: "tls-san", Kind: List, Only: Server},
	{Name: "tls-san-security", Since: 24, Kind: Boolean, Only: Server},
	// networking
	{Name: "cluster-cidr", Kind: List, Only: Server},
	{Name: "service-cidr", Kind: List, Only: Server},
	{Name: "multi-cluster-cidr", Kind: Boolean, Only: Server, Since: 26, Until: 28},
	{Name: "service-node-port-range", Only: Server},
	{Name: "cluster-dns", Kind: List, Only: Server},
	{Name: "cluster-domain", Only: Server},
	{Name: "flannel-backend", Only: Server},
	{Name: "flannel-ipv6-masq", Since: 22, Kind: Boolean, Only: Server},
	{Name: "flannel-external-ip", Since: 22, Kind: Boolean, Only: Server},
	{Name: "egress-selector-mode", Since: 22, Only: Server, OneOf: []string{"agent", "cluster", "pod", "disabled"}},
	{Name: "servicelb-namespace", Since: 22, Only: Server},
	{Name: "node-ip", Aliases: []string{"i"}, Kind: List},
	{Name: "node-external-ip", Kind: List},
	{Name: "node-internal-dns", Kind: List, Since: 28},
	{Name: "node-external-dns", Kind: List, Since: 28},
	{Name: "resolv-conf", Env: "K3S_RESOLV_CONF"},
	{Name: "flannel-iface"},
	{Name: "flannel-conf"},
	{Name: "flannel-cni-conf"},
	{Name: "vpn-auth", Since: 24, Env: "K3S_VPN_AUTH"},
	{Name: "vpn-auth-file", Since: 24, Env: "K3S_VPN_AUTH_FILE"},
	// client
	{Name: "write-kubeconfig", Aliases: []string{"o"}, Env: "K3S_KUBECONFIG_OUTPUT", Only: Server},
	{Name: "write-kubeconfig-mode", Env: "K3S_KUBECONFIG_MODE", Only: Server},
	{Name: "write-kubeconfig-group", Since: 26, Env: "K3S_KUBECONFIG_GROUP", Only: Server},
	{Name: "helm-job-image", Since: 25, Only: Server},
	// cluster
	{Name: "token", Aliases: []string{"t"}, Env: "K3S_TOKEN"},
	{Name: "token-file", Env: "K3S_TOKEN_FILE"},
	{Name: "agent-token", Env: "K3S_AGENT_TOKEN", Only: Server},
	{Name: "agent-token-file", Env: "K3S_AGENT_TOKEN_FILE", Only: Server},
	{Name: "server", Aliases: []string{"s"}, Env: "K3S_URL"},
	{Name: "cluster-init", Kind: Boolean, Env: "K3S_CLUSTER_INIT", Only: Server},
	{Name: "cluster-reset", Kind: Boolean, Env: "K3S_CLUSTER_RESET", Only: Server},
	{Name: "cluster-reset-restore-path", Only: Server},
	{Name: "cluster-secret", Env: "K3S_CLUSTER_SECRET", Until: 28},
	// component arguments
	{Name: "kube-apiserver-arg", Kind: List, Only: Server},
	{Name: "etcd-arg", Kind: List, Only: Server},
	{Name: "kube-controller-manager-arg", Aliases: []string{"kube-controller-arg"}, Kind: List, Only: Server},
	{Name: "kube-scheduler-arg", Kind: List, Only: Server},
	{Name: "kube-cloud-controller-manager-arg", Aliases: []string{"kube-cloud-controller-arg"}, Kind: List, Only: Server},
	{Name: "kubelet-arg", Kind: List},
	{Name: "kube-proxy-arg", Kind: List},
	// datastore
	{Name: "kine-tls", Kind: Boolean, Only: Server},
	{Name: "datastore-endpoint", Env: "K3S_DATASTORE_ENDPOINT", Only: Server},
	{Name: "datastore-cafile", Env: "K3S_DATASTORE_CAFILE", Only: Server},
	{Name: "datastore-certfile", Env: "K3S_DATASTORE_CERTFILE", Only: Server},
	{Name: "datastore-keyfile", Env: "K3S_DATASTORE_KEYFILE", Only: Server},
	{Name: "etcd-expose-metrics", Kind: Boolean, Only: Server},
	{Name: "etcd-disable-snapshots", Kind: Boolean, Only: Server},
	{Name: "etcd-snapshot-name", Only: Server},
	{Name: "etcd-snapshot-schedule-cron", Only: Server},
	{Name: "etcd-snapshot-reconcile-interval", Only: Server},
	{Name: "etcd-snapshot-retention", Kind: Number, Only: Server},
	{Name: "etcd-snapshot-dir", Only: Server},
	{Name: "etcd-snapshot-compress", Kind: Boolean, Only: Server},
	{Name: "etcd-s3", Kind: Boolean, Only: Server},
	{Name: "etcd-s3-endpoint", Only: Server},
	{Name: "etcd-s3-endpoint-ca", Only: Server},
	{Name: "etcd-s3-skip-ssl-verify", Kind: Boolean, Only: Server},
	{Name: "etcd-s3-access-key", Env: "AWS_ACCESS_KEY_ID", Only: Server},
	{Name: "etcd-s3-secret-key", Env: "AWS_SECRET_ACCESS_KEY", Only: Server},
	{Name: "etcd-s3-session-token", Env: "AWS_SESSION_TOKEN", Only: Server},
	{Name: "etcd-s3-bucket", Only: Server},
	{Name: "etcd-s3-bucket-lookup-type", Only: Server},
	{Name: "etcd-s3-region", Only: Server},
	{Name: "etcd-s3-folder", Only: Server},
	{Name: "etcd-s3-proxy", Since: 27, Only: Server},
	{Name: "etcd-s3-config-secret", Since: 27, Only: Server},
	{Name: "etcd-s3-insecure", Kind: Boolean, Only: Server},
	{Name: "etcd-s3-timeout", Only: Server},
	{Name: "etcd-s3-retention", Kind: Number, Only: Server},
	{Name: "default-local-storage-path", Only: Server},
	// components
	{Name: "helm-controller-arg", Kind: List, Only: Server, patches: august2026},
	{Name: "disable", Kind: List, Only: Server},
	{Name: "no-deploy", Kind: List, Only: Server, Until: 25},
	{Name: "disable-scheduler", Kind: Boolean, Only: Server},
	{Name: "disable-cloud-controller", Kind: Boolean, Only: Server},
	{Name: "disable-kube-proxy", Kind: Boolean, Only: Server},
	{Name: "disable-network-policy", Kind: Boolean, Only: Server},
	{Name: "disable-helm-controller", Kind: Boolean, Only: Server},
	{Name: "disable-apiserver", Kind: Boolean, Only: Server},
	{Name: "disable-controller-manager", Kind: Boolean, Only: Server},
	{Name: "disable-etcd", Kind: Boolean, Only: Server},
	{Name: "disable-agent", Kind: Boolean, Only: Server},
	{Name: "embedded-registry", Since: 26, Kind: Boolean, Only: Server},
	{Name: "supervisor-metrics", Since: 26, Kind: Boolean, Only: Server},
	{Name: "disable-apiserver-lb", Since: 25, Kind: Boolean, Only: Agent},
	// node
	{Name: "node-name", Env: "K3S_NODE_NAME"},
	{Name: "with-node-id", Kind: Boolean},
	{Name: "node-label", Kind: List},
	{Name: "node-taint", Kind: List},
	{Name: "image-credential-provider-bin-dir"},
	{Name: "image-credential-provider-config"},
	{Name: "selinux", Kind: Boolean, Env: "K3S_SELINUX"},
	{Name: "lb-server-port", Kind: Number, Env: "K3S_LB_SERVER_PORT"},
	{Name: "protect-kernel-defaults", Kind: Boolean},
	{Name: "secrets-encryption", Kind: Boolean, Only: Server},
	{Name: "secrets-encryption-provider", Only: Server, OneOf: []string{"aescbc", "secretbox"}, patches: april2025},
	// runtime
	{Name: "docker", Kind: Boolean},
	{Name: "container-runtime-endpoint"},
	{Name: "default-runtime", Since: 26},
	{Name: "image-service-endpoint", Since: 25},
	{Name: "disable-default-registry-endpoint", Since: 26, Kind: Boolean},
	{Name: "nonroot-devices", Kind: Boolean, Since: 30},
	{Name: "pause-image"},
	{Name: "snapshotter"},
	{Name: "private-registry"},
	{Name: "system-default-registry", Env: "K3S_SYSTEM_DEFAULT_REGISTRY", Only: Server},
	{Name: "airgap-extra-registry", Kind: List},
	// experimental, deprecated, hidden
	{Name: "enable-pprof", Since: 25, Kind: Boolean},
	{Name: "rootless", Kind: Boolean},
	{Name: "prefer-bundled-bin", Kind: Boolean},
	{Name: "no-flannel", Kind: Boolean, Until: 28},
	{Name: "disable-selinux", Kind: Boolean, Until: 28},
}
