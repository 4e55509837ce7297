package kube

import (
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// Rejection is a workload that Pod Security Admission would not let run.
type Rejection struct {
	Object Object
	// Level is what the workload's namespace enforces.
	Level Level
	// Reasons are Kubernetes's own words, one for each failed check.
	Reasons []string
}

// Workloads judges pods and the pod templates in objects by the Pod Security
// library at what release r enforces: the namespace's own labels where objects
// hold that namespace, psa otherwise, exemptions passed over. Nothing is
// rejected before v1.23, where Pod Security Admission is off unless a feature
// gate turns it on.
func Workloads(r k3s.Release, objects []Object, psa PodSecurity) []Rejection {
	if !r.AtLeast(1, 23) {
		return nil
	}
	evaluator := evaluatorOf(r)
	var out []Rejection
	labels := namespaceLabels(objects)
	for _, o := range objects {
		w, ok := workloadOf(o.Typed)
		if !ok || psa.Exempt.covers(o, w) {
			continue
		}
		enforced := enforce(labels[namespaceOf(o)], psa.Enforce)
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(enforced, w.meta, w.spec))
		if result.Allowed {
			continue
		}
		rejection := Rejection{Object: o, Level: Level{Name: string(enforced.Level), Version: enforced.Version.String()}}
		for i, reason := range result.ForbiddenReasons {
			if detail := result.ForbiddenDetails[i]; detail != "" {
				reason += " (" + detail + ")"
			}
			rejection.Reasons = append(rejection.Reasons, reason)
		}
		out = append(out, rejection)
	}
	return out
}

// evaluators are the library's checks as each known minor of Kubernetes 1 has
// them; they take long to make.
var evaluators = sync.OnceValue(func() map[int]func() policy.Evaluator {
	out := map[int]func() policy.Evaluator{}
	for minor := 23; minor <= k3s.NewestMinor; minor++ {
		out[minor] = sync.OnceValue(func() policy.Evaluator { return newEvaluator(1, minor) })
	}
	return out
})

func evaluatorOf(r k3s.Release) policy.Evaluator {
	if known := evaluators()[r.Minor]; known != nil && r.Major == 1 {
		return known()
	}
	return newEvaluator(r.Major, r.Minor)
}

func newEvaluator(major, minor int) policy.Evaluator {
	version := podsecurity.MajorMinorVersion(major, minor)
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), &version)
	if err != nil {
		panic(err) // the library's own checks contradict each other
	}
	return evaluator
}

// namespaceOf returns where K3s puts a namespaced object.
func namespaceOf(o Object) string {
	if o.Namespace == "" {
		return metav1.NamespaceDefault
	}
	return o.Namespace
}

// namespaceLabels returns the labels of the namespaces among objects.
func namespaceLabels(objects []Object) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, o := range objects {
		if ns, ok := o.Typed.(*corev1.Namespace); ok {
			out[ns.Name] = ns.Labels
		}
	}
	return out
}

// enforce returns what a namespace with these labels enforces. As in
// Kubernetes, a label that is no level enforces the strictest one.
func enforce(labels map[string]string, fallback Level) podsecurity.LevelVersion {
	level, levelErr := podsecurity.ParseLevel(fallback.Name)
	version, versionErr := podsecurity.ParseVersion(fallback.Version)
	if levelErr != nil || versionErr != nil {
		level, version = podsecurity.LevelRestricted, podsecurity.LatestVersion()
	}
	p, _ := podsecurity.PolicyToEvaluate(labels, podsecurity.Policy{Enforce: podsecurity.LevelVersion{Level: level, Version: version}})
	return p.Enforce
}

// workload is a pod, or the pod that a controller will make.
type workload struct {
	meta *metav1.ObjectMeta
	spec *corev1.PodSpec
	// creator is the user that creates the pod.
	creator string
}

// deployer is the user as which K3s's deploy controller creates objects.
const deployer = "system:k3s-supervisor"

func workloadOf(o runtime.Object) (workload, bool) {
	controller := func(t *corev1.PodTemplateSpec, name string) (workload, bool) {
		if t == nil {
			return workload{}, false
		}
		return workload{meta: &t.ObjectMeta, spec: &t.Spec, creator: "system:serviceaccount:kube-system:" + name}, true
	}
	switch o := o.(type) {
	case *corev1.Pod:
		return workload{meta: &o.ObjectMeta, spec: &o.Spec, creator: deployer}, true
	case *corev1.ReplicationController:
		return controller(o.Spec.Template, "replication-controller")
	case *appsv1.Deployment:
		return controller(&o.Spec.Template, "replicaset-controller")
	case *appsv1.ReplicaSet:
		return controller(&o.Spec.Template, "replicaset-controller")
	case *appsv1.StatefulSet:
		return controller(&o.Spec.Template, "statefulset-controller")
	case *appsv1.DaemonSet:
		return controller(&o.Spec.Template, "daemon-set-controller")
	case *batchv1.Job:
		return controller(&o.Spec.Template, "job-controller")
	case *batchv1.CronJob:
		return controller(&o.Spec.JobTemplate.Spec.Template, "job-controller")
	}
	return workload{}, false
}

func (e Exemptions) covers(o Object, w workload) bool {
	class := w.spec.RuntimeClassName
	return slices.Contains(e.Namespaces, namespaceOf(o)) || slices.Contains(e.Usernames, w.creator) ||
		class != nil && slices.Contains(e.RuntimeClasses, *class)
}
