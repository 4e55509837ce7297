package k3s

import (
	"slices"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// argumentKeys says which key holds the arguments of which component.
var argumentKeys = map[Component]string{
	APIServer:         "kube-apiserver-arg",
	ControllerManager: "kube-controller-manager-arg",
	Scheduler:         "kube-scheduler-arg",
	Kubelet:           "kubelet-arg",
	KubeProxy:         "kube-proxy-arg",
	Etcd:              "etcd-arg",
}

// ArgumentKey is the K3s key that passes arguments to a component.
func ArgumentKey(c Component) string { return argumentKeys[c] }

// components lists what a node of this configuration runs.
func (r *resolver) components() []Component {
	e := r.effective
	var out []Component
	if r.role == Server {
		for _, c := range []struct {
			component Component
			off       string
		}{
			{APIServer, "disable-apiserver"},
			{ControllerManager, "disable-controller-manager"},
			{Scheduler, "disable-scheduler"},
		} {
			if !e.Bool(c.off) {
				out = append(out, c.component)
			}
		}
		if e.Datastore == EtcdStore && !e.Bool("disable-etcd") {
			out = append(out, Etcd)
		}
	}
	if r.role == Agent || !e.Bool("disable-agent") {
		out = append(out, Kubelet)
		if !e.Bool("disable-kube-proxy") {
			out = append(out, KubeProxy)
		}
	}
	return out
}

// maxArguments is how many arguments of a component are judged; nobody has as
// many.
const maxArguments = 5000

// arguments assembles what each component is passed.
func (r *resolver) arguments() map[Component][]Argument {
	out := map[Component][]Argument{}
	for _, c := range r.components() {
		user := r.effective.Settings[argumentKeys[c]].Values
		if len(user) > maxArguments {
			r.problem(Unreadable, user[maxArguments].Origin, "%s has more than the %d values that are judged", argumentKeys[c], maxArguments)
			user = user[:maxArguments]
		}
		defaults := r.defaults(c, user)
		switch c {
		case APIServer:
			user = r.cipherSuites(user)
		case Kubelet:
			user, defaults = r.kubeletFiles(user, defaults)
		}
		out[c] = r.merge(c, defaults, user)
	}
	return out
}

// merge applies K3s's rules for component arguments (pkg/util/args.go): any
// user value for a name drops the default; "name+=" and "name-=" keep it and
// append or prepend; a name given several times is passed several times, in
// order. Releases before v1.24 know neither and keep only the last.
func (r *resolver) merge(c Component, defaults []Argument, user []Value) []Argument {
	values := make(map[string][]Argument, len(defaults)+len(user))
	for i, d := range defaults {
		if old := values[d.Name]; old != nil {
			values[d.Name] = append(old, d)
			continue
		}
		values[d.Name] = defaults[i : i+1 : i+1]
	}
	modern := r.release.MergesArguments()
	replaced := map[string]bool{}
	for _, item := range user {
		name, value, given := strings.Cut(strings.TrimPrefix(item.Text, "--"), "=")
		if !given {
			value = "true"
		}
		clean := name
		if modern {
			clean = strings.TrimRight(name, "-+")
		} else if strings.HasSuffix(name, "+") || strings.HasSuffix(name, "-") {
			r.problem(Fatal, item.Origin, "K3s %s does not know %s%s= (it does from v1.24) and passes it on, so %s exits: write %[2]s= with the whole value", r.release, safetext.Name(strings.TrimRight(name, "-+")), name[len(strings.TrimRight(name, "-+")):], c)
		}
		if clean == "" {
			r.problem(Fatal, item.Origin, "an item of %s names no flag, and %s exits: write name=value", argumentKeys[c], c)
			continue
		}
		a := Argument{Name: clean, Value: value, Origin: item.Origin, Open: item.Open}
		old := values[clean]
		switch {
		case modern && strings.HasSuffix(name, "+"):
			values[clean] = append(old, a)
		case modern && strings.HasSuffix(name, "-"):
			values[clean] = append([]Argument{a}, old...)
		case !modern:
			r.twice(c, old, a)
			values[clean] = []Argument{a}
		default:
			if !replaced[clean] {
				old = slices.DeleteFunc(slices.Clone(old), func(o Argument) bool { return o.Origin.Default })
			}
			r.twice(c, old, a)
			values[clean] = append(old, a)
		}
		replaced[clean] = true
		r.fatalArgument(c, a, given)
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	out := make([]Argument, 0, len(defaults)+len(user))
	for _, name := range names {
		out = append(out, values[name]...)
	}
	return out
}

// twice reports a flag of a single value that is given two different ones.
func (r *resolver) twice(c Component, old []Argument, now Argument) {
	if len(old) == 0 || joinsValues(c, now.Name) && r.release.MergesArguments() {
		return
	}
	last := old[len(old)-1]
	if last.Value == now.Value || last.Origin.Default {
		return
	}
	consequence := Noted
	if last.Origin.Source == now.Origin.Source {
		consequence = Ignored // within one file it is a mistake
	}
	r.problem(consequence, last.Origin, "%s of %s is set to %s here and to %s at %s, which counts; remove one of them",
		safetext.Name(now.Name), c, plainArgument(last.Value), plainArgument(now.Value), now.Origin)
}

// plainArgument shows a value of a flag, of which nothing is known here, only
// where it cannot be a secret: true, false or a number.
func plainArgument(value string) string {
	_, boolean := strconv.ParseBool(value)
	_, number := strconv.ParseInt(value, 0, 32)
	if boolean != nil && number != nil {
		return safetext.Hidden
	}
	return value
}

// listFlags are the flags whose values add up over several uses; of all other
// flags the last use counts (pflag's StringSlice, StringArray and map types).
var listFlags = map[Component][]string{
	APIServer: {
		"enable-admission-plugins", "disable-admission-plugins", "admission-control", "authorization-mode", "tls-cipher-suites",
		"api-audiences", "service-account-issuer", "service-account-key-file", "feature-gates", "runtime-config",
		"etcd-servers", "etcd-servers-overrides", "tls-sni-cert-key", "cors-allowed-origins",
		"kubelet-preferred-address-types", "requestheader-allowed-names", "requestheader-extra-headers-prefix",
		"requestheader-group-headers", "requestheader-uid-headers", "requestheader-username-headers", "oidc-required-claim",
		"oidc-signing-algs", "strict-transport-security-directives", "watch-cache-sizes",
		"disabled-metrics", "allow-metric-labels",
	},
	ControllerManager: {
		"controllers", "feature-gates", "tls-cipher-suites", "tls-sni-cert-key",
		"authorization-always-allow-paths", "requestheader-allowed-names",
	},
	Scheduler: {"feature-gates", "tls-cipher-suites", "tls-sni-cert-key", "authorization-always-allow-paths"},
	Kubelet: {
		"feature-gates", "tls-cipher-suites", "cluster-dns", "node-labels",
		"allowed-unsafe-sysctls", "system-reserved", "kube-reserved", "eviction-hard", "eviction-soft",
		"eviction-minimum-reclaim", "eviction-soft-grace-period", "enforce-node-allocatable", "qos-reserved",
		"reserved-memory", "manifest-url-header",
	},
	KubeProxy: {"feature-gates", "nodeport-addresses", "ipvs-exclude-cidrs"},
}

// JoinsValues says whether a flag that a component is given several times has
// all the values; of any other the last one counts.
func JoinsValues(c Component, name string) bool { return joinsValues(c, name) }

// joinsValues says whether a flag's values add up.
func joinsValues(c Component, name string) bool { return slices.Contains(listFlags[c], name) }

// Flag returns the value a component will use for flag name after K3s's and
// the component's own rules (last wins, or union for list flags, joined by
// commas), the arguments it comes from, and whether it is set at all.
func (e *Effective) Flag(c Component, name string) (value string, from []Argument, set bool) {
	for _, a := range e.Args[c] {
		// the components read _ in a flag's name as -
		if len(a.Name) == len(name) && strings.ReplaceAll(a.Name, "_", "-") == name {
			from = append(from, a)
		}
	}
	if len(from) == 0 {
		return "", nil, false
	}
	if !joinsValues(c, name) {
		from = from[len(from)-1:]
		return from[0].Value, from, true
	}
	var texts []string
	for _, a := range from {
		texts = append(texts, a.Value)
	}
	return strings.Join(texts, ","), from, true
}
