package harden

import (
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Options are the choices of the person who bakes the node. The zero value of
// each field means what the guide recommends for the release.
type Options struct {
	Release k3s.Release
	Role    k3s.Role
	// Benchmark is the CIS release the node is judged by, such as "cis-2.1".
	Benchmark string
	// Layout is which file holds what is desired of K3s's configuration.
	Layout Layout
	// Overwrite is what of the node's own may be replaced where it contradicts
	// the guide, instead of being refused.
	Overwrite Overwrite

	// K3sCommand is what a program that starts K3s runs, such as "server --config
	// FILE"; "" where the service starts k3s itself.
	K3sCommand string

	PodSecurity     PodSecurity
	Audit           Audit
	EventRateLimit  []RateLimit
	NetworkPolicies NetworkPolicies
	// NoServiceAccounts leaves out the default ServiceAccounts (CIS 5.1.5).
	NoServiceAccounts bool
	// Sysctl holds more kernel parameters, names with dots.
	Sysctl map[string]string
	// Config holds more K3s configuration keys: string, bool, number or list of strings.
	Config map[string]any
	// Args holds more component arguments, "flag=value"; they win over the guide's.
	Args map[k3s.Component][]string
	// SecretsEncryptionProvider is "", "aescbc" or "secretbox".
	SecretsEncryptionProvider string
	// PodMaxPids limits the processes of one pod; 0 means the guide's choice.
	PodMaxPids int
	// SeccompDefault turns RuntimeDefault seccomp on for every pod; nil means
	// the guide's choice for the benchmark.
	SeccompDefault *bool
	// TLSCipherSuites replaces the kubelet's list of the guide.
	TLSCipherSuites []string
	// DenyServiceExternalIPs enables that admission plugin; nil means what the
	// benchmark asks for.
	DenyServiceExternalIPs *bool
	// StrictManifests makes workloads that Pod Security would reject an error.
	StrictManifests bool
}

// Overwrite is what of a node's own configuration a plan may replace.
type Overwrite struct {
	// Config is values of keys and arguments.
	Config bool
	// Lists is lists of drop-ins that replace those of the files before: they
	// append then.
	Lists bool
	// Policies is admission and audit policies of the node's own.
	Policies bool
}

// Layout is where a node's K3s configuration gets what is desired of it.
type Layout string

// The layouts. "" stands for LayoutFile.
const (
	// LayoutFile merges it into the configuration file.
	LayoutFile Layout = "file"
	// LayoutDropIn puts it into a drop-in of its own, for nodes whose
	// configuration file is written at their first boot.
	LayoutDropIn Layout = "drop-in"
)

// File is a file of the user's on the build host.
type File struct {
	// Name is the path as the user wrote it, for messages.
	Name string
	Data []byte
}

// PodSecurity is the cluster-wide default of Pod Security Admission.
type PodSecurity struct {
	// Enforce, Audit and Warn are "privileged", "baseline" or "restricted".
	Enforce, Audit, Warn string
	// Version is "latest" or a Kubernetes minor such as "v1.36".
	Version string
	// Presets name known platforms (rancher, longhorn, monitoring) whose
	// namespaces are exempt too.
	Presets              []string
	ExemptNamespaces     []string
	ExemptUsernames      []string
	ExemptRuntimeClasses []string
	// Policy is a whole AdmissionConfiguration of the user's.
	Policy *File
}

// Audit is what the API server records.
type Audit struct {
	// Profile is "metadata" (the guide's) or "recommended".
	Profile string
	// Level is the level of the metadata profile's one rule: Metadata, Request
	// or RequestResponse.
	Level string
	// Policy is a whole audit policy of the user's.
	Policy *File
	// LogPath is where the log goes.
	LogPath string
	// MaxAge is in days, MaxBackup in files, MaxSize in megabytes; 0 means the guide's.
	MaxAge, MaxBackup, MaxSize int
}

// RateLimit is one limit of the EventRateLimit admission plugin.
type RateLimit struct {
	// Type is Server, Namespace, User or SourceAndObject.
	Type string
	// QPS and Burst are events a second and the size of the bucket, above 0.
	QPS, Burst int
	// CacheSize is the number of buckets kept; 0 means the plugin's default.
	CacheSize int
}

// NetworkPolicies are the policies baked for namespaces.
type NetworkPolicies struct {
	// Namespaces get a policy that admits traffic from the same namespace
	// alone, as kube-system, default and kube-public always do.
	Namespaces []string
	// Deny* leave out the policies that keep K3s's own services reachable.
	DenyDNS, DenyMetricsServer, DenyServiceLB, DenyTraefik bool
	// Manifests are files of the user's, baked beside.
	Manifests []File
}

// Plan is what a node must become.
type Plan struct {
	Change node.Change
	// Notes tell the user what the plan decided that they may not expect.
	Notes []string
	// Warnings tell of things that will not work as they may think.
	Warnings []string
}
