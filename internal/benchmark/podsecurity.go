package benchmark

import (
	"fmt"
	"path"
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
	return node.Query{{Path: k3s.LayoutOf(p.data).StaticPods(), Depth: 1, Content: true}, {Path: k3s.LayoutOf(p.data).PodSecurityFile(), Content: true}, {Path: k3s.PodSecurityFile, Content: true}}
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
	for _, ns := range refused.namespaces {
		if admitted := refused.admitted[admission{p.rule, ns}]; len(admitted) > 0 {
			v.status, v.found = Fail, fmt.Sprintf("admitted in namespace %s as %s; %s", ns, strings.Join(admitted, ", "), says)
			return v
		}
	}
	if started := refused.started[p.rule]; len(started) > 0 {
		v.status, v.found = Fail, fmt.Sprintf("%s: the kubelet starts it whatever Pod Security makes of it; %s", few(started), says)
		return v
	}
	if url, from, _ := x.in.Effective.Flag(k3s.Kubelet, "manifest-url"); url != "" {
		v.status, v.found, v.reason = Error, "the kubelet starts pods from --manifest-url whatever Pod Security makes of them, and no file tells what they do", "the evidence is missing"
		v.evidence = append(v.evidence, evidenceOf(k3s.Kubelet, from)...)
		return v
	}
	v.status, v.found = Pass, says
	if len(psa.Exempt.RuntimeClasses)+len(psa.Exempt.Usernames) > 0 {
		// Who is such a user, or may name such a class, only the cluster knows.
		v.status, v.reason = Manual, "pods of exempt users or runtime classes are admitted whatever they do: who may make them is for a person to review"
	}
	return v
}

// refusals is what the Pod Security library makes of the rules' pods in the
// namespaces that every cluster has.
type refusals struct {
	// admitted are the kinds of workloads that it lets run, sorted.
	admitted map[admission][]string
	// namespaces are default, and those others that manifests have labels for.
	namespaces []string
	// started are the files of pods that it would refuse and the kubelet starts by
	// itself, by rule.
	started map[string][]string
	// labels are what manifests say of the namespaces.
	labels  []Evidence
	problem *complaint
}

// admission is of pods that break a rule in a namespace.
type admission struct{ rule, namespace string }

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
	static, problem := x.staticPods()
	if problem != nil {
		return refusals{problem: problem}
	}
	out := refusals{admitted: map[admission][]string{}, started: map[string][]string{}, namespaces: []string{metav1.NamespaceDefault}}
	objects := slices.Concat(rulePods(), static)
	for _, o := range slices.Concat(m.Objects, x.labelled()) {
		if o.Kind != "Namespace" || !slices.Contains(clusterNamespaces, o.Name) {
			continue
		}
		objects = append(objects, o)
		out.labels = append(out.labels, Evidence{Source: o.File, Line: o.Line, Detail: "labels of namespace " + o.Name})
		if !slices.Contains(out.namespaces, o.Name) && !slices.Contains(a.PodSecurity.Exempt.Namespaces, o.Name) {
			out.namespaces = append(out.namespaces, o.Name)
			for _, pod := range rulePods() {
				pod.Namespace = o.Name
				objects = append(objects, pod)
			}
		}
	}
	for _, o := range objects {
		if key := (admission{o.Name, o.Namespace}); o.File == "" {
			out.admitted[key] = append(out.admitted[key], o.Kind)
		}
	}
	out.refuse(kube.Workloads(x.release(), objects, *a.PodSecurity))
	return out
}

// clusterNamespaces are those of every cluster in which people may run pods.
var clusterNamespaces = []string{metav1.NamespaceDefault, metav1.NamespacePublic, corev1.NamespaceNodeLease}

// refuse takes what the library refuses out of what is admitted, and tells of pods
// from files by what it refuses a rule's pod for.
func (r *refusals) refuse(rejections []kube.Rejection) {
	rules := map[string][]string{} // by what is said of one
	reason := func(text string) string { text, _, _ = strings.Cut(text, " ("); return text }
	for _, j := range rejections {
		if j.Object.File != "" {
			continue
		}
		key := admission{j.Object.Name, j.Object.Namespace}
		r.admitted[key] = slices.DeleteFunc(r.admitted[key], func(kind string) bool { return kind == j.Object.Kind })
		for _, text := range j.Reasons {
			if says := reason(text); !slices.Contains(rules[says], key.rule) {
				rules[says] = append(rules[says], key.rule)
			}
		}
	}
	for _, j := range rejections {
		if j.Object.File == "" {
			continue
		}
		for _, text := range j.Reasons {
			for _, rule := range rules[reason(text)] {
				r.started[rule] = append(r.started[rule], j.Object.File)
			}
		}
	}
	for rule, files := range r.started {
		slices.Sort(files)
		r.started[rule] = slices.Compact(files)
	}
}

// staticPodPath is the directory of pods that the kubelet starts by itself; "" where
// the node has no agent.
func (x *examination) staticPodPath() string {
	if x.in.Effective == nil {
		return ""
	}
	dir, _, _ := x.in.Effective.Flag(k3s.Kubelet, "pod-manifest-path")
	if !path.IsAbs(dir) {
		return ""
	}
	return path.Clean(dir)
}

// staticPods are the pods that the kubelet starts by itself.
func (x *examination) staticPods() ([]kube.Object, *complaint) {
	dir := x.staticPodPath()
	if dir == "" || madeAtBoot(dir) {
		return nil, nil
	}
	entries, problem := x.children(dir)
	if problem != "" {
		return nil, &complaint{status: Error, text: problem, evidence: []Evidence{{Source: dir, Detail: problem}}}
	}
	var out []kube.Object
	for _, e := range entries {
		if e.Kind != node.KindFile || strings.HasPrefix(path.Base(e.Path), ".") {
			continue // which the kubelet passes over
		}
		data, c := x.file(e.Path)
		if c != nil {
			return nil, c
		}
		objects, err := kube.LoadManifest(e.Path, data)
		if err != nil {
			continue // nor does the kubelet start what it cannot read
		}
		out = append(out, objects...)
	}
	return out, nil
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
