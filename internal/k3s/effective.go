package k3s

import (
	"fmt"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// Component is a program that K3s embeds and passes arguments to.
type Component string

// The components whose arguments K3s assembles.
const (
	APIServer         Component = "kube-apiserver"
	ControllerManager Component = "kube-controller-manager"
	Scheduler         Component = "kube-scheduler"
	Kubelet           Component = "kubelet"
	KubeProxy         Component = "kube-proxy"
	Etcd              Component = "etcd"
)

// Origin is where a value comes from.
type Origin struct {
	// Source is a path on the node, or a sentence such as "K3s v1.36 default".
	Source string
	// Line is the line in the file, from 1; 0 where there is none.
	Line int
	// Default is true when nothing on the node says it: K3s or the component
	// does so by itself in this release.
	Default bool
}

// String returns "path:line", or Source alone where there is no line.
func (o Origin) String() string {
	if o.Line == 0 {
		return o.Source
	}
	return fmt.Sprintf("%s:%d", o.Source, o.Line)
}

// Argument is one flag of a component.
type Argument struct {
	// Name has no leading dashes.
	Name   string
	Value  string
	Origin Origin
	// File is true where a configuration file of the component says it, and not
	// its command line.
	File bool
	// Open is a specifier of systemd's in Value that only the running machine knows
	// the value of; "" where the whole value is known.
	Open string
}

// Setting is one K3s configuration key after merging.
type Setting struct {
	// Values are the items in K3s's order; scalars have one.
	Values []Value
}

// Value is one item of a setting.
type Value struct {
	Text   string
	Origin Origin
	// Open is a specifier of systemd's in Text that only the running machine knows
	// the value of; "" where the whole value is known.
	Open string
}

// Datastore is where the cluster keeps its state.
type Datastore string

// The datastores that K3s chooses between from its configuration.
const (
	SQLite    Datastore = "sqlite"
	EtcdStore Datastore = "etcd"
	External  Datastore = "external"
)

// Consequence is what K3s does about a problem in its configuration.
type Consequence string

// The consequences, from the worst.
const (
	// Fatal: K3s or a component of it exits.
	Fatal Consequence = "fatal"
	// Ignored: K3s drops the setting with a warning, or without one.
	Ignored Consequence = "ignored"
	// Unreadable: evidence is missing, so what K3s will do is not known.
	Unreadable Consequence = "unreadable"
	// Unknown: a release newer than what is known here decides, at its first
	// start.
	Unknown Consequence = "unknown"
	// Noted: K3s does as it is told; a person may want to know.
	Noted Consequence = "noted"
)

// Problem is something in K3s's configuration that does not do what it says.
type Problem struct {
	Consequence Consequence
	// Text says what is wrong and what would be right, in one line.
	Text   string
	Origin Origin
	// Stops is the role whose service it stops, where that is not the role that
	// was resolved; empty otherwise.
	Stops Role
}

// Effective is what K3s will run with, computed from files alone.
type Effective struct {
	Release Release
	Role    Role
	// Service is what starts K3s; nil where the node has no such service, or
	// none that could be read.
	Service *service.Service
	// Program is K3s's binary as the service names it, absolute; empty where no
	// service does.
	Program string
	// Wrapper is where a command stands that starts K3s and is not k3s itself, so
	// that it is not known what runs; the zero Origin where there is none, or the
	// user declared what it runs.
	Wrapper Origin
	// ConfigFile is the configuration file K3s will read.
	ConfigFile string
	// DataDir is K3s's data directory, /var/lib/rancher/k3s unless moved.
	DataDir   string
	Datastore Datastore
	// Settings holds the K3s keys by their long names, the command line and
	// the environment included, K3s's defaults not.
	Settings map[string]Setting
	// Args holds what each component is passed, in K3s's order: sorted by
	// name, the values of one name in the order they take effect. A component
	// that this node does not run has no entry.
	// For the kubelet the configuration files K3s writes and the drop-ins it
	// finds are shown as the flags they stand for.
	Args map[Component][]Argument
	// KubeletFiles are the kubelet's configuration files, but for the one that K3s
	// writes anew at every start.
	KubeletFiles []string
	// KubeletNamed are those of them that kubelet-arg names: the file of config, and
	// what is in the directory of config-dir.
	KubeletNamed []string
	// KubeletCopied is the file of config where K3s copies that at each start, and
	// KubeletCopy the copy, which is for everybody to read unless a file of a narrower
	// mode is there already; both are empty where it copies none.
	KubeletCopied, KubeletCopy string
	Problems                   []Problem
	// unheeded is what configuration files say in vain, by key.
	unheeded map[string]unheeded
	// Missing names what has to be collected on top of Query because the
	// node keeps it elsewhere; each has a problem with Unreadable. Collect it
	// together with Query and resolve again.
	Missing node.Query
}
