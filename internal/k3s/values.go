package k3s

import (
	"cmp"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// form is what a value of a key has to be like, in the words that stand behind
// "is not".
type form struct {
	says  string
	holds func(string) bool
	// several: a value may be several, separated by commas.
	several bool
}

var (
	address = form{"an IP address such as 10.0.0.10", func(s string) bool { return net.ParseIP(s) != nil }, true}
	single  = form{address.says, address.holds, false}
	network = form{"a network such as 10.42.0.0/16", func(s string) bool { _, _, err := net.ParseCIDR(s); return err == nil }, true}
	period  = form{"a time such as 10m", func(s string) bool { _, err := time.ParseDuration(s); return err == nil }, false}
	ports   = form{"a range of ports such as 30000-32767", isPortRange, false}
	secure  = form{"an address such as https://10.0.0.10:6443", func(s string) bool { u, err := url.Parse(s); return err == nil && u.Scheme == "https" && u.Host != "" }, false}
	backend = form{"a backend of flannel: " + strings.Join(backends, ", ") + " or none", func(s string) bool { return slices.Contains(append(goneBackends, backends...), s) || s == "none" }, false}
	port    = form{"a port", func(s string) bool { _, err := strconv.ParseUint(s, 0, 16); return err == nil }, false}
)

// portRange is the first port, and the last one or how many follow
// (k8s.io/apimachinery/pkg/util/net).
var portRange = regexp.MustCompile(`^(\d+) *(?:([-+]) *(\d+))?$`)

func isPortRange(text string) bool {
	m := portRange.FindStringSubmatch(text)
	if m == nil {
		return false
	}
	first, err := strconv.ParseUint(m[1], 10, 16)
	if err != nil {
		return false
	}
	last, err := strconv.ParseUint(cmp.Or(m[3], "0"), 10, 16)
	return err == nil && (m[2] != "-" || first <= last)
}

// backends are those of flannel that K3s has, goneBackends those it had up to
// v1.26 (pkg/agent/flannel/setup.go).
var (
	backends     = []string{"vxlan", "host-gw", "wireguard-native", "tailscale"}
	goneBackends = []string{"ipsec", "wireguard"}
)

// forms are the keys at whose values K3s exits because they are not of a form
// (pkg/cli/server/server.go, pkg/util/net.go, the flags of pkg/cli/cmds).
var forms = map[string]form{
	"node-ip": address, "advertise-address": single, "node-external-ip": address, "cluster-dns": address,
	"cluster-cidr": network, "service-cidr": network,
	"service-node-port-range": ports, "https-listen-port": port, "advertise-port": port, "lb-server-port": port,
	"server": secure, "flannel-backend": backend,
	"etcd-s3-timeout": period, "etcd-snapshot-reconcile-interval": period,
}

// zone is the time zone before a schedule (robfig/cron).
var zone = regexp.MustCompile(`^(?:CRON_)?TZ=(\S*)( ?)`)

// scheduleFault says what K3s does at a schedule of snapshots that its scheduler does
// not understand: it looks at no error (pkg/etcd/snapshot.go, setSnapshotFunction), so
// that none are taken, and one that is a time zone alone stops it. Whether the node has
// the zone is not looked at.
func scheduleFault(text string) (consequence Consequence, says string) {
	if m := zone.FindStringSubmatch(text); m != nil {
		if m[2] == "" {
			return Fatal, "is a time zone without a schedule, and K3s crashes on it: write one such as TZ=UTC 0 */12 * * *"
		}
		text = strings.TrimSpace(strings.TrimPrefix(text, m[0]))
	}
	if _, err := cron.ParseStandard(text); err != nil {
		return Ignored, "is no schedule, and K3s takes no snapshots by it, without a word: write one such as 0 */12 * * *, with minutes up to 59 and hours up to 23"
	}
	return "", ""
}

// Misformed says what a value of a key ought to be, where K3s exits because it
// is not; "" where it is, or where no form is known. The value is not shown: a
// secret may stand in the wrong place.
func (k Key) Misformed(value string) string {
	f, known := forms[k.Name]
	if !known || strings.TrimSpace(value) == "" {
		return ""
	}
	items := []string{value}
	if f.several {
		items = strings.Split(value, ",")
	}
	for _, item := range items {
		if !f.holds(strings.TrimSpace(item)) {
			return f.says
		}
	}
	return ""
}
