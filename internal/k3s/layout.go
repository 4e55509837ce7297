package k3s

import (
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Paths that do not depend on the data directory (K3s: pkg/cli/cmds, install.sh).
const (
	ConfigDir      = "/etc/rancher/k3s"
	ConfigFile     = "/etc/rancher/k3s/config.yaml"
	RegistriesFile = "/etc/rancher/k3s/registries.yaml"
	Kubeconfig     = "/etc/rancher/k3s/k3s.yaml"
	NodeDir        = "/etc/rancher/node"
	RunDir         = "/run/k3s"
	KubeletDir     = "/var/lib/kubelet"
	DefaultDataDir = "/var/lib/rancher/k3s"
	SystemdDir     = "/etc/systemd/system"
	// Where this plugin keeps the guide's policies. The guide has them below the data
	// directory, where a disk that is mounted at first boot hides them and the API
	// server exits.
	PodSecurityFile = ConfigDir + "/psa.yaml"
	AuditPolicyFile = ConfigDir + "/audit.yaml"
)

// BinaryPaths are where K3s is installed, the usual place first (install.sh).
func BinaryPaths() []string {
	return []string{"/usr/local/bin/k3s", "/opt/bin/k3s", "/usr/bin/k3s"}
}

// DropInDir returns the directory of the drop-ins of a configuration file.
func DropInDir(configFile string) string { return configFile + ".d" }

// DropIns picks the drop-ins of a configuration file with all that is below their
// directory, which may be a link: K3s reads it as any other.
func DropIns(configFile string) node.Pick {
	return node.Pick{Path: DropInDir(configFile), Depth: node.Deep, Content: true}
}

// Layout is where K3s keeps things below its data directory.
type Layout struct{ dataDir string }

// LayoutOf returns the layout of a data directory; "" stands for the default.
func LayoutOf(dataDir string) Layout {
	if dataDir == "" {
		dataDir = DefaultDataDir
	}
	return Layout{path.Clean(dataDir)}
}

// Root is the data directory itself.
func (l Layout) Root() string { return l.dataDir }

// Server holds what a server keeps: certificates, credentials, datastore.
func (l Layout) Server() string { return l.dataDir + "/server" }

// Manifests is where the deploy controller looks for manifests.
func (l Layout) Manifests() string { return l.Server() + "/manifests" }

// Logs is where the guide puts the audit log.
func (l Layout) Logs() string { return l.Server() + "/logs" }

// PodSecurityFile is where the guide keeps the configuration of Pod Security
// (docs.k3s.io, "CIS Hardening Guide").
func (l Layout) PodSecurityFile() string { return l.Server() + "/psa.yaml" }

// AuditPolicyFile is where the guide keeps the audit policy.
func (l Layout) AuditPolicyFile() string { return l.Server() + "/audit.yaml" }

// TLS holds certificates and keys.
func (l Layout) TLS() string { return l.Server() + "/tls" }

// Cred holds kubeconfigs, the encryption configuration and passwords.
func (l Layout) Cred() string { return l.Server() + "/cred" }

// DB holds the embedded datastore.
func (l Layout) DB() string { return l.Server() + "/db" }

// Etcd is the data directory of the embedded etcd.
func (l Layout) Etcd() string { return l.DB() + "/etcd" }

// Agent holds what every node keeps.
func (l Layout) Agent() string { return l.dataDir + "/agent" }

// Images is where air-gap archives are imported from.
func (l Layout) Images() string { return l.Agent() + "/images" }

// StaticPods is where the kubelet starts pods from by itself.
func (l Layout) StaticPods() string { return l.Agent() + "/pod-manifests" }

// KubeletConfigDir holds the kubelet's configuration files (from v1.32).
func (l Layout) KubeletConfigDir() string { return l.Agent() + "/etc/kubelet.conf.d" }

// sharedDirectories are the system's own, and those that hold more than one
// thing of K3s's.
var sharedDirectories = []string{
	"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/media", "/mnt", "/opt", "/proc", "/root", "/run",
	"/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/lib/rancher", "/var/log", "/var/run", "/var/tmp",
	"/etc/rancher", ConfigDir,
}

// Shared says whether dir is a directory that others use too, so that its mode
// is not that of one log or file in it.
func (l Layout) Shared(dir string) bool {
	return slices.Contains(sharedDirectories, dir) || dir == l.Root()
}

// ServiceName is the name of the service that runs a role (install.sh).
func (r Role) ServiceName() string {
	if r == Agent {
		return "k3s-agent"
	}
	return "k3s"
}

// outputs are keys and flags whose values name what K3s or a component writes,
// or keeps data of workloads in.
var outputs = []string{
	"audit-log-path", "log-file", "log-dir", "log", "write-kubeconfig", "etcd-snapshot-dir", "default-local-storage-path", "data-dir",
	"default-runtime", "container-runtime-endpoint", "image-service-endpoint", "http-trace",
}

// WrittenTo says whether a key of K3s or a flag of a component names what is
// written there, rather than something that is read at the start.
func WrittenTo(name string) bool { return slices.Contains(outputs, strings.ReplaceAll(name, "_", "-")) }

// EnvironmentFiles lists the environment files that install.sh names in the
// unit of a role, in the order systemd reads them.
func (r Role) EnvironmentFiles() []string { return environmentFiles(r.ServiceName()) }

// SystemEnvironmentFiles are environment files that are not K3s's alone: every
// program and user of the system reads them, so that a mode of 0600 breaks
// others. A secret in one of them is one wherever it is.
func SystemEnvironmentFiles() []string {
	return []string{
		"/etc/environment", "/etc/locale.conf", "/etc/default/locale", "/etc/os-release", "/usr/lib/os-release", "/etc/lsb-release",
		"/etc/network-environment", "/etc/sysconfig/network", "/etc/sysconfig/i18n",
	}
}

func environmentFiles(service string) []string {
	return []string{"/etc/default/" + service, "/etc/sysconfig/" + service, SystemdDir + "/" + service + ".service.env"}
}
