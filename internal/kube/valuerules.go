package kube

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// rules are the values that a component parses and then refuses, by component
// and flag (k8s.io/apiserver/pkg/server/options, the components' options and
// k8s.io/kubernetes/pkg/kubelet/apis/config/validation).
var rules = withCommon(map[k3s.Component]map[string]rule{
	k3s.APIServer: {
		"audit-log-format":                     oneOf("legacy", "json"),
		"audit-log-maxage":                     notNegative("--%s %s can't be a negative number; write days"),
		"audit-log-maxbackup":                  notNegative("--%s %s can't be a negative number; write how many files to keep"),
		"audit-log-maxsize":                    notNegative("--%s %s can't be a negative number; write megabytes"),
		"audit-log-mode":                       oneOf("batch", "blocking", "blocking-strict"),
		"audit-webhook-mode":                   oneOf("batch", "blocking", "blocking-strict"),
		"endpoint-reconciler-type":             oneOf("lease", "master-count", "none"),
		"goaway-chance":                        chance,
		"livez-grace-period":                   notNegativeTime,
		"max-mutating-requests-inflight":       notNegative("--%s %s can not be negative value; write how many"),
		"max-requests-inflight":                notNegative("--%s %s can not be negative value; write how many"),
		"min-request-timeout":                  notNegative("--%s %s can not be negative value; write seconds"),
		"oidc-issuer-url":                      httpsURL,
		"oidc-signing-algs":                    eachOf("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"),
		"request-timeout":                      notNegativeTime,
		"secure-port":                          between(1, 65535),
		"service-account-issuer":               issuer,
		"service-account-max-token-expiration": expiration,
		"service-cluster-ip-range":             networks,
		"service-node-port-range":              portRange,
		"shutdown-delay-duration":              notNegativeTime,
		"storage-backend":                      oneOf("", "etcd3"),
	},
	k3s.ControllerManager: {
		"cluster-cidr":                      networks,
		"concurrent-service-endpoint-syncs": between(1, 50),
		"max-endpoints-per-slice":           between(1, 1000),
		"secure-port":                       between(0, 65535),
		"service-cluster-ip-range":          networks,
	},
	k3s.Scheduler: {
		"secure-port": between(0, 65535),
	},
	k3s.Kubelet: {
		"authorization-mode":         oneOf("AlwaysAllow", "Webhook"),
		"container-log-max-files":    between(2, 1<<31-1),
		"container-log-max-size":     quantity,
		"cpu-cfs-quota-period":       quotaPeriod,
		"cpu-manager-policy":         oneOf("none", "static"),
		"enforce-node-allocatable":   eachOf("none", "pods", "system-reserved", "kube-reserved", "system-reserved-compressible", "kube-reserved-compressible"),
		"event-burst":                notNegative("--%s %s must not be a negative number"),
		"event-qps":                  notNegative("--%s %s must not be a negative number; 0 is no limit"),
		"eviction-hard":              thresholds,
		"eviction-minimum-reclaim":   signals("=", isThreshold),
		"eviction-soft":              thresholds,
		"eviction-soft-grace-period": signals("=", isPeriod),
		"hairpin-mode":               oneOf("hairpin-veth", "none", "promiscuous-bridge"),
		"healthz-port":               between(0, 65535),
		"image-gc-high-threshold":    between(0, 100),
		"image-gc-low-threshold":     between(0, 100),
		"iptables-drop-bit":          between(0, 31),
		"iptables-masquerade-bit":    between(0, 31),
		"kube-api-burst":             notNegative("--%s %s must not be a negative number"),
		"kube-reserved":              reserved,
		"max-open-files":             notNegative("--%s %s must not be a negative number"),
		"max-pods":                   notNegative("--%s %s must not be a negative number"),
		"memory-manager-policy":      oneOf("None", "Static"),
		"node-labels":                nodeLabels,
		"hostname-override":          nodeName,
		"node-status-max-images":     between(-1, 1<<31-1),
		"oom-score-adj":              between(-1000, 1000),
		"pods-per-core":              notNegative("--%s %s must not be a negative number"),
		"port":                       between(1, 65535),
		"read-only-port":             between(0, 65535),
		"register-with-taints":       taints,
		"registry-burst":             notNegative("--%s %s must not be a negative number"),
		"registry-qps":               notNegative("--%s %s must not be a negative number"),
		"reserved-cpus":              matching(`^\d+(-\d+)?(,\d+(-\d+)?)*$`, "a list of CPUs such as 0-1,3"),
		"system-reserved":            reserved,
		"topology-manager-policy":    oneOf("best-effort", "none", "restricted", "single-numa-node"),
		"topology-manager-scope":     oneOf("container", "pod"),
	},
	k3s.KubeProxy: {
		"cluster-cidr":             networks,
		"conntrack-max-per-core":   notNegative("--%s %s must be greater than or equal to 0"),
		"conntrack-min":            notNegative("--%s %s must be greater than or equal to 0"),
		"detect-local-mode":        oneOf("", "BridgeInterface", "ClusterCIDR", "InterfaceNamePrefix", "NodeCIDR"),
		"healthz-bind-address":     listenAddress,
		"iptables-masquerade-bit":  between(0, 31),
		"iptables-min-sync-period": notNegativeTime,
		"iptables-sync-period":     positiveTime,
		"ipvs-exclude-cidrs":       networks,
		"metrics-bind-address":     listenAddress,
		"oom-score-adj":            between(-1000, 1000),
		"proxy-mode":               oneOf("", "iptables", "ipvs", "nftables", "userspace"),
	},
})

// withCommon adds what all components take alike.
func withCommon(all map[k3s.Component]map[string]rule) map[k3s.Component]map[string]rule {
	for c, own := range all {
		common := map[string]rule{"v": wholeNumber, "vmodule": verbosities, "logging-format": oneOf("", "json", "text")}
		if c != k3s.KubeProxy {
			common["tls-cipher-suites"], common["tls-min-version"] = cipherSuites, tlsVersion
		}
		maps.Copy(own, common)
	}
	return all
}

// refuse says that a value is not what it has to be. It is shown only where it
// is no word that may be a secret in the wrong place.
func refuse(name, value, want string) string {
	return fmt.Sprintf("--%s %q is not %s", name, word(value), want)
}

func oneOf(values ...string) rule {
	return func(name string, given []string) string {
		if slices.Contains(values, given[0]) {
			return ""
		}
		return refuse(name, given[0], "one of "+strings.Join(slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" }), ", "))
	}
}

func eachOf(values ...string) rule {
	return func(name string, given []string) string {
		for _, v := range given {
			if v != "" && !slices.Contains(values, v) {
				return refuse(name, v, "one of "+strings.Join(values, ", "))
			}
		}
		return ""
	}
}

func matching(pattern, want string) rule {
	is := regexp.MustCompile(pattern)
	return func(name string, given []string) string {
		if given[0] == "" || is.MatchString(given[0]) {
			return ""
		}
		return refuse(name, given[0], want)
	}
}

func between(low, high int64) rule {
	return func(name string, given []string) string {
		if n, err := strconv.ParseInt(given[0], 0, 64); err == nil && (n < low || n > high) {
			if high == 1<<31-1 {
				return fmt.Sprintf("--%s %d must be %d or more", name, n, low)
			}
			return fmt.Sprintf("--%s %d must be between %d and %d, inclusive", name, n, low, high)
		}
		return ""
	}
}

// notNegative refuses numbers below 0, in the words of format (name, value).
func notNegative(format string) rule {
	return func(name string, values []string) string {
		if n, err := strconv.ParseInt(values[0], 0, 64); err == nil && n < 0 {
			return fmt.Sprintf(format, name, values[0])
		}
		return ""
	}
}

func notNegativeTime(name string, values []string) string {
	if d, err := time.ParseDuration(values[0]); err == nil && d < 0 {
		return fmt.Sprintf("--%s can not be negative value, found %s; write such as 300s", name, values[0])
	}
	return ""
}

func positiveTime(name string, values []string) string {
	if d, err := time.ParseDuration(values[0]); err == nil && d <= 0 {
		return fmt.Sprintf("--%s must be greater than 0, found %s; write such as 30s", name, values[0])
	}
	return ""
}

func wholeNumber(name string, values []string) string {
	if _, err := strconv.ParseUint(values[0], 10, 31); err != nil {
		return refuse(name, values[0], "a whole number")
	}
	return ""
}

var verbosities = matching(`^([^=,]+=\d+)(,[^=,]+=\d+)*$`, "a list such as gc*=4,server=2")

func chance(name string, values []string) string {
	if f, err := strconv.ParseFloat(values[0], 64); err == nil && (f < 0 || f > 0.02) {
		return fmt.Sprintf("--%s can not be less than 0 or greater than 0.02", name)
	}
	return ""
}

func httpsURL(name string, values []string) string {
	if u, err := url.Parse(values[0]); values[0] != "" && (err != nil || u.Scheme != "https") {
		return fmt.Sprintf("--%s: URL scheme must be https", name)
	}
	return ""
}

// issuer is any text, but a URL where it has a colon.
func issuer(name string, values []string) string {
	if _, err := url.Parse(values[0]); strings.Contains(values[0], ":") && err != nil {
		return fmt.Sprintf("--%s contained a ':' but was not a valid URL", name)
	}
	return ""
}

func expiration(name string, values []string) string {
	if d, err := time.ParseDuration(values[0]); err == nil && d != 0 && (d < time.Hour || d > (1<<32)*time.Second) {
		return "the " + name + " must be between 1 hour and 2^32 seconds"
	}
	return ""
}

// networks are CIDRs separated by commas, of a flag of any kind.
func networks(name string, values []string) string {
	return separated(name, values, "a network such as 10.42.0.0/16", func(s string) bool {
		_, _, err := net.ParseCIDR(s)
		return err == nil
	})
}

func separated(name string, values []string, want string, is func(string) bool) string {
	for _, value := range values {
		for _, item := range splitList(value) {
			if !is(strings.TrimSpace(item)) {
				return refuse(name, item, want)
			}
		}
	}
	return ""
}

var portRange = matching(`^\d+ *([-+] *\d+)?$`, "a range of ports such as 30000-32767")

// listenAddress is an address with or without a port.
func listenAddress(name string, values []string) string {
	v := values[0]
	if v == "" || net.ParseIP(v) != nil {
		return ""
	}
	host, port, err := net.SplitHostPort(v)
	if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n == 0 && port != "0" || host != "" && net.ParseIP(host) == nil {
		return refuse(name, v, "an IP address, with a port or without, such as 127.0.0.1:10249")
	}
	return ""
}

// quantity is a size in bytes; a negative one switches off what it is of.
func quantity(name string, values []string) string {
	q, err := resource.ParseQuantity(values[0])
	if err == nil {
		if _, whole := q.AsInt64(); whole {
			return ""
		}
	}
	return refuse(name, values[0], "a size such as 10Mi")
}

func quotaPeriod(name string, values []string) string {
	if d, err := time.ParseDuration(values[0]); err == nil && (d < time.Millisecond || d > time.Second) {
		return fmt.Sprintf("--%s %s must be between 1 millisecond and 1 second, inclusive", name, values[0])
	}
	return ""
}

// evictionSignals are what thresholds of the kubelet can be about.
var evictionSignals = []string{
	"memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree",
	"containerfs.available", "containerfs.inodesFree", "pid.available", "allocatableMemory.available",
}

var thresholds = signals("<", isThreshold)

// signals reads pairs of an eviction signal and a value.
func signals(separator string, is func(string) bool) rule {
	return func(name string, values []string) string {
		for item := range strings.SplitSeq(values[0], ",") {
			if strings.TrimSpace(item) == "" {
				continue
			}
			signal, value, ok := strings.Cut(item, separator)
			signal, value = strings.TrimSpace(signal), strings.TrimSpace(value)
			switch {
			case !ok:
				return refuse(name, item, "such as memory.available"+separator+map[string]string{"<": "100Mi", "=": "1m"}[separator])
			case !slices.Contains(evictionSignals, signal):
				return fmt.Sprintf("--%s: unsupported eviction signal %q; it is one of %s", name, word(signal), strings.Join(evictionSignals, ", "))
			case !is(value):
				return fmt.Sprintf("--%s: the value of %s is neither a size nor a percentage, nor a time where one is meant", name, signal)
			}
		}
		return ""
	}
}

func isThreshold(value string) bool {
	q, err := resource.ParseQuantity(value)
	return isReclaim(value) && (err != nil || !q.IsZero())
}

// isReclaim says whether value is an amount or a percentage, which may be 0.
func isReclaim(value string) bool {
	if percent, ok := strings.CutSuffix(value, "%"); ok {
		f, err := strconv.ParseFloat(percent, 32)
		return err == nil && f >= 0 && f <= 100
	}
	q, err := resource.ParseQuantity(value)
	return err == nil && q.Sign() >= 0
}

func isPeriod(value string) bool {
	d, err := time.ParseDuration(value)
	return err == nil && d >= 0
}

// reserved is what the kubelet keeps for the system.
func reserved(name string, values []string) string {
	for item := range strings.SplitSeq(values[0], ",") {
		if strings.TrimSpace(item) == "" {
			continue
		}
		of, value, ok := strings.Cut(item, "=")
		of = strings.TrimSpace(of)
		q, err := resource.ParseQuantity(strings.TrimSpace(value))
		switch {
		case !ok:
			return refuse(name, item, "such as cpu=100m,memory=200Mi")
		case !slices.Contains([]string{"cpu", "memory", "ephemeral-storage", "pid"}, of):
			return fmt.Sprintf("--%s: cannot reserve %q resource; it is one of cpu, memory, ephemeral-storage, pid", name, word(of))
		case err != nil || q.Sign() < 0:
			return fmt.Sprintf("--%s: the value of %s is not a quantity such as 200Mi", name, of)
		}
	}
	return ""
}

// kubeletLabels are the labels of Kubernetes's own that a kubelet may give its
// node (k8s.io/kubelet/pkg/apis/well_known_labels.go).
var kubeletLabels = []string{
	"kubernetes.io/hostname", "topology.kubernetes.io/zone", "topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
	"failure-domain.beta.kubernetes.io/region", "node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type", "kubernetes.io/os",
	"kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/arch", "node.kubernetes.io/exclude-from-external-load-balancers",
}

// NodeLabelFault says why the kubelet would exit at a label of its node, or "".
func NodeLabelFault(key, value string) string {
	namespace, _, qualified := strings.Cut(key, "/")
	own := func(domain string) bool { return namespace == domain || strings.HasSuffix(namespace, "."+domain) }
	switch {
	case len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(value)) > 0:
		return "it is no label such as example.org/rack=a1"
	case qualified && (own("kubernetes.io") || own("k8s.io")) && !own("kubelet.kubernetes.io") && !own("node.kubernetes.io") && !slices.Contains(kubeletLabels, key):
		return fmt.Sprintf("unknown 'kubernetes.io' or 'k8s.io' label %s: a kubelet may not give it to its node; set it through the API once the node is there", word(key))
	}
	return ""
}

// nodeNameFault says why a node cannot be registered under a name: the kubelet puts it
// into lower case, as K3s does with its node-name (pkg/util/net.go, GetHostnameAndIPs),
// and makes it the value of a label too.
func nodeNameFault(name string) string {
	lower := strings.ToLower(strings.TrimSpace(name))
	if lower == "" || len(validation.IsDNS1123Subdomain(lower)) == 0 && len(validation.IsValidLabelValue(lower)) == 0 {
		return ""
	}
	return "is no name that the API server registers a node under; write lower-case letters, digits, dots and dashes, 63 at most"
}

func nodeName(name string, values []string) string {
	if why := nodeNameFault(values[0]); why != "" {
		return "--" + name + " " + why
	}
	return ""
}

func nodeLabels(name string, values []string) string {
	for item := range strings.SplitSeq(values[0], ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(item), "=")
		if item == "" {
			continue
		}
		if why := NodeLabelFault(strings.TrimSpace(key), strings.TrimSpace(value)); why != "" {
			return fmt.Sprintf("--%s: %s", name, why)
		}
	}
	return ""
}

// NodeTaintFault says why the kubelet would exit at a taint of its node, or "".
func NodeTaintFault(taint string) string {
	parts := strings.Split(taint, ":")
	key, value, _ := strings.Cut(parts[0], "=")
	if len(parts) != 2 || len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(value)) > 0 ||
		!slices.Contains([]string{"NoSchedule", "PreferNoSchedule", "NoExecute"}, parts[1]) {
		return "invalid taint spec: it is such as key=value:NoSchedule, with NoSchedule, PreferNoSchedule or NoExecute"
	}
	return ""
}

func taints(name string, values []string) string {
	for item := range strings.SplitSeq(values[0], ",") {
		if item == "" {
			continue
		}
		if why := NodeTaintFault(strings.TrimSpace(item)); why != "" {
			return fmt.Sprintf("--%s: %s", name, why)
		}
	}
	return ""
}
