package benchmark

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s/deploy"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
)

// Rehearsed is the phase of evidence that comes of a first start in namespaces.
const Rehearsed = "first start, rehearsed"

// FirstStart is what a rehearsed first start showed.
type FirstStart struct {
	// Seen is nil where nothing was rehearsed.
	Seen *rehearsal.Observation
	// Why says why nothing was rehearsed.
	Why string
	// Subject is what was asked.
	Subject rehearsal.Subject
	// Effective is what K3s was started with: what the node will start with, but for
	// what the rehearsal left out or replaced. Nil stands for the node's own.
	Effective *k3s.Effective
	// StandIn says what stood in for what the node has elsewhere; "" where nothing
	// did.
	StandIn string
}

// Without is what a first start says of the node with another configuration file:
// nothing, for it had the one that it has.
func (f *FirstStart) Without(file string) *FirstStart {
	if f == nil {
		return nil
	}
	return &FirstStart{Why: "it was rehearsed with " + file + ", and not without"}
}

// The sources of evidence of a first start that are no files.
const (
	logSource  = "log of K3s"
	apiSource  = "API server"
	dataSource = "datastore"
)

func rehearsed(source, format string, args ...any) Evidence {
	return Evidence{Source: source, Detail: fmt.Sprintf(format, args...), Phase: Rehearsed}
}

// seen is what may be concluded from: a first start that was one. Of K3s that
// did not start only that is evidence.
func (x *examination) seen() *rehearsal.Observation {
	f := x.in.FirstStart
	if f == nil || f.Seen == nil || !f.Seen.Up || f.Seen.Exited != "" || f.Seen.Full {
		return nil
	}
	return f.Seen
}

// rehearsedAs is what K3s was started with.
func (x *examination) rehearsedAs() *k3s.Effective {
	if e := x.in.FirstStart.Effective; e != nil {
		return e
	}
	return x.in.Effective
}

// standingIn says behind a sentence what stood in for what the node has elsewhere.
func (x *examination) standingIn() string {
	if s := x.in.FirstStart.StandIn; s != "" {
		return ", " + s
	}
	return ""
}

// replaced says whether the rehearsal gave a flag of a component another value than
// the node does, because of what stood in: it shows nothing of that flag.
func (x *examination) replaced(c k3s.Component, flag string) bool {
	values := func(e *k3s.Effective) (out []string) {
		for _, a := range e.Args[c] {
			if a.Name == flag {
				out = append(out, a.Value)
			}
		}
		return out
	}
	return !slices.Equal(values(x.in.Effective), values(x.rehearsedAs()))
}

// maxTried is in how many namespaces a pod is tried.
const maxTried = 20

// FirstStartSubject is what the controls want to know of the first start of a
// node. It fails for no node: what cannot be read is not asked.
func FirstStartSubject(in Input) rehearsal.Subject {
	x := examine(in)
	var s rehearsal.Subject
	add := func(list *[]string, item string) {
		if !slices.Contains(*list, item) {
			*list = append(*list, item)
		}
	}
	m := x.manifests()
	if m.problem == nil {
		for _, f := range m.Files {
			add(&s.AddOns, deploy.AddOn(f.Path))
		}
		for _, o := range m.Objects {
			switch typed := o.Typed.(type) {
			case *networkingv1.NetworkPolicy:
				add(&s.Policies, namespaceOf(o)+"/"+o.Name)
			case *corev1.ServiceAccount:
				if o.Name == "default" && typed.AutomountServiceAccountToken != nil && !*typed.AutomountServiceAccountToken {
					add(&s.Accounts, namespaceOf(o))
				}
			}
		}
	}
	s.Namespaces = x.triedNamespaces(m)
	for _, c := range append(controlsOf(in.Benchmark), in.Own...) {
		if x.applies(c) != nil {
			continue
		}
		for _, e := range c.expect {
			if f, ok := e.(file); ok && f.firstBoot != nil {
				s.Files = append(append(s.Files, f.picks(x.paths)...), f.named(x)...)
			}
		}
	}
	if p := x.auditLog(); p != "" {
		s.Files = append(s.Files, node.Pick{Path: p})
	}
	s.Files = compact(s.Files)
	return s
}

// triedNamespaces are those in which Pod Security's defaults hold.
func (x *examination) triedNamespaces(m manifests) []string {
	if x.configuration() != nil || !x.release().AtLeast(1, 25) {
		return nil
	}
	a, problem := x.admission()
	if problem != nil || a.PodSecurity == nil || a.PodSecurity.Enforce.Name == "privileged" {
		return nil
	}
	tried := []string{metav1.NamespaceDefault, "kube-node-lease", metav1.NamespacePublic}
	for _, o := range m.Objects {
		ns, ok := o.Typed.(*corev1.Namespace)
		switch {
		case !ok:
		case ns.Labels["pod-security.kubernetes.io/enforce"] != "":
			tried = slices.DeleteFunc(tried, func(name string) bool { return name == ns.Name })
		case !slices.Contains(tried, ns.Name) && len(tried) < maxTried:
			tried = append(tried, ns.Name)
		}
	}
	return slices.DeleteFunc(tried, func(name string) bool { return slices.Contains(a.PodSecurity.Exempt.Namespaces, name) })
}

// auditLog is the file of the API server's audit log, or "".
func (x *examination) auditLog() string {
	p, _, _ := x.in.Effective.Flag(k3s.APIServer, "audit-log-path")
	if p = strings.TrimSpace(p); p == "" || p == "-" {
		return ""
	}
	return x.absolute(p)
}

// afterStart judges what K3s makes itself as it was after the first start. It
// takes a verdict back that the image alone gave, and proves what was deferred.
func (f file) afterStart(x *examination, v verdict) verdict {
	seen := x.seen()
	if seen == nil || seen.Node == nil || f.firstBoot == nil || v.status == Fail || v.status == Error || v.status == NotApplicable {
		return v
	}
	y := *x
	y.in.Node, y.in.FirstStart = seen.Node, nil
	after := f.judgeNode(&y)
	switch {
	case len(after.evidence) == 0:
		return v
	case after.status == Fail && v.status == Deferred && f.tightenedLater(x):
		v.reason += "; the rehearsed first start did without it"
		return v
	case after.status == Deferred, after.status == Manual:
		v.reason = strings.TrimPrefix(v.reason+"; the rehearsed first start did not make it", "; ")
		return v
	case after.status != Pass && after.status != Fail:
		return v
	}
	for i := range after.evidence {
		after.evidence[i].Phase = Rehearsed
	}
	if v.status != Pass || after.status != Pass {
		after.phase = Rehearsed
	} else { // what the image has, and what K3s adds
		after.found, after.evidence = v.found, append(slices.Clone(v.evidence), after.evidence...)
	}
	return after
}

// tightenedLater says whether something of the service that no rehearsal runs
// tightens what K3s makes: OpenRC's settings of it.
func (f file) tightenedLater(x *examination) bool {
	m, limited := maxMode(f.mode, x.in.Benchmark)
	if s := x.in.Effective.Service; !limited || s == nil || len(s.AfterStart) > 0 {
		return false
	}
	_, tightened := f.tightenedBy(x, m)
	return tightened
}

// started adds to the verdict on a flag what K3s started the component with. What
// differs from what was worked out makes it an error: then nothing is known.
func (x *examination) started(v *verdict, c k3s.Component, flag string) {
	seen := x.seen()
	if seen == nil || v.status != Pass && v.status != Fail {
		return
	}
	args, logged := seen.Started[c]
	if !logged || x.replaced(c, flag) {
		return
	}
	for _, d := range x.rehearsedAs().Differences(c, args) {
		if d.Flag == flag {
			v.status, v.found, v.reason, v.phase = Error, differs(d), modelReason, Rehearsed
			v.remediation = modelRemediation
			v.evidence = append(v.evidence, rehearsed(logSource, "%s", differs(d)))
			return
		}
	}
	for _, a := range args {
		if a.Name == flag {
			v.evidence = append(v.evidence, rehearsed(logSource, "Running %s … --%s=%s", c, flag, kube.Shown(c, flag, a.Value)))
		}
	}
}

const (
	modelReason      = "this plugin worked out another thing than K3s did, so that what rests on it is not known"
	modelRemediation = "This is a fault of the plugin, not of the node: please report it with this report and the log of K3s (rehearsal { keep_log = true }) at https://github.com/k3s-cis/packer-plugin-k3s/issues."
)

// differs says what a flag was worked out to be and what it was.
func differs(d k3s.Difference) string {
	values := func(args []k3s.Argument) string {
		var out []string
		for _, a := range args {
			out = append(out, "--"+d.Flag+"="+kube.Shown(d.Component, d.Flag, a.Value))
		}
		if len(out) == 0 {
			return "no --" + d.Flag
		}
		return strings.Join(out, " ")
	}
	return fmt.Sprintf("%s: worked out %s, started with %s", d.Component, values(d.WorkedOut), values(d.Started))
}

// stored adds to the verdict on encryption what was found in the datastore.
func (e encryption) stored(x *examination, v verdict) verdict {
	seen := x.seen()
	if seen == nil || v.status != Deferred && v.status != Pass {
		return v
	}
	s := seen.Stored
	made := seen.Answers[rehearsal.AskSecret]
	switch {
	case s.Looked && s.Clear:
		v.phase = Rehearsed
		v.status, v.found, v.reason = Fail, "the value of a Secret stands in the datastore as it is", ""
		v.evidence = append(v.evidence, rehearsed(dataSource, "a Secret was made, and its value found"))
		v.hard = true
	case !made.Found || !s.Looked || !s.Key || len(s.Providers) == 0:
		v.reason = strings.TrimPrefix(v.reason+"; the rehearsed first start did not show what it stores", "; ")
	case len(e.providers) > 0 && slices.ContainsFunc(s.Providers, func(p string) bool { return !slices.Contains(e.providers, p) }):
		v.phase = Rehearsed
		v.status, v.found, v.reason = Fail, "Secrets are encrypted by "+strings.Join(s.Providers, ", "), ""
		v.evidence = append(v.evidence, rehearsed(dataSource, "k8s:enc:%s:", strings.Join(s.Providers, ", k8s:enc:")))
	default:
		if v.status == Deferred {
			v.phase = Rehearsed
		}
		v.status, v.found, v.reason = Pass, "a Secret that was made is stored encrypted, by "+strings.Join(s.Providers, ", ")+x.standingIn(), ""
		v.evidence = append(v.evidence, rehearsed(dataSource, "the value is not there, and k8s:enc:%s: is", strings.Join(s.Providers, ", k8s:enc:")))
	}
	return v
}

// written judges what K3s wrote into etcd's configuration.
func (e etcd) writtenTo(x *examination, v verdict) verdict {
	seen := x.seen()
	if seen == nil || seen.Node == nil || v.status != Deferred || len(e.written) == 0 {
		return v
	}
	at := k3s.LayoutOf(x.paths.data).Etcd() + "/config"
	data, presence := seen.Node.Lookup(at)
	var document map[string]any
	if presence != node.Present || yaml.Unmarshal(data.Data, &document) != nil || len(document) == 0 {
		v.reason += "; the rehearsed first start did not show it"
		return v
	}
	var wrong []string
	for _, field := range names(e.written) {
		value := valueAt(document, strings.Split(field, "."))
		want := strings.ReplaceAll(e.written[field], "{data}", k3s.LayoutOf(x.paths.data).Root())
		if value != want {
			wrong = append(wrong, fmt.Sprintf("%s is %q, not %q", field, value, want))
		}
		v.evidence = append(v.evidence, rehearsed(at, "%s: %s", field, value))
	}
	v.phase = Rehearsed
	v.status, v.reason, v.found = Pass, "", "K3s wrote "+strings.Join(names(e.written), ", ")
	if len(wrong) > 0 {
		v.status, v.found = Fail, few(wrong)
	}
	return v
}

// valueAt is the text at a path of a document; "" where it has none.
func valueAt(document map[string]any, fields []string) string {
	for i, f := range fields {
		value, there := document[f]
		switch below, nested := value.(map[string]any); {
		case !there || value == nil:
			return ""
		case i == len(fields)-1:
			return fmt.Sprint(value)
		case nested:
			document = below
		default:
			return ""
		}
	}
	return ""
}

// inCluster adds to a verdict on manifests what the cluster had of them.
func (x *examination) inCluster(v verdict, ask string, namespaces []string, holds func(lines []string, ns string) bool) verdict {
	seen := x.seen()
	if seen == nil || v.status != Pass {
		return v
	}
	answer, asked := seen.Answers[ask]
	if !asked || answer.Status != 0 {
		return v
	}
	var wrong []string
	for _, ns := range namespaces {
		if holds(answer.Lines, ns) {
			v.evidence = append(v.evidence, rehearsed(apiSource, "%s: %s as baked", ns, ask))
			continue
		}
		wrong = append(wrong, ns)
	}
	if len(wrong) > 0 {
		v.phase = Rehearsed
		v.status, v.found = Fail, "baked, but after the first start not in the cluster in "+few(wrong)
		v.evidence = append(v.evidence, rehearsed(apiSource, "%s: not as baked in %s", ask, few(wrong)))
	}
	return v
}

// isolates says whether the policies of an answer keep every pod of a namespace
// from being reached by everything.
func isolates(lines []string, ns string, pods []netip.Prefix) bool {
	found := false
	for _, line := range lines {
		name, spec, _ := strings.Cut(line, " ")
		p := &networkingv1.NetworkPolicy{}
		if !strings.HasPrefix(name, ns+"/") || json.Unmarshal([]byte(spec), &p.Spec) != nil || !kube.RestrictsIngress(p) {
			continue
		}
		if kube.OpensIngress(p, pods) {
			return false
		}
		found = found || kube.SelectsEveryPod(p)
	}
	return found
}

// accountClosed says whether an answer has the account of a namespace without its
// token.
func accountClosed(lines []string, ns string) bool {
	return slices.Contains(lines, ns+" false;")
}

// tried adds to the verdict on privileged pods what the API server made of one.
func (p podSecurity) tried(x *examination, v verdict) verdict {
	seen := x.seen()
	if seen == nil || p.rule != "privileged" || v.status != Pass {
		return v
	}
	answer, asked := seen.Answers[rehearsal.AskPrivileged+metav1.NamespaceDefault]
	switch {
	case !asked:
	case answer.Admitted():
		v.status, v.found = Fail, "a privileged pod was admitted in namespace default"
		v.hard, v.phase = true, Rehearsed
		v.evidence = append(v.evidence, rehearsed(apiSource, "%s", answer.Text()))
	case answer.Refused():
		v.evidence = append(v.evidence, rehearsed(apiSource, "%s", answer.Text()))
	}
	return v
}

// isFact makes of the forecast that K3s starts what was seen.
func (x *examination) isFact(v verdict) verdict {
	f := x.in.FirstStart
	if f == nil || f.Seen == nil {
		return v
	}
	seen := f.Seen
	ready := "/readyz: ok"
	if x.in.Role == k3s.Agent {
		ready = "the node has joined"
	}
	up := []Evidence{rehearsed(logSource, "up after %.1f s%s", seen.UpAfter.Seconds(), x.standingIn()), rehearsed(apiSource, "%s", ready)}
	wasPhase := v.phase
	v.phase = Rehearsed
	switch {
	case seen.Full:
		v.status, v.found, v.reason = Error, "the memory for the files of the rehearsal was full", "what K3s does then it does for lack of room"
		v.evidence = append(v.evidence, rehearsed(logSource, "%s", seen.LastWords()))
	case seen.Exited != "":
		v.status, v.found, v.reason, v.hard = Fail, fmt.Sprintf("K3s ended with %s: %s", seen.Exited, seen.LastWords()), "", true
		v.evidence = append(v.evidence, rehearsed(logSource, "%s", seen.LastWords()))
		v.remediation = "Correct what the log of K3s names; rehearsal { keep_log = true } keeps all of it."
	case !seen.Up:
		v.status, v.found = Error, fmt.Sprintf("K3s was not up after %.0f s: %s", seen.LateAfter.Seconds(), seen.LastWords())
		v.reason = "it may be slow or may never be"
		v.evidence = append(v.evidence, rehearsed(logSource, "%s", seen.LastWords()))
		v.remediation = "See the log of K3s (rehearsal { keep_log = true }), or give it more time with rehearsal { timeout }."
	case !seen.Answers[rehearsal.AskReady].Found:
		v.status, v.found, v.reason = Error, "K3s says that it is up, and the API server gave no answer to that effect ("+ready+")", "the evidence is missing"
		v.evidence = append(v.evidence, rehearsed(apiSource, "%s", seen.Answers[rehearsal.AskReady].Text()))
	case v.status == Fail && f.StandIn != "" || x.in.Effective.Datastore == k3s.External:
		// It may be what was replaced that keeps K3s from starting on the node.
		v.phase, v.evidence = wasPhase, append(v.evidence, up...)
		v.found += fmt.Sprintf("; K3s was up after %.1f s%s", seen.UpAfter.Seconds(), x.standingIn())
	case v.status == Fail:
		v.status, v.reason, v.remediation = Error, modelReason, modelRemediation
		v.found = "worked out: " + v.found + "; and K3s started"
		v.evidence = append(v.evidence, rehearsed(logSource, "up after %.1f s", seen.UpAfter.Seconds()))
	case v.status == Pass || v.status == Deferred:
		v.status, v.reason = Pass, ""
		v.found = fmt.Sprintf("K3s was up after %.1f s%s", seen.UpAfter.Seconds(), x.standingIn())
		v.evidence = append(v.evidence, up...)
	}
	return v
}

// toldKeys makes of keys that a newer release may know what K3s said of them.
func (x *examination) toldKeys(v verdict) verdict {
	seen := x.seen()
	if seen == nil || len(seen.Log) == 0 {
		return v
	}
	var dropped []string
	for _, line := range seen.Log {
		if strings.Contains(line, k3s.UnknownKeyMessage) {
			dropped = append(dropped, rehearsal.CleanLog(k3s.Logged(line)))
			v.evidence = append(v.evidence, rehearsed(logSource, "%s", dropped[len(dropped)-1]))
		}
	}
	v.status, v.reason, v.phase = Fail, "", Rehearsed
	if v.found = few(dropped); len(dropped) == 0 {
		v.status, v.found = Pass, "K3s dropped no key at its start"
		v.evidence = append(v.evidence, rehearsed(logSource, "no line says %q", k3s.UnknownKeyMessage))
	}
	return v
}

// permissionsAtMost says whether a file is a regular one of root's with no more
// than a mode.
func permissionsAtMost(e node.Entry, most fs.FileMode) bool {
	return e.Kind == node.KindFile && e.UID == 0 && e.GID == 0 && e.Mode&^most == 0
}
