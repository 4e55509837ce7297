package k3s

import (
	"slices"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// running is what K3s logs when it starts a component, before its name and
// arguments (pkg/daemons/control/server.go, pkg/daemons/agent/agent.go).
const running = "Running "

// UpMessage is how K3s logs that it has started, behind "k3s" or "k3s agent"; the
// service manager is told at the same moment (pkg/cli/server/server.go).
const UpMessage = "is up and running"

// RegisteredMessage is how a kubelet logs that the API server knows its node
// (pkg/kubelet/kubelet_node_status.go).
const RegisteredMessage = "Successfully registered node"

// NotifySocket is the variable without which an agent does not log that it has
// started, whatever it names (pkg/agent/run.go).
const NotifySocket = "NOTIFY_SOCKET"

// UnknownKeyMessage is how a server logs a configuration key that it drops
// (pkg/configfilearg/parser.go).
const UnknownKeyMessage = "Unknown flag"

// maxLogged is how many arguments of a component a log may name.
const maxLogged = 1000

// LoggedArguments reads the line of a log in which K3s says what it starts a
// component with. known is false of every other line. Of a value that has blanks
// the words are one value, as long as none begins with two dashes.
func LoggedArguments(line string) (c Component, args []Argument, known bool) {
	message := logged(line)
	rest, known := strings.CutPrefix(message, running)
	name, rest, _ := strings.Cut(rest, " ")
	if !known || !slices.Contains(loggedComponents, Component(name)) {
		return "", nil, false
	}
	for i, item := range strings.SplitN(" "+rest, " --", maxLogged) {
		if i == 0 {
			continue
		}
		flag, value, given := strings.Cut(item, "=")
		if !given {
			value = "true"
		}
		args = append(args, Argument{Name: flag, Value: value, Origin: Origin{Source: "log of K3s"}})
	}
	return Component(name), args, true
}

// loggedComponents are the components whose arguments K3s logs as they are. What
// etcd runs with stands in a file.
var loggedComponents = []Component{APIServer, ControllerManager, Scheduler, Kubelet, KubeProxy}

// logged is the message of a line of K3s's log (logrus's text format), or the line
// itself.
func logged(line string) string {
	_, rest, found := strings.Cut(line, `msg="`)
	if !found {
		return strings.TrimSpace(line)
	}
	quoted, err := strconv.QuotedPrefix(`"` + rest)
	if err != nil {
		return strings.TrimSuffix(strings.TrimSpace(rest), `"`)
	}
	message, err := strconv.Unquote(quoted)
	if err != nil {
		return ""
	}
	return message
}

// Logged is the message of a line of K3s's log, without time and level.
func Logged(line string) string { return logged(line) }

// ofMachine are the arguments that follow from the machine that K3s runs on, or
// from how much it is to log: configuration alone does not tell them
// (pkg/daemons/agent/agent_linux.go, pkg/daemons/agent/agent.go).
var ofMachine = map[Component][]string{
	APIServer: {"advertise-address"},
	Kubelet: {
		"cert-dir", "cgroup-driver", "cluster-dns", "cni-bin-dir", "cni-conf-dir", "container-runtime", "container-runtime-endpoint", "containerd",
		"cpu-cfs-quota", "feature-gates", "hostname-override", "image-credential-provider-bin-dir", "image-credential-provider-config",
		"image-service-endpoint", "kubelet-cgroups", "network-plugin", "node-ip", "node-labels", "pod-infra-container-image", "register-with-taints",
		"resolv-conf", "root-dir", "runtime-cgroups", "serialize-image-pulls",
	},
	KubeProxy: {"healthz-bind-address", "hostname-override"},
}

// logging are the arguments by which K3s hands its own logging on.
var logging = []string{"alsologtostderr", "log_file", "v", "vmodule"}

// Difference is a flag of a component that was not started with what was worked
// out for it.
type Difference struct {
	Component Component
	Flag      string
	// WorkedOut and Started are the values, in their order; nil for a flag that is
	// not passed.
	WorkedOut, Started []Argument
}

// Differences compares what component c was started with, flag by flag, with what
// e says of its command line. What follows from the machine is left out where e
// says nothing of it.
func (e *Effective) Differences(c Component, started []Argument) []Difference {
	workedOut := slices.DeleteFunc(slices.Clone(e.Args[c]), func(a Argument) bool { return a.File })
	return differences(c, workedOut, started, func(flag string) bool {
		return slices.Contains(ofMachine[c], flag) || slices.Contains(logging, flag)
	})
}

// FileDifferences compares what the files of component c say with what it says
// itself that it runs with. It says more than the files do.
func (e *Effective) FileDifferences(c Component, says []Argument) []Difference {
	workedOut := slices.DeleteFunc(slices.Clone(e.Args[c]), func(a Argument) bool { return !a.File })
	inFiles := map[string]bool{}
	for _, a := range workedOut {
		inFiles[a.Name] = true
	}
	// Where the file of K3s's own stands aside, the kubelet says its default.
	return differences(c, workedOut, slices.DeleteFunc(slices.Clone(says), func(a Argument) bool { return !inFiles[a.Name] }), func(string) bool { return false })
}

func differences(c Component, workedOut, started []Argument, free func(flag string) bool) []Difference {
	is, was := byFlag(started), byFlag(workedOut)
	var flags []string
	for flag := range was {
		flags = append(flags, flag)
	}
	for flag := range is {
		if was[flag] == nil && !free(flag) {
			flags = append(flags, flag)
		}
	}
	slices.Sort(flags)
	var out []Difference
	for _, flag := range flags {
		if OpenAt(was[flag]) == "" && !slices.EqualFunc(was[flag], is[flag], func(a, b Argument) bool { return a.Value == b.Value }) {
			out = append(out, Difference{Component: c, Flag: flag, WorkedOut: was[flag], Started: is[flag]})
		}
	}
	return out
}

func byFlag(args []Argument) map[string][]Argument {
	out := map[string][]Argument{}
	for _, a := range args {
		out[a.Name] = append(out[a.Name], a)
	}
	return out
}

// KubeletConfiguration shows the configuration with which a kubelet says that it
// runs (configz), as the flags that it stands for. ok is false for what is none.
func KubeletConfiguration(data []byte) (args []Argument, ok bool) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil || len(doc.Content) == 0 {
		return nil, false
	}
	root := descend(doc.Content[0], []string{"kubeletconfig"})
	if root == nil || root.Kind != yaml.MappingNode {
		return nil, false
	}
	layers := kubeletLayers{}
	for _, f := range kubeletFields {
		if n := descend(root, strings.Split(f.path, ".")); n != nil {
			layers.add(f, n, "configz of the kubelet")
		}
	}
	return layers.arguments(), true
}
