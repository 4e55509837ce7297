package benchmark

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
)

// pspPlugin is the admission plugin of K3s before v1.25.
const pspPlugin = "PodSecurityPolicy"

// podSecurityPolicy is what rules read of a policy/v1beta1 PodSecurityPolicy.
// Kubernetes's own types for it are gone.
type podSecurityPolicy struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Privileged               bool        `json:"privileged"`
		HostPID                  bool        `json:"hostPID"`
		HostIPC                  bool        `json:"hostIPC"`
		HostNetwork              bool        `json:"hostNetwork"`
		AllowPrivilegeEscalation *bool       `json:"allowPrivilegeEscalation"`
		RequiredDropCapabilities []string    `json:"requiredDropCapabilities"`
		AllowedCapabilities      []string    `json:"allowedCapabilities"`
		AllowedProcMountTypes    []string    `json:"allowedProcMountTypes"`
		Volumes                  []string    `json:"volumes"`
		HostPorts                []portRange `json:"hostPorts"`
		RunAsUser                struct {
			Rule   string `json:"rule"`
			Ranges []struct {
				Min int64 `json:"min"`
			} `json:"ranges"`
		} `json:"runAsUser"`
	} `json:"spec"`
}

type portRange struct {
	Max int32 `json:"max"`
}

func (p podSecurityPolicy) drops(capability string) bool {
	return slices.Contains(p.Spec.RequiredDropCapabilities, capability) || slices.Contains(p.Spec.RequiredDropCapabilities, "ALL")
}

func (p podSecurityPolicy) refusesRoot() bool {
	switch p.Spec.RunAsUser.Rule {
	case "MustRunAsNonRoot":
		return true
	case "MustRunAs":
		for _, r := range p.Spec.RunAsUser.Ranges {
			if r.Min == 0 {
				return false
			}
		}
		return len(p.Spec.RunAsUser.Ranges) > 0
	}
	return false
}

// grant is what matters of RBAC objects to find who may use which policy.
type grant struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Rules []struct {
		APIGroups     []string `json:"apiGroups"`
		Resources     []string `json:"resources"`
		ResourceNames []string `json:"resourceNames"`
		Verbs         []string `json:"verbs"`
	} `json:"rules"`
	RoleRef struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"roleRef"`
	Subjects []struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"subjects"`
}

// everyone are the groups that any pod's service account or any user is in.
var everyone = []string{"system:authenticated", "system:unauthenticated", "system:serviceaccounts"}

// judgePolicies wants every policy that everyone may use to refuse the pod.
func (r podRule) judgePolicies(x *examination, v verdict) verdict {
	plugins, from, _ := x.in.Effective.Flag(k3s.APIServer, "enable-admission-plugins")
	v.evidence = evidenceOf(k3s.APIServer, from)
	if !slices.Contains(items(plugins), pspPlugin) {
		v.status, v.found = Fail, "PodSecurityPolicy is not enabled: --enable-admission-plugins="+kube.Shown(k3s.APIServer, "enable-admission-plugins", plugins)
		return v
	}
	m := x.manifests()
	if m.problem != nil {
		return m.problem.verdict(v.expected)
	}
	policies, err := policiesOfEveryone(m.Objects)
	if err != nil {
		v.status, v.found = Fail, err.Error()
		return v
	}
	if len(policies) == 0 {
		v.status, v.found = Fail, "no manifest grants a PodSecurityPolicy to system:authenticated"
		return v
	}
	var admit, refuse []string
	for _, p := range policies {
		name := p.policy.Metadata.Name
		if r.forbids(p.policy) {
			refuse = append(refuse, name)
		} else {
			admit = append(admit, name)
		}
		v.evidence = append(v.evidence, Evidence{Source: p.File, Line: p.Line, Detail: "PodSecurityPolicy " + name})
	}
	if len(admit) > 0 {
		v.status, v.found = Fail, "admitted by "+few(admit)
		return v
	}
	v.status, v.found = Pass, "refused by "+few(refuse)
	return v
}

// boundPolicy is a policy and where it stands.
type boundPolicy struct {
	kube.Object
	policy podSecurityPolicy
}

// policiesOfEveryone returns the policies that RBAC objects let everyone use.
func policiesOfEveryone(objects []kube.Object) ([]boundPolicy, error) {
	var policies []boundPolicy
	roles := map[string]grant{}
	var bindings []grant
	for _, o := range objects {
		var g grant
		switch o.Kind {
		case pspPlugin:
			p := boundPolicy{Object: o}
			if err := json.Unmarshal(o.Raw, &p.policy); err != nil {
				return nil, fmt.Errorf("%s:%d: not a PodSecurityPolicy: %w", o.File, o.Line, err)
			}
			policies = append(policies, p)
			continue
		case "ClusterRole", "ClusterRoleBinding":
			if err := json.Unmarshal(o.Raw, &g); err != nil {
				return nil, fmt.Errorf("%s:%d: not a %s: %w", o.File, o.Line, o.Kind, err)
			}
		}
		switch o.Kind {
		case "ClusterRole":
			roles[g.Metadata.Name] = g
		case "ClusterRoleBinding":
			bindings = append(bindings, g)
		}
	}
	var out []boundPolicy
	for _, p := range policies {
		if slices.ContainsFunc(bindings, func(b grant) bool { return b.toEveryone() && roles[b.RoleRef.Name].uses(p.policy.Metadata.Name) }) {
			out = append(out, p)
		}
	}
	return out, nil
}

func (g grant) toEveryone() bool {
	for _, s := range g.Subjects {
		if s.Kind == "Group" && slices.Contains(everyone, s.Name) {
			return true
		}
	}
	return false
}

func (g grant) uses(policy string) bool {
	has := func(list []string, word string) bool {
		return slices.Contains(list, word) || slices.Contains(list, "*")
	}
	for _, r := range g.Rules {
		if has(r.Verbs, "use") && has(r.Resources, "podsecuritypolicies") && (len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, policy)) {
			return true
		}
	}
	return false
}
