package benchmark

import "time"

// Status is the verdict on one control.
type Status string

// The verdicts. Only Pass counts as proven; Fail and Error fail a build.
const (
	// Pass: evidence on the node proves the control.
	Pass Status = "pass"
	// Fail: evidence on the node says otherwise.
	Fail Status = "fail"
	// Error: evidence that should be there could not be read.
	Error Status = "error"
	// Deferred: what the control speaks of exists only once K3s has run.
	Deferred Status = "deferred"
	// Manual: CIS leaves the control to a person.
	Manual Status = "manual"
	// NotApplicable: K3s or this role has nothing that the control speaks of.
	NotApplicable Status = "not_applicable"
	// Waived: failed, and a valid waiver accepts that.
	Waived Status = "waived"
)

// Statuses lists every verdict in the order reports show them.
var Statuses = []Status{Fail, Error, Waived, Pass, Deferred, Manual, NotApplicable}

// Result is the verdict on one control.
type Result struct {
	// ID is the control's number in the benchmark, such as 1.2.16, or the key
	// for a control that CIS does not number (node.* and a user's own).
	ID string `json:"id"`
	// Key is the control's stable name across benchmark releases.
	Key    string `json:"key"`
	Title  string `json:"title"`
	Status Status `json:"status"`
	// Level is CIS's profile level of a numbered control, 1 or 2; 0 where it is not
	// known, see Level.
	Level int `json:"level,omitempty"`
	// Section is the benchmark section the control stands in, such as "1.2".
	Section string `json:"section"`
	// Found is what the node has, in one line; never a secret.
	Found string `json:"found"`
	// Expected is what the control asks for, in one line.
	Expected string `json:"expected"`
	// Reason explains deferred, manual, not_applicable, error and waived, and of a
	// pass whether a configuration file of the first boot could take it back.
	Reason string `json:"reason,omitempty"`
	// Phase is Rehearsed where the verdict rests on a first start, without which
	// the control would be deferred; else empty.
	Phase    string     `json:"phase,omitempty"`
	Evidence []Evidence `json:"evidence"`
	// Remediation says what to do, in K3s's terms.
	Remediation string  `json:"remediation,omitempty"`
	Waiver      *Waiver `json:"waiver,omitempty"`
	// Attestation is a person's word on a manual control; see Attest.
	Attestation *Attestation `json:"attestation,omitempty"`

	revocable bool
}

// Revocable says whether a configuration file that the first boot writes could
// take a pass back; Reason says with what. It is known where Input.ConfigToCome
// was set.
func (r Result) Revocable() bool { return r.revocable }

// Evidence is one thing on the node that a verdict rests on.
type Evidence struct {
	// Source is a path, "K3s v1.36 default", "kernel command line" or
	// "running kernel".
	Source string `json:"source"`
	// Line is the line in Source, from 1; 0 where lines mean nothing.
	Line int `json:"line,omitempty"`
	// Detail is what stands there, in one line; never a secret.
	Detail string `json:"detail"`
	// Phase is when it was seen: empty for the image at rest, or Rehearsed.
	Phase string `json:"phase,omitempty"`
}

// Waiver accepts that a control fails.
type Waiver struct {
	// Control is a control's id in the benchmark or its key.
	Control string `json:"control"`
	Reason  string `json:"reason"`
	Owner   string `json:"owner"`
	// Expires is the last day on which the waiver holds.
	Expires time.Time `json:"expires"`
	// Role and Build narrow the waiver to a node role or a Packer build name;
	// empty means any.
	Role  string `json:"role,omitempty"`
	Build string `json:"build,omitempty"`
}
