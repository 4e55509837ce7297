package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// The admission plugins that this package knows more of than their names.
const (
	podSecurityPlugin      = "PodSecurity"
	eventRateLimitPlugin   = "EventRateLimit"
	alwaysPullImagesPlugin = "AlwaysPullImages"
)

// span is the minors of Kubernetes 1 that have something: from since, up to
// and without until. 0 stands for "before v1.20" and "still there".
type span struct{ since, until int }

// plugins are the admission plugins of kube-apiserver, from
// pkg/kubeapiserver/options/plugins.go of the releases v1.20 to v1.37.
var plugins = map[string]span{
	"AlwaysAdmit":                          {},
	"AlwaysDeny":                           {},
	"AlwaysPullImages":                     {},
	"CertificateApproval":                  {},
	"CertificateSigning":                   {},
	"CertificateSubjectRestriction":        {},
	"ClusterTrustBundleAttest":             {since: 26},
	"DefaultIngressClass":                  {},
	"DefaultStorageClass":                  {},
	"DefaultTolerationSeconds":             {},
	"DenyEscalatingExec":                   {until: 21},
	"DenyExecOnPrivileged":                 {until: 21},
	"DenyServiceExternalIPs":               {since: 21},
	"EventRateLimit":                       {},
	"ExtendedResourceToleration":           {},
	"ImagePolicyWebhook":                   {},
	"LimitPodHardAntiAffinityTopology":     {},
	"LimitRanger":                          {},
	"MutatingAdmissionPolicy":              {since: 32},
	"MutatingAdmissionWebhook":             {},
	"NamespaceAutoProvision":               {},
	"NamespaceExists":                      {},
	"NamespaceLifecycle":                   {},
	"NodeDeclaredFeatureValidator":         {since: 35},
	"NodeRestriction":                      {},
	"OwnerReferencesPermissionEnforcement": {},
	"PersistentVolumeClaimResize":          {},
	"PersistentVolumeLabel":                {until: 31},
	"PodGroupProtection":                   {since: 37},
	"PodNodeSelector":                      {},
	"PodResizeValidator":                   {since: 37},
	"PodSecurity":                          {since: 22},
	"PodSecurityPolicy":                    {until: 25},
	"PodTolerationRestriction":             {},
	"PodTopologyLabels":                    {since: 33},
	"Priority":                             {},
	"ResourceQuota":                        {},
	"RuntimeClass":                         {},
	"SecurityContextDeny":                  {until: 30},
	"ServiceAccount":                       {},
	"StorageObjectInUseProtection":         {},
	"TaintNodesByCondition":                {},
	"ValidatingAdmissionPolicy":            {since: 26},
	"ValidatingAdmissionWebhook":           {},
}

// pluginAdvice says what to do without a plugin that was removed.
var pluginAdvice = map[string]string{
	"PodSecurityPolicy":   "take it out, Pod Security Admission stands in its place",
	"SecurityContextDeny": "take it out, Pod Security Admission stands in its place",
}

// knownPlugin says whether the API server of release r has an admission plugin
// of this name, and if not, why and what would be right.
func knownPlugin(r k3s.Release, name string) (bool, string) {
	s, listed := plugins[name]
	if !listed {
		advice := "names are written as in " + strings.Join([]string{"NodeRestriction", "EventRateLimit"}, ", ")
		for _, known := range slices.Sorted(maps.Keys(plugins)) {
			if strings.EqualFold(known, strings.TrimSpace(name)) {
				advice = "write " + known
			}
		}
		return false, fmt.Sprintf("plugin %q is unknown; %s", name, advice)
	}
	if s.until > 0 && r.AtLeast(1, s.until) {
		advice := pluginAdvice[name]
		if advice == "" {
			advice = "take it out"
		}
		return false, fmt.Sprintf("plugin %q is unknown: Kubernetes v1.%d removed it, and this is %s; %s", name, s.until, r.MinorName(), advice)
	}
	if s.since > 0 && !r.AtLeast(1, s.since) {
		return false, fmt.Sprintf("plugin %q is unknown: it came with Kubernetes v1.%d, and this is %s; take it out", name, s.since, r.MinorName())
	}
	return true, ""
}
