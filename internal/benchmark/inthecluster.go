package benchmark

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k3s-cis/packer-plugin-k3s/internal/boot"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
)

// clusterCommand is a command of kubectl that the node's files have run.
type clusterCommand struct {
	boot.Place
	verb string
	// kind is the first of what is changed, in one of the names of clusterKinds; name
	// is "" for all or what a selector picks.
	kind, name string
	// namespace is "" for every one.
	namespace string
	words     []string
}

// clusterKinds are kinds of objects by the names that kubectl takes for them.
var clusterKinds = map[string]string{
	"networkpolicy": "NetworkPolicy", "networkpolicies": "NetworkPolicy", "netpol": "NetworkPolicy",
	"serviceaccount": "ServiceAccount", "serviceaccounts": "ServiceAccount", "sa": "ServiceAccount",
	"namespace": "Namespace", "namespaces": "Namespace", "ns": "Namespace",
}

// clusterCommands are those about kinds of clusterKinds.
func (x *examination) clusterCommands() []clusterCommand {
	calls := x.boot().Calls("kubectl")
	for _, c := range x.boot().Calls("k3s") {
		if len(c.Args) > 0 && c.Args[0] == "kubectl" {
			c.Args = c.Args[1:]
			calls = append(calls, c)
		}
	}
	var out []clusterCommand
	for _, c := range calls {
		command := clusterCommand{Place: c.Place, namespace: metav1.NamespaceDefault, words: c.Args}
		var words []string
		for i := 0; i < len(c.Args); i++ {
			option, value, joined := strings.Cut(c.Args[i], "=")
			if !strings.HasPrefix(option, "-") {
				words = append(words, c.Args[i])
				continue
			}
			if !joined && slices.Contains([]string{"-n", "--namespace", "-l", "--selector", "--kubeconfig", "-p", "--patch", "-f", "--filename", "--type", "-o"}, option) && i+1 < len(c.Args) {
				i++
				value = c.Args[i]
			}
			switch option {
			case "-n", "--namespace":
				command.namespace = value
			case "-A", "--all-namespaces":
				command.namespace = ""
			}
		}
		if len(words) < 2 {
			continue
		}
		kinds, name, _ := strings.Cut(words[1], "/")
		if command.verb, command.name = words[0], name; name == "" && len(words) > 2 {
			command.name = words[2]
		}
		for kind := range strings.SplitSeq(kinds, ",") {
			plain, _, _ := strings.Cut(strings.ToLower(kind), ".")
			if command.kind = clusterKinds[plain]; command.kind != "" {
				out = append(out, command)
			}
		}
	}
	return out
}

// takenBack says which command takes back in a namespace what manifests have of a
// kind there: one that deletes it, or that changes it to mount tokens.
func (x *examination) takenBack(kind, namespace string) (at clusterCommand, is bool) {
	all := x.clusterCommands()
	i := slices.IndexFunc(all, func(c clusterCommand) bool {
		opens := c.verb == "patch" && strings.Contains(strings.ReplaceAll(strings.Join(c.words, ""), " ", ""), `utomountServiceAccountToken":true`)
		return c.kind == kind && (c.namespace == "" || c.namespace == namespace) && (c.verb == "delete" || opens)
	})
	if i < 0 {
		return clusterCommand{}, false
	}
	return all[i], true
}

// labelled are the namespaces that commands label.
func (x *examination) labelled() []kube.Object {
	var out []kube.Object
	for _, c := range x.clusterCommands() {
		if c.kind != "Namespace" || c.verb != "label" {
			continue
		}
		labels := map[string]string{}
		for _, w := range c.words {
			if name, value, is := strings.Cut(w, "="); is && !strings.HasPrefix(w, "-") {
				labels[name] = value
			}
		}
		out = append(out, kube.Object{
			Kind: c.kind, Name: c.name, File: c.Path, Line: c.Line,
			Typed: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.name, Labels: labels}},
		})
	}
	return out
}
