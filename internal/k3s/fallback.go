package k3s

import (
	"net"
	"strconv"
	"strings"
)

// defaults lists what K3s passes to a component by itself.
func (r *resolver) defaults(c Component, user []Value) []Argument {
	out := make([]Argument, 0, len(fallbacks[c]))
	for _, f := range fallbacks[c] {
		if !r.release.AtLeast(1, f.since) || f.until > 0 && r.release.AtLeast(1, f.until+1) || !r.holds(f.when, user) {
			continue
		}
		origin, open := Origin{Source: r.byDefault}, ""
		// What K3s does because of a setting is found where that stands.
		if because := r.effective.Settings[f.when].Values; len(because) > 0 {
			origin, open = because[0].Origin, because[0].Open
		}
		origin.Default = true
		out = append(out, Argument{Name: f.flag, Value: r.fill(f.value), Origin: origin, Open: open})
	}
	return out
}

// fill replaces the placeholders of a default's value.
func (r *resolver) fill(value string) string {
	if !strings.Contains(value, "{") {
		return value
	}
	value = strings.ReplaceAll(r.places.Replace(value), "{api-port}", r.apiPort())
	if strings.Contains(value, "{advertised}") {
		value = strings.ReplaceAll(value, "{advertised}", r.advertised())
	}
	for {
		before, rest, ok := strings.Cut(value, "{key:")
		if !ok {
			return value
		}
		key, after, _ := strings.Cut(rest, "}")
		value = before + r.setting(key) + after
	}
}

// apiPort is where the API server listens, behind K3s's own port
// (pkg/daemons/control/server.go, defaults).
func (r *resolver) apiPort() string {
	port, err := strconv.Atoi(r.setting("https-listen-port"))
	if err != nil || port == 0 {
		return "6444"
	}
	return strconv.Itoa(port + 1)
}

// advertised is the address that the configuration makes the API server
// advertise; "" where it finds one of the machine's (pkg/cli/server/server.go).
func (r *resolver) advertised() string {
	for _, key := range []string{"advertise-address", "node-external-ip", "node-ip"} {
		for _, v := range r.effective.Settings[key].Values {
			for item := range strings.SplitSeq(v.Text, ",") {
				if item = strings.TrimSpace(item); key == "advertise-address" && item != "" || net.ParseIP(item) != nil {
					return item
				}
			}
		}
	}
	return ""
}

// setting is the value of a key, or what K3s takes where it is not given.
func (r *resolver) setting(key string) string {
	values := r.effective.Settings[key].Values
	if len(values) == 0 {
		return settingDefaults[key]
	}
	var texts []string
	for _, v := range values {
		texts = append(texts, v.Text)
	}
	return strings.Join(texts, ",")
}

func (r *resolver) holds(when string, user []Value) bool {
	e := r.effective
	switch when {
	case ifEtcd:
		return e.Datastore == EtcdStore
	case ifSQLite:
		return e.Datastore == SQLite
	case ifExternal:
		return e.Datastore == External
	case ifExternalCA, ifExternalCert, ifExternalKey:
		return e.Datastore == External && e.Text(when) != ""
	case ifEncryption, ifProtectKernel:
		return e.Bool(when)
	case ifEgress:
		return r.setting("egress-selector-mode") != "disabled"
	case ifExternalFirst:
		return e.Bool("flannel-external-ip")
	case ifInternalFirst:
		return !e.Bool("flannel-external-ip")
	case ifCloudController:
		return !e.Bool("disable-cloud-controller")
	case ifServiceLB:
		return !r.disabled("servicelb")
	case ifNodeName, ifResolvConf:
		return e.Text(when) != ""
	case ifNoCloudController:
		return e.Bool("disable-cloud-controller")
	case ifAdvertised:
		return r.advertised() != ""
	case ifNoExposure:
		return !e.Bool("etcd-expose-metrics")
	case ifNoAuthzConfig:
		return !r.release.from(april2025) || firstValue(user, "authorization-config") == ""
	case ifNoAuthnConfig:
		return !r.release.from(may2025) || firstValue(user, "authentication-config") == ""
	}
	return true
}

// disabled says whether a packaged component is in the list of disable.
func (r *resolver) disabled(component string) bool {
	for _, key := range []string{"disable", "no-deploy"} {
		for _, v := range r.effective.Settings[key].Values {
			for item := range strings.SplitSeq(v.Text, ",") {
				if strings.TrimSpace(item) == component {
					return true
				}
			}
		}
	}
	return false
}

// firstValue is the value of the first argument of that very name.
func firstValue(user []Value, name string) string {
	for _, v := range user {
		if n, value, _ := strings.Cut(strings.TrimPrefix(v.Text, "--"), "="); n == name {
			return value
		}
	}
	return ""
}

// cipherSuites adds the cipher suites K3s passes to the API server unless the
// first argument of that name gives some.
func (r *resolver) cipherSuites(user []Value) []Value {
	if firstValue(user, "tls-cipher-suites") != "" {
		return user
	}
	origin := Origin{Source: r.byDefault, Default: true}
	return append(user[:len(user):len(user)], Value{Text: "tls-cipher-suites=" + strings.Join(CipherSuites(), ","), Origin: origin})
}

// CipherSuites are the six suites that K3s gives its API server and that the
// guide asks for the kubelet.
func CipherSuites() []string {
	return []string{
		"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
		"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
		"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
		"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
	}
}
