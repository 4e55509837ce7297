package benchmark

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
)

// firstStart wants something of a first start that no file of the image tells.
type firstStart struct{ check string }

// firstStartCheck is one of these things.
type firstStartCheck struct {
	says  string
	judge func(x *examination, seen *rehearsal.Observation, v verdict) verdict
}

var firstStartChecks = map[string]firstStartCheck{
	"arguments": {"K3s starts its components as was worked out", startedAsWorkedOut},
	"pods":      {"a privileged pod is refused and a restricted one admitted in every namespace that is not exempt", podsTried},
	"add-ons":   {"K3s deploys every manifest", addOnsDeployed},
	"audit-log": {"the API server writes its audit log, for root alone", auditLogWritten},
	"traces":    {"the rehearsal left nothing in the image", noTraces},
}

func (d *decoder) firstStart(n *yaml.Node) expectation {
	var f firstStart
	d.fields(n, "first_start", map[string]func(*yaml.Node){
		"check": func(n *yaml.Node) { f.check = d.oneOf(n, names(firstStartChecks)...) },
	}, "check")
	return f
}

// ofFirstStart says whether a control is about a first start alone: without one
// there is nothing that it could say.
func (c Control) ofFirstStart() bool {
	return slices.ContainsFunc(c.expect, func(e expectation) bool { _, is := e.(firstStart); return is })
}

func (firstStart) picks(paths) node.Query { return nil }

func (f firstStart) judge(x *examination) verdict {
	check := firstStartChecks[f.check]
	v := verdict{expected: check.says}
	if blocked := x.configuration(); blocked != nil {
		blocked.expected = v.expected
		return *blocked
	}
	switch seen := x.seen(); {
	case x.in.FirstStart == nil || x.in.FirstStart.Seen == nil:
		v.status, v.found, v.reason = Deferred, "not rehearsed", "no first start was rehearsed"
		if x.in.FirstStart != nil && x.in.FirstStart.Why != "" {
			v.reason = x.in.FirstStart.Why
		}
		return v
	case seen == nil:
		v.status, v.found, v.reason = Deferred, "K3s did not start", "see node.k3s-starts"
		if f.check != "traces" { // which holds however the start went
			return v
		}
		v.reason = ""
		return check.ofStart(x, x.in.FirstStart.Seen, v)
	default:
		return check.ofStart(x, seen, v)
	}
}

// ofStart judges, and says that what was found is of the first start.
func (c firstStartCheck) ofStart(x *examination, seen *rehearsal.Observation, v verdict) verdict {
	v = c.judge(x, seen, v)
	if v.status != Deferred && v.status != NotApplicable {
		v.phase = Rehearsed
	}
	return v
}

// unanswered is the verdict where an ask got no answer that is one.
func (v verdict) unanswered(format string, args ...any) verdict {
	v.status, v.found = Deferred, fmt.Sprintf(format, args...)
	v.reason = "the rehearsed first start gave no answer, and no evidence is no proof"
	return v
}

func startedAsWorkedOut(x *examination, seen *rehearsal.Observation, v verdict) verdict {
	e := x.rehearsedAs()
	var wrong, missing []string
	note := func(differences []k3s.Difference) {
		for _, d := range differences {
			wrong = append(wrong, differs(d))
			v.evidence = append(v.evidence, rehearsed(logSource, "%s", differs(d)))
		}
	}
	for _, c := range components {
		_, runs := e.Args[c]
		args, logged := seen.Started[c]
		switch {
		case c == k3s.Etcd:
		case runs && !logged:
			missing = append(missing, string(c))
		case !runs && logged:
			wrong = append(wrong, string(c)+": was started, and was worked out not to be")
		case logged:
			note(e.Differences(c, args))
			v.evidence = append(v.evidence, rehearsed(logSource, "Running %s with %d arguments", c, len(args)))
		}
	}
	if answer := seen.Answers[rehearsal.AskKubelet]; answer.Found && answer.Status == 0 {
		if says, ok := k3s.KubeletConfiguration([]byte(answer.Text())); ok {
			note(e.FileDifferences(k3s.Kubelet, says))
			v.evidence = append(v.evidence, rehearsed("kubelet", "configz: %d fields", len(says)))
		}
	}
	switch {
	case len(wrong) > 0:
		v.status, v.found, v.reason, v.remediation = Error, few(wrong), modelReason, modelRemediation
	case len(missing) > 0:
		return v.unanswered("no arguments of %s in the log", strings.Join(missing, ", "))
	default:
		v.status, v.found = Pass, "every argument is as worked out"+x.standingIn()
	}
	return v
}

func podsTried(x *examination, seen *rehearsal.Observation, v verdict) verdict {
	tried := x.in.FirstStart.Subject.Namespaces
	if len(tried) == 0 {
		v.status, v.found, v.reason = NotApplicable, "nothing to try", "Pod Security's defaults hold in no namespace, or are no defaults that refuse"
		return v
	}
	var wrong, open []string
	for _, ns := range tried {
		privileged, restricted := seen.Answers[rehearsal.AskPrivileged+ns], seen.Answers[rehearsal.AskRestricted+ns]
		switch {
		case privileged.Admitted():
			wrong = append(wrong, ns+": a privileged pod was admitted")
		case restricted.Refused():
			wrong = append(wrong, ns+": a pod that is fit for the level restricted was refused")
		case !privileged.Refused() || !restricted.Admitted():
			open = append(open, ns)
			continue
		}
		v.evidence = append(v.evidence, rehearsed(apiSource, "%s: privileged: %s", ns, privileged.Text()), rehearsed(apiSource, "%s: restricted: %s", ns, restricted.Text()))
	}
	switch {
	case len(wrong) > 0:
		v.status, v.found = Fail, few(wrong)
	case len(open) > 0:
		return v.unanswered("no answer in %s", few(open))
	default:
		v.status, v.found = Pass, "in "+strings.Join(tried, ", ")
	}
	return v
}

// noKind is how K3s says that a manifest is of a kind that the API server lacks.
const noKind = "no matches for kind"

func addOnsDeployed(x *examination, seen *rehearsal.Observation, v verdict) verdict {
	wanted := x.in.FirstStart.Subject.AddOns
	if len(wanted) == 0 {
		v.status, v.found, v.reason = NotApplicable, "no manifest of the node's own", "the node has nothing of the kind"
		return v
	}
	events, there := seen.Answers[rehearsal.AskEvents], seen.Answers[rehearsal.AskAddOns]
	if events.Status != 0 || there.Status != 0 || len(there.Lines) == 0 {
		return v.unanswered("the add-ons could not be listed")
	}
	var wrong, open, later []string
	for _, name := range wanted {
		failure, applied := "", false
		for _, line := range events.Lines {
			of, rest, _ := strings.Cut(line, " ")
			reason, message, _ := strings.Cut(rest, " ")
			switch {
			case of != name:
			case reason == "AppliedManifest":
				applied = true
			case strings.HasSuffix(reason, "Failed"):
				failure = message
			}
		}
		switch listed := slices.Contains(there.Lines, "kube-system/"+name+";"); {
		case applied && listed:
			v.evidence = append(v.evidence, rehearsed(apiSource, "AddOn %s: AppliedManifest", name))
			continue
		case strings.Contains(failure, noKind):
			later = append(later, name)
		case failure != "":
			wrong = append(wrong, name+": "+failure)
		default:
			open = append(open, name)
			continue
		}
		v.evidence = append(v.evidence, rehearsed(apiSource, "AddOn %s: %s", name, failure))
	}
	switch {
	case len(wrong) > 0:
		v.status, v.found = Fail, few(wrong)
	case len(open) > 0:
		return v.unanswered("nothing is said of %s", few(open))
	case len(later) > 0:
		v.status, v.found, v.reason = Deferred, "of kinds that the API server does not have: "+few(later), "what brings these kinds may come later; K3s tries again"
	default:
		v.status, v.found = Pass, fmt.Sprintf("%d deployed", len(wanted))
	}
	return v
}

func auditLogWritten(x *examination, seen *rehearsal.Observation, v verdict) verdict {
	at := x.auditLog()
	if at == "" {
		v.status, v.found, v.reason = NotApplicable, "no audit log in a file", "audit-log-path names none"
		return v
	}
	if seen.Node == nil {
		return v.unanswered("%s was not looked at", at)
	}
	e, presence := seen.Node.Lookup(at)
	switch presence {
	case node.Unknown:
		return v.unanswered("%s was not looked at", at)
	case node.Absent:
		v.status, v.found, v.evidence = Fail, at+" was not written", []Evidence{rehearsed(at, "not there")}
	default:
		v.status, v.found, v.evidence = outcome(permissionsAtMost(e, 0o600)), at+" "+describe(e), []Evidence{rehearsed(at, "%s", describe(e))}
	}
	return v
}

func noTraces(_ *examination, seen *rehearsal.Observation, v verdict) verdict {
	if len(seen.Traces) > 0 {
		v.status, v.found, v.hard = Fail, "not as before: "+few(seen.Traces), true
		for _, p := range seen.Traces {
			v.evidence = append(v.evidence, rehearsed(p, "not as it was before the rehearsal"))
		}
		return v
	}
	v.status, v.found = Pass, "all is as it was"
	v.evidence = []Evidence{rehearsed("the image", "K3s's directories are as they were before the rehearsal")}
	return v
}
