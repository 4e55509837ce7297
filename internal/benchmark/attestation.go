package benchmark

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Attestation is a person's word that a control which CIS leaves to people holds.
// It is shown beside the verdict manual and never makes a pass of it.
type Attestation struct {
	// Control is a control's id in the benchmark or its key.
	Control string `json:"control"`
	// Statement says what was looked at and found.
	Statement string `json:"statement"`
	// By names the person.
	By string `json:"by"`
	// When is the day on which the person looked, Until the last day on which that
	// counts.
	When  time.Time `json:"when"`
	Until time.Time `json:"until"`
}

// Attested is how an attested control is called.
const Attested = "attested by a person"

// String says the attestation in one sentence.
func (a Attestation) String() string {
	return fmt.Sprintf("%s: %s on %s, until %s: %s", Attested, a.By, a.When.Format(time.DateOnly), a.Until.Format(time.DateOnly), a.Statement)
}

// over says whether the last day of an attestation is over.
func (a Attestation) over(now time.Time) bool { return Waiver{Expires: a.Until}.expired(now) }

// LoadAttestations reads a file of attestations, a YAML list; name is the file's
// name for errors, which carry line and column. All errors are returned at once,
// joined: a field that is missing or empty, a day that is none or to come, an end
// that is past at now.
func LoadAttestations(name string, data []byte, now time.Time) ([]Attestation, error) {
	d := &decoder{name: name}
	if len(data) > MaxControlsFile {
		d.fail(&yaml.Node{Line: 1, Column: 1}, "the file has %d bytes, more than the %d that are read", len(data), MaxControlsFile)
		return nil, d.err()
	}
	root := d.document(data)
	if root == nil {
		d.fail(&yaml.Node{Line: 1, Column: 1}, "the file is empty: write a list of attestations")
		return nil, d.err()
	}
	var all []Attestation
	d.each(root, "the file", func(n *yaml.Node) {
		var a Attestation
		said := func(to *string) func(*yaml.Node) {
			return func(n *yaml.Node) {
				if *to = strings.TrimSpace(d.text(n)); *to == "" {
					d.fail(n, "an empty text says nothing")
				}
			}
		}
		day := func(to *time.Time) func(*yaml.Node) {
			return func(n *yaml.Node) {
				var err error
				if *to, err = time.Parse(time.DateOnly, d.text(n)); err != nil {
					d.fail(n, "%q is not a day: write it as 2027-01-31", n.Value)
				}
			}
		}
		bad := len(d.errs)
		d.fields(n, "an attestation", map[string]func(*yaml.Node){
			"control": said(&a.Control), "statement": said(&a.Statement), "by": said(&a.By), "when": day(&a.When), "until": day(&a.Until),
		}, "control", "statement", "by", "when", "until")
		switch {
		case len(d.errs) > bad:
			return
		case a.When.After(now):
			d.fail(n, "%s was looked at on %s, which is to come", a.Control, a.When.Format(time.DateOnly))
		case a.Until.Before(a.When):
			d.fail(n, "%s: the last day, %s, is before %s, on which it was looked at", a.Control, a.Until.Format(time.DateOnly), a.When.Format(time.DateOnly))
		case a.over(now):
			d.fail(n, "%s: it ended on %s: have somebody look again, or take it out", a.Control, a.Until.Format(time.DateOnly))
		}
		all = append(all, a)
	})
	return all, d.err()
}

// CheckAttestations returns what is wrong with attestations before any node was
// seen: an unknown control, two of the same.
func CheckAttestations(all []Attestation, benchmark string, own []Control) []error {
	if len(all) == 0 {
		return nil // without reading the catalogue
	}
	controls := append(controlsOf(benchmark), own...)
	if benchmark == Any {
		controls = slices.Concat(everyControl(), own)
	}
	var errs []error
	seen := map[string]bool{}
	for _, a := range all {
		i := slices.IndexFunc(controls, func(c Control) bool {
			return a.Control == c.Key || benchmark != Any && a.Control == c.ID(benchmark) ||
				benchmark == Any && slices.Contains(slices.Collect(maps.Values(c.ids)), a.Control)
		})
		switch {
		case i < 0 && benchmark == Any:
			errs = append(errs, fmt.Errorf("attestation %q: no benchmark has a control of that id or key", a.Control))
		case i < 0:
			errs = append(errs, fmt.Errorf("attestation %q: %s has no control of that id or key", a.Control, benchmark))
		case seen[controls[i].Key]:
			errs = append(errs, fmt.Errorf("attestation %q: there is a second one for the same control", a.Control))
		default:
			seen[controls[i].Key] = true
		}
	}
	return errs
}

// Attest puts attestations beside the results that are manual, and returns those
// that are for none: what was judged needs no word.
func Attest(results []Result, all []Attestation, now time.Time) (unused []Attestation) {
	for _, a := range all {
		i := slices.IndexFunc(results, func(r Result) bool {
			return r.Status == Manual && (a.Control == r.ID || a.Control == r.Key)
		})
		if i < 0 || a.over(now) {
			unused = append(unused, a)
			continue
		}
		r := &results[i]
		r.Attestation = &a
		r.Reason = oneLine(a.String() + "; " + r.Reason)
	}
	return unused
}
