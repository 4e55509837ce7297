package harden

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
)

// checker collects what is wrong with options.
type checker struct {
	o    Options
	errs []error
}

func (v *checker) wrong(option, format string, a ...any) {
	v.errs = append(v.errs, fmt.Errorf("%s: "+format, append([]any{option}, a...)...))
}

// oneOf wants found to be empty or one of allowed.
func (v *checker) oneOf(option, found string, allowed ...string) {
	if found != "" && !slices.Contains(allowed, found) {
		v.wrong(option, "%q is not one of %s", found, strings.Join(allowed, ", "))
	}
}

// released says whether the release is known. What depends on it is checked
// then; without it, Make does so once the node has been asked.
func (v *checker) released() bool { return v.o.Release != (k3s.Release{}) }

// Validate returns everything that is wrong with the options by themselves,
// all at once, each error naming the option as it is written in HCL. The
// release may be missing; what depends on it is then left to a later call.
func (o Options) Validate() []error {
	if o.Role == k3s.Both {
		return o.validateBoth()
	}
	v := &checker{o: o}
	if v.released() {
		v.release()
	}
	if v.o.K3sCommand != "" {
		if err := k3s.CheckCommand(v.o.K3sCommand); err != nil {
			v.wrong("k3s_command", "%w", err)
		}
	}
	v.oneOf("config_layout", string(o.Layout), string(LayoutFile), string(LayoutDropIn))
	if v.released() && o.Layout == LayoutDropIn && !o.Release.ReadsConfigDropIns() {
		v.wrong("config_layout", "K3s %s reads no drop-ins (it does from v1.21): leave it out, and let nothing write config.yaml at first boot", o.Release)
	}
	v.podSecurity()
	v.audit()
	v.rateLimits()
	v.networkPolicies()
	v.sysctl()
	v.config()
	v.args()
	v.components()
	if o.Role == k3s.Agent {
		v.agent()
	}
	return v.errs
}

func (v *checker) release() {
	switch _, err := v.o.Release.Supported(); {
	case err != nil:
		v.errs = append(v.errs, fmt.Errorf("k3s_version: %w", err))
	case !v.o.Release.ReadsConfigFile():
		v.wrong("k3s_version", "K3s %s reads no configuration file, so that nothing could be baked for it: the oldest release line that does is v1.19", v.o.Release.MinorName())
	}
}

var psaVersion = regexp.MustCompile(`^(latest|v1\.(0|[1-9][0-9]{0,2}))$`)

func (v *checker) podSecurity() {
	p := v.o.PodSecurity
	levels := []string{"privileged", "baseline", "restricted"}
	v.oneOf("pod_security.enforce", p.Enforce, levels...)
	v.oneOf("pod_security.audit", p.Audit, levels...)
	v.oneOf("pod_security.warn", p.Warn, levels...)
	if p.Version != "" && !psaVersion.MatchString(p.Version) {
		v.wrong("pod_security.version", "%q is neither latest nor a Kubernetes minor such as v1.36", p.Version)
	}
	for i, name := range p.Presets {
		v.oneOf(at("pod_security.presets", i), name, presetNames...)
	}
	for i, ns := range p.ExemptNamespaces {
		v.namespace(at("pod_security.exempt_namespaces", i), ns)
	}
	for i, name := range p.ExemptUsernames {
		if strings.TrimSpace(name) == "" {
			v.wrong(at("pod_security.exempt_usernames", i), "is empty: write a user name such as system:serviceaccount:kube-system:replicaset-controller")
		}
	}
	for i, name := range p.ExemptRuntimeClasses {
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			v.wrong(at("pod_security.exempt_runtime_classes", i), "%q is not the name of a RuntimeClass: %s", name, problems[0])
		}
	}
	if p.Policy != nil {
		rest := p
		rest.Policy = nil
		if rest.asked() {
			v.wrong("pod_security.policy_file", "is the whole policy, so that no other option of pod_security has a meaning beside it: leave one or the other out")
		}
		if len(v.o.EventRateLimit) > 0 {
			v.wrong("event_rate_limit", "cannot be put into pod_security.policy_file: write the limits there, as a plugin of its own")
		}
	}
	if !v.released() {
		return
	}
	if p.asked() && v.o.Release.PodSecurityConfigVersion() == "" || p.asked() && !v.o.Release.AtLeast(1, 23) {
		v.wrong("pod_security", "Kubernetes %s has no Pod Security Admission that is on by itself (it begins with v1.23): leave the block out, the guide's PodSecurityPolicies are baked", v.o.Release.MinorName())
	} else if p.Policy != nil {
		_, err := kube.LoadAdmission(v.o.Release, p.Policy.Name, p.Policy.Data, noFiles)
		v.load("pod_security.policy_file", err)
	}
}

// noFiles is for policies of the user's, whose own references lead nowhere on
// the node.
func noFiles(p string) ([]byte, error) {
	return nil, fmt.Errorf("%s is not baked: write the plugin's configuration inline", p)
}

func (v *checker) load(option string, err error) {
	for _, e := range kube.Errors(err) {
		v.errs = append(v.errs, fmt.Errorf("%s: %w", option, e))
	}
}

func (v *checker) audit() {
	a := v.o.Audit
	v.oneOf("audit.profile", a.Profile, "metadata", "recommended")
	if a.Level == "None" {
		v.wrong("audit.level", "None records nothing: write Metadata, Request or RequestResponse")
	} else {
		v.oneOf("audit.level", a.Level, "Metadata", "Request", "RequestResponse")
	}
	if a.Profile == "recommended" && a.Level != "" {
		v.wrong("audit.level", "is for the profile metadata, which has one rule; the profile recommended chooses a level for each")
	}
	if a.Policy != nil && (a.Profile != "" || a.Level != "") {
		v.wrong("audit.policy_file", "is the whole policy, so that audit.profile and audit.level have no meaning beside it: leave one or the other out")
	}
	if a.Policy != nil && v.released() {
		_, err := kube.LoadAuditPolicy(v.o.Release, a.Policy.Name, a.Policy.Data)
		v.load("audit.policy_file", err)
	}
	if p := a.LogPath; p != "" && p != "-" {
		v.absolute("audit.log_path", p)
	}
	v.notNegative("audit.max_age", a.MaxAge)
	v.notNegative("audit.max_backup", a.MaxBackup)
	v.notNegative("audit.max_size", a.MaxSize)
}

// absolute wants a clean absolute path.
func (v *checker) absolute(option, p string) {
	if !path.IsAbs(p) || path.Clean(p) != p || strings.ContainsAny(p, "\n\r\x00") {
		v.wrong(option, "%q is not a plain absolute path such as /var/lib/rancher/k3s", p)
	}
}

func (v *checker) notNegative(option string, n int) {
	if n < 0 {
		v.wrong(option, "%d is negative: write a number above 0, or leave it out for the guide's", n)
	}
}

func (v *checker) rateLimits() {
	for i, l := range v.o.EventRateLimit {
		option := at("event_rate_limit.limit", i)
		if l.Type == "" {
			v.wrong(option+".type", "is missing: write Server, Namespace, User or SourceAndObject")
		}
		v.oneOf(option+".type", l.Type, "Server", "Namespace", "User", "SourceAndObject")
		if l.QPS <= 0 {
			v.wrong(option+".qps", "%d is not above 0: write how many events a second may come in on average", l.QPS)
		}
		if l.Burst <= 0 {
			v.wrong(option+".burst", "%d is not above 0: write how many events may come in at once", l.Burst)
		}
		v.notNegative(option+".cache_size", l.CacheSize)
		const most = 1<<31 - 1
		if max(l.QPS, l.Burst, l.CacheSize) > most {
			v.wrong(option, "holds a number above %d, the plugin's largest", most)
		}
	}
}

// components checks the options that stand for one flag each.
func (v *checker) components() {
	o := v.o
	v.oneOf("secrets_encryption_provider", o.SecretsEncryptionProvider, "aescbc", "secretbox")
	if o.SecretsEncryptionProvider != "" && v.released() && !o.Release.ChoosesEncryptionProvider() {
		v.wrong("secrets_encryption_provider", "K3s %s always encrypts with aescbc and does not know the choice, which begins with v1.30.12, v1.31.8, v1.32.4 and v1.33: leave it out", o.Release)
	}
	if o.PodMaxPids < 0 || o.PodMaxPids > 4194304 {
		v.wrong("pod_max_pids", "%d is not a limit: write a number from 1 to 4194304, the most that Linux can have", o.PodMaxPids)
	}
	if v.released() && o.SeccompDefault != nil && *o.SeccompDefault && !o.Release.AtLeast(1, 25) {
		v.wrong("seccomp_default", "the kubelet of Kubernetes %s does not start with it: it begins with v1.25", o.Release.MinorName())
	}
	if v.released() && o.DenyServiceExternalIPs != nil && *o.DenyServiceExternalIPs && !o.Release.AtLeast(1, 21) {
		v.wrong("deny_service_external_ips", "the API server of Kubernetes %s has no such admission plugin: it begins with v1.21", o.Release.MinorName())
	}
	for i, name := range o.TLSCipherSuites {
		if !kube.KnownCipher(name) {
			v.wrong(at("tls_cipher_suites", i), "%q is not a TLS cipher suite: write names such as %s", name, k3s.CipherSuites()[0])
		}
	}
}

// agent refuses what only a server does: it would be baked to no effect.
func (v *checker) agent() {
	o := v.o
	for _, x := range []struct {
		option string
		set    bool
	}{
		{"pod_security", o.PodSecurity.asked()},
		{"audit", o.Audit != (Audit{})},
		{"event_rate_limit", len(o.EventRateLimit) > 0},
		{"network_policies", len(o.NetworkPolicies.Namespaces)+len(o.NetworkPolicies.Manifests) > 0},
		{"secrets_encryption_provider", o.SecretsEncryptionProvider != ""},
		{"deny_service_external_ips", o.DenyServiceExternalIPs != nil},
	} {
		if x.set {
			v.wrong(x.option, "an agent runs no API server, so that it would change nothing: leave it out for role = \"agent\"")
		}
	}
}

func (v *checker) namespace(option, name string) {
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		v.wrong(option, "%q is not the name of a namespace: %s", name, problems[0])
	}
}

// at is the HCL path of a list's item.
func at(option string, i int) string { return fmt.Sprintf("%s[%d]", option, i) }
