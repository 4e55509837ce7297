package benchmark

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// podSecurity wants pods that do one forbidden thing to be refused in a
// namespace without labels of its own.
type podSecurity struct{ rule string }

func (d *decoder) podSecurity(n *yaml.Node) expectation {
	var p podSecurity
	d.fields(n, "pod_security", map[string]func(*yaml.Node){
		"refuses": func(n *yaml.Node) { p.rule = d.oneOf(n, names(podRules)...) },
	}, "refuses")
	return p
}

func (podSecurity) picks(p paths) node.Query {
	return node.Query{{Path: k3s.LayoutOf(p.data).PodSecurityFile(), Content: true}, {Path: k3s.PodSecurityFile, Content: true}}
}

func (podSecurity) component() k3s.Component { return k3s.APIServer }

// podRule is one thing that pods are not to do.
type podRule struct {
	says string
	// breaks makes a pod that is fit for the restricted level do it.
	breaks func(*corev1.PodSpec)
	// forbids says whether a PodSecurityPolicy of K3s before v1.25 refuses it.
	forbids func(podSecurityPolicy) bool
}

var podRules = map[string]podRule{
	"privileged": {
		"a privileged container",
		func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.Privileged = ptr(true) },
		func(p podSecurityPolicy) bool { return !p.Spec.Privileged },
	},
	"host_pid": {
		"the host's process namespace", func(s *corev1.PodSpec) { s.HostPID = true },
		func(p podSecurityPolicy) bool { return !p.Spec.HostPID },
	},
	"host_ipc": {
		"the host's IPC namespace", func(s *corev1.PodSpec) { s.HostIPC = true },
		func(p podSecurityPolicy) bool { return !p.Spec.HostIPC },
	},
	"host_network": {
		"the host's network", func(s *corev1.PodSpec) { s.HostNetwork = true },
		func(p podSecurityPolicy) bool { return !p.Spec.HostNetwork },
	},
	"privilege_escalation": {
		"privilege escalation",
		func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.AllowPrivilegeEscalation = ptr(true) },
		func(p podSecurityPolicy) bool {
			return p.Spec.AllowPrivilegeEscalation != nil && !*p.Spec.AllowPrivilegeEscalation
		},
	},
	"root": {
		"a container that runs as root",
		func(s *corev1.PodSpec) { s.SecurityContext.RunAsNonRoot = nil },
		podSecurityPolicy.refusesRoot,
	},
	"net_raw": {
		"the capability NET_RAW",
		func(s *corev1.PodSpec) {
			s.Containers[0].SecurityContext.Capabilities.Drop = []corev1.Capability{"CHOWN"}
		},
		func(p podSecurityPolicy) bool { return p.drops("NET_RAW") },
	},
	"added_capabilities": {
		"added capabilities",
		func(s *corev1.PodSpec) {
			s.Containers[0].SecurityContext.Capabilities.Add = []corev1.Capability{"SYS_ADMIN"}
		},
		func(p podSecurityPolicy) bool { return len(p.Spec.AllowedCapabilities) == 0 },
	},
	"capabilities": {
		"capabilities that were not dropped",
		func(s *corev1.PodSpec) {
			s.Containers[0].SecurityContext.Capabilities.Drop = []corev1.Capability{"NET_RAW"}
		},
		func(p podSecurityPolicy) bool { return p.drops("ALL") },
	},
	"windows_host_process": {
		"a Windows host process",
		func(s *corev1.PodSpec) {
			s.Containers[0].SecurityContext.WindowsOptions = &corev1.WindowsSecurityContextOptions{HostProcess: ptr(true)}
		},
		// Kubernetes admits host processes on the host's network alone.
		func(p podSecurityPolicy) bool { return !p.Spec.HostNetwork },
	},
	"host_path": {
		"a hostPath volume",
		func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
		},
		func(p podSecurityPolicy) bool {
			return !slices.Contains(p.Spec.Volumes, "*") && !slices.Contains(p.Spec.Volumes, "hostPath")
		},
	},
	"host_ports": {
		"a port of the host",
		func(s *corev1.PodSpec) {
			s.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
		},
		func(p podSecurityPolicy) bool {
			return !slices.ContainsFunc(p.Spec.HostPorts, func(r portRange) bool { return r.Max > 0 })
		},
	},
	"proc_mount": {
		"an unmasked /proc",
		func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.ProcMount = ptr(corev1.UnmaskedProcMount) },
		func(p podSecurityPolicy) bool { return !slices.Contains(p.Spec.AllowedProcMountTypes, "Unmasked") },
	},
}

func ptr[T any](v T) *T { return &v }

// pods returns workloads of that name whose pods are fit for the restricted
// level but for the rule: one pod that somebody makes, and one for each of
// Kubernetes's controllers, whose users may be exempt.
func (r podRule) pods(name string) []kube.Object {
	spec := corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: ptr(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{Name: "c", Image: "i", SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr(false),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}}},
	}
	r.breaks(&spec)
	meta := metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault}
	template := corev1.PodTemplateSpec{Spec: spec}
	made := map[string]runtime.Object{
		"Pod":         &corev1.Pod{ObjectMeta: meta, Spec: spec},
		"ReplicaSet":  &appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Template: template}},
		"StatefulSet": &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Template: template}},
		"DaemonSet":   &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Template: template}},
		"Job":         &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: template}},
	}
	var out []kube.Object
	for _, kind := range names(made) {
		out = append(out, kube.Object{Kind: kind, Namespace: meta.Namespace, Name: name, Typed: made[kind]})
	}
	return out
}

func (p podSecurity) judge(x *examination) verdict {
	rule := podRules[p.rule]
	v := verdict{expected: "pods with " + rule.says + " are refused in namespaces without labels"}
	if blocked := x.configuration(); blocked != nil {
		blocked.expected = v.expected
		return *blocked
	}
	if !x.release().AtLeast(1, 25) {
		plugins, _, _ := x.in.Effective.Flag(k3s.APIServer, "enable-admission-plugins")
		if slices.Contains(items(plugins), pspPlugin) || !x.release().AtLeast(1, 23) {
			return rule.judgePolicies(x, v)
		}
	}
	return p.tried(x, p.judgeAdmission(x, v))
}

// judgeAdmission asks whether the Pod Security library refuses the rule's pod.
func (p podSecurity) judgeAdmission(x *examination, v verdict) verdict {
	if off, from, _ := x.in.Effective.Flag(k3s.APIServer, "disable-admission-plugins"); slices.Contains(items(off), "PodSecurity") {
		v.status, v.found, v.evidence = Fail, "PodSecurity is off: --disable-admission-plugins="+kube.Shown(k3s.APIServer, "disable-admission-plugins", off), evidenceOf(k3s.APIServer, from)
		return v
	}
	if gates, from, _ := x.in.Effective.Flag(k3s.APIServer, "feature-gates"); kube.PodSecurityOff(x.in.Effective.Release, gates) {
		v.status, v.found, v.evidence = Fail, "PodSecurity is off: --feature-gates="+kube.Shown(k3s.APIServer, "feature-gates", gates), evidenceOf(k3s.APIServer, from)
		return v
	}
	a, c := x.admission()
	if c != nil {
		return c.verdict(v.expected)
	}
	file, named, _ := x.named("admission-control-config-file")
	v.evidence = named
	if a.PodSecurity == nil {
		v.status, v.found = Fail, file+" has no entry for PodSecurity, whose default is privileged"
		return v
	}
	refused := x.refused()
	if refused.problem != nil {
		return refused.problem.verdict(v.expected)
	}
	psa := *a.PodSecurity
	says := fmt.Sprintf("enforce: %s, version %s", psa.Enforce.Name, psa.Enforce.Version)
	v.evidence = append(append(v.evidence, refused.labels...), Evidence{Source: file, Line: x.lineOf(file, "enforce:"), Detail: says})
	if exempt := exemptions(psa.Exempt); exempt != "" {
		says += "; exempt: " + exempt
	}
	if admitted := refused.admitted[p.rule]; len(admitted) > 0 {
		v.status, v.found = Fail, fmt.Sprintf("admitted in namespace default as %s; %s", strings.Join(admitted, ", "), says)
		return v
	}
	v.status, v.found = Pass, says
	if len(psa.Exempt.RuntimeClasses)+len(psa.Exempt.Usernames) > 0 {
		// Who is such a user, or may name such a class, only the cluster knows.
		v.status, v.reason = Manual, "pods of exempt users or runtime classes are admitted whatever they do: who may make them is for a person to review"
	}
	return v
}

// refusals is what the Pod Security library makes of the rules' pods in
// namespace default.
type refusals struct {
	// admitted are the kinds of workloads that it lets run, by rule, sorted.
	admitted map[string][]string
	// labels are what manifests say of the namespace.
	labels  []Evidence
	problem *complaint
}

// rulePods are the pods of every rule.
var rulePods = sync.OnceValue(func() []kube.Object {
	var out []kube.Object
	for _, name := range names(podRules) {
		out = append(out, podRules[name].pods(name)...)
	}
	return slices.Clip(out)
})

// refusePods gives the library the pods of every rule.
func (x *examination) refusePods() refusals {
	a, c := x.admission()
	if c != nil {
		return refusals{problem: c}
	}
	if a.PodSecurity == nil {
		return refusals{} // the default admits all, as the verdict says
	}
	m := x.manifests()
	if m.problem != nil {
		return refusals{problem: m.problem}
	}
	objects := rulePods()
	out := refusals{admitted: map[string][]string{}}
	for _, o := range objects {
		out.admitted[o.Name] = append(out.admitted[o.Name], o.Kind)
	}
	for _, o := range m.Objects {
		if o.Kind == "Namespace" && o.Name == metav1.NamespaceDefault {
			objects = append(objects, o)
			out.labels = append(out.labels, Evidence{Source: o.File, Line: o.Line, Detail: "labels of namespace default"})
		}
	}
	for _, r := range kube.Workloads(x.release(), objects, *a.PodSecurity) {
		admitted := out.admitted[r.Object.Name]
		out.admitted[r.Object.Name] = slices.DeleteFunc(admitted, func(kind string) bool { return kind == r.Object.Kind })
	}
	return out
}

func exemptions(e kube.Exemptions) string {
	var out []string
	for _, kind := range []struct {
		name string
		list []string
	}{{"namespaces", e.Namespaces}, {"users", e.Usernames}, {"runtime classes", e.RuntimeClasses}} {
		if len(kind.list) > 0 {
			out = append(out, kind.name+" "+strings.Join(kind.list, ", "))
		}
	}
	return strings.Join(out, "; ")
}
