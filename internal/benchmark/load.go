package benchmark

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// MaxControlsFile is the largest file of own controls that is read, in bytes.
const MaxControlsFile = 1 << 20

// LoadControls reads a user's own controls, in the schema of the catalogue
// but without ids; name is the file's name for errors, which carry line and
// column. All errors are returned at once, joined.
func LoadControls(name string, data []byte) ([]Control, error) {
	d := &decoder{name: name}
	if len(data) > MaxControlsFile {
		d.fail(&yaml.Node{Line: 1, Column: 1}, "the file has %d bytes, more than the %d that are read", len(data), MaxControlsFile)
		return nil, d.err()
	}
	controls := d.controls(data, nil)
	taken := map[string]bool{}
	for _, c := range catalogue() {
		taken[c.control.Key] = true
	}
	for _, c := range controls {
		if taken[c.control.Key] {
			d.fail(c.at, "key %q is taken by a control of the plugin's own", c.control.Key)
		}
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	out := make([]Control, len(controls))
	for i, c := range controls {
		out[i] = c.control
		out[i].section = "own"
	}
	return out, nil
}

// located is a control and where it stands.
type located struct {
	control Control
	at      *yaml.Node
}

// keyPattern and maxKey, a number of characters, bound a control's key. The
// pattern does not count itself: that would make it a hundred times as long.
var keyPattern = regexp.MustCompile(`^[a-z][a-z0-9.-]*$`)

const maxKey = 100

// controls reads a list of controls. benchmarks are the names that ids may
// use; nil means that controls have no ids.
func (d *decoder) controls(data []byte, benchmarks []string) []located {
	root := d.document(data)
	if root == nil {
		if len(d.errs) == 0 {
			d.fail(&yaml.Node{Line: 1, Column: 1}, "there is no control in the file")
		}
		return nil
	}
	var out []located
	seen := map[string]bool{}
	d.each(root, "the file", func(n *yaml.Node) {
		c := d.control(n, benchmarks)
		if seen[c.Key] && c.Key != "" {
			d.fail(n, "key %q is there twice", c.Key)
		}
		seen[c.Key] = true
		out = append(out, located{c, n})
	})
	return out
}

func (d *decoder) control(n *yaml.Node, benchmarks []string) Control {
	c := Control{unmet: Fail, assessments: releases[Assessment]{"": Automated}, phases: releases[Phase]{"": PhaseBake}}
	known := map[string]func(*yaml.Node){
		"key": func(n *yaml.Node) {
			if c.Key = d.text(n); len(c.Key) > maxKey || !keyPattern.MatchString(c.Key) {
				d.fail(n, "key %q must be at most %d lower-case letters, digits, dots and dashes, and begin with a letter", c.Key, maxKey)
			}
		},
		"title":        func(n *yaml.Node) { c.Title = d.text(n) },
		"remediation":  func(n *yaml.Node) { c.Remediation = strings.TrimSpace(d.text(n)) },
		"option":       func(n *yaml.Node) { c.Option = d.text(n) },
		"reason":       func(n *yaml.Node) { c.reason = d.text(n) },
		"always":       func(n *yaml.Node) { d.yes(n); c.always = true },
		"applies_from": func(n *yaml.Node) { c.appliesFrom = d.line(n) },
		"unmet":        func(n *yaml.Node) { c.unmet = Status(d.oneOf(n, string(Fail), string(Manual))) },
		"roles": func(n *yaml.Node) {
			d.each(n, "roles", func(n *yaml.Node) {
				c.roles = append(c.roles, k3s.Role(d.oneOf(n, string(k3s.Server), string(k3s.Agent))))
			})
		},
		"kind": func(n *yaml.Node) {
			c.assessments = perRelease(d, n, benchmarks, func(n *yaml.Node) Assessment {
				return Assessment(d.oneOf(n, string(Automated), string(ByAPerson)))
			})
		},
		"phase": func(n *yaml.Node) {
			c.phases = perRelease(d, n, benchmarks, func(n *yaml.Node) Phase { return Phase(d.oneOf(n, phaseNames()...)) })
		},
		"needs": func(n *yaml.Node) {
			d.each(n, "needs", func(n *yaml.Node) { c.needs = append(c.needs, d.oneOf(n, needNames()...)) })
		},
		"expect": func(n *yaml.Node) {
			d.each(n, "expect", func(n *yaml.Node) {
				if e := d.expectation(n, benchmarks); e != nil {
					c.expect = append(c.expect, e)
				}
			})
		},
	}
	required := []string{"key", "title", "roles"}
	if benchmarks == nil {
		required = append(required, "expect")
	} else {
		known["ids"] = func(n *yaml.Node) { c.ids = perRelease(d, n, benchmarks, d.text) }
	}
	d.fields(n, "a control", known, required...)
	for _, e := range c.expect {
		if about, ok := e.(interface{ component() k3s.Component }); ok && !slices.Contains(c.needs, string(about.component())) {
			c.needs = append(c.needs, string(about.component()))
		}
		c.late = c.late || readsManifests(e)
	}
	return c
}

// perRelease reads a value that is the same for all benchmark releases, or a
// mapping from a release ("2.1") or a range of releases ("1.6-1.24") to one.
func perRelease[T any](d *decoder, n *yaml.Node, benchmarks []string, read func(*yaml.Node) T) releases[T] {
	if n.Kind != yaml.MappingNode || benchmarks == nil {
		return releases[T]{"": read(n)}
	}
	out := releases[T]{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], read(n.Content[i+1])
		first, last, ranged := strings.Cut(k.Value, "-")
		if !ranged {
			last = first
		}
		from, to := slices.Index(benchmarks, "cis-"+first), slices.Index(benchmarks, "cis-"+last)
		if from < 0 || to < from {
			d.fail(k, "%q is not a benchmark release such as 2.1 or a range such as 1.6-1.24", k.Value)
			continue
		}
		for _, b := range benchmarks[from : to+1] {
			if _, twice := out[b]; twice {
				d.fail(k, "%s is there twice", b)
			}
			out[b] = v
		}
	}
	return out
}

func phaseNames() []string {
	out := make([]string, len(phases))
	for i, p := range phases {
		out[i] = string(p)
	}
	return out
}
