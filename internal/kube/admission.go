package kube

import "github.com/k3s-cis/packer-plugin-k3s/internal/k3s"

// Admission is what an admission configuration file
// (--admission-control-config-file) tells the API server's plugins.
type Admission struct {
	// Plugins names the plugins that have an entry, in the file's order.
	Plugins []string
	// PodSecurity is that plugin's configuration, Kubernetes's defaults
	// filled in; nil when the file has no entry for it.
	PodSecurity *PodSecurity
	// EventRateLimit holds that plugin's limits; nil when the file has no
	// entry for it.
	EventRateLimit []RateLimit
}

// PodSecurity is the cluster-wide default of Pod Security Admission.
type PodSecurity struct {
	// Enforce, Audit and Warn are what applies to namespaces without labels.
	Enforce, Audit, Warn Level
	// Exempt lists what is not judged at all.
	Exempt Exemptions
}

// Level is a Pod Security level at a version of the standard.
type Level struct {
	// Name is "privileged", "baseline" or "restricted".
	Name string
	// Version is "latest" or a Kubernetes minor such as "v1.36".
	Version string
}

// Exemptions are what Pod Security Admission passes over.
type Exemptions struct {
	Namespaces, Usernames, RuntimeClasses []string
}

// RateLimit is one limit of the EventRateLimit plugin.
type RateLimit struct {
	// Type is Server, Namespace, User or SourceAndObject.
	Type string
	// QPS and Burst are events a second and the size of the bucket, above 0.
	QPS, Burst int32
	// CacheSize is the number of buckets kept; 0 stands for the plugin's 4096.
	CacheSize int32
}

// LoadAdmission reads an AdmissionConfiguration as the API server of release r
// does. name is the file's absolute path on the node; a plugin's `path:` is
// read with readFile, relative ones from name's directory. An error joins
// *Error values, one for each thing that would make the API server exit.
func LoadAdmission(r k3s.Release, name string, data []byte, readFile ReadFile) (*Admission, error) {
	panic("not written yet")
}
