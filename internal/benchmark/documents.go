package benchmark

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// documentKey wants a condition to hold for a field of a YAML or JSON file, or
// for the whole text of a file where no field is named.
type documentKey struct {
	path, field string
	predicate   predicate
	optional    bool
	running     bool
}

func (k documentKey) picks(p paths) node.Query {
	return node.Query{{Path: p.expand(k.path), Content: true}}
}

func (k documentKey) judge(x *examination) verdict {
	file := x.paths.expand(k.path)
	what := file
	if k.field != "" {
		what += " " + k.field
	}
	v := verdict{expected: what + k.predicate.says(x.in.Benchmark)}
	data, c := x.file(file)
	if c != nil {
		if c.status == Fail && k.optional {
			v.status, v.found, v.evidence = Pass, c.text, c.evidence
			return v
		}
		return c.verdict(v.expected)
	}
	values := []string{strings.TrimSpace(string(data))}
	if k.field != "" {
		if values, c = x.documentField(file, k.field); c != nil {
			return c.verdict(v.expected)
		}
	}
	value := strings.Join(values, ",")
	v.status, v.found = k.outcome(x, values), fmt.Sprintf("%q", k.predicate.shown(value))
	v.evidence = []Evidence{{Source: file, Detail: v.found}}
	if v.status == Fail && k.running && x.running() {
		v.status = Deferred
		v.reason = "the machine is running and has it by nature: reset it in the last step before the image is taken"
	}
	return v
}

func (k documentKey) outcome(x *examination, values []string) Status {
	if len(values) == 0 {
		return outcome(k.predicate.holdsUnset())
	}
	return outcome(k.predicate.holds(x.in.Benchmark, strings.Join(values, ",")))
}

// documentField returns the values of a field (keys joined by dots) of a YAML
// file; lists on the way give one value an item.
func (x *examination) documentField(file, field string) ([]string, *complaint) {
	data, c := x.file(x.absolute(file))
	if c != nil {
		return nil, c
	}
	var root any
	if err := yaml.Unmarshal(data, &root); err != nil {
		line, what := safetext.YAMLFault(err)
		return nil, &complaint{status: Fail, text: fmt.Sprintf("%s is not valid YAML: %s", k3s.Origin{Source: file, Line: line}, what), evidence: []Evidence{{Source: file, Line: line, Detail: what}}}
	}
	return fieldValues(root, strings.Split(field, ".")), nil
}

func fieldValues(v any, field []string) []string {
	switch v := v.(type) {
	case []any:
		var out []string
		for _, item := range v {
			out = append(out, fieldValues(item, field)...)
		}
		return out
	case map[string]any:
		if next, ok := v[first(field)]; ok {
			return fieldValues(next, field[1:])
		}
		return nil
	case nil:
		return nil
	}
	if len(field) > 0 {
		return nil
	}
	return []string{fmt.Sprint(v)}
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// named returns the absolute path of the file that a flag of the API server
// names, and where that stands; a complaint when it names none.
func (x *examination) named(flag string) (string, []Evidence, *complaint) {
	value, from, set := x.in.Effective.Flag(k3s.APIServer, flag)
	if !set || value == "" {
		v := verdict{status: Fail, found: "--" + flag + " is not set", evidence: []Evidence{{Source: x.defaultSource, Detail: flag + " is passed neither by K3s nor by the node's configuration"}}}
		x.blameVain(&v, k3s.ArgumentKey(k3s.APIServer), flag)
		return "", nil, &complaint{status: v.status, text: v.found, evidence: v.evidence, remediation: v.remediation}
	}
	return x.absolute(value), evidenceOf(k3s.APIServer, from), nil
}

// absolute returns the path that a component opens for a file name: K3s's
// servers work in the server directory.
func (x *examination) absolute(file string) string {
	if path.IsAbs(file) {
		return path.Clean(file)
	}
	return path.Join(k3s.LayoutOf(x.paths.data).Server(), file)
}

// loaded turns a loader's error into a complaint: the loader's own words, one
// piece of evidence for each fault.
func loaded(err error, named []Evidence) *complaint {
	c := &complaint{status: Fail, evidence: named}
	var texts []string
	for _, e := range kube.Errors(err) {
		texts = append(texts, e.Error())
		c.evidence = append(c.evidence, Evidence{Source: e.File, Line: e.Line, Detail: e.Text})
	}
	if len(texts) == 0 {
		texts = []string{err.Error()}
	}
	c.text = few(texts)
	if errors.Is(err, errNotCollected) && !errors.Is(err, fs.ErrNotExist) {
		c.status = Error
	}
	return c
}

// loadNamed loads the file that a flag of the API server names.
func loadNamed[T any](x *examination, flag string, load func(file string, data []byte) (*T, error)) (*T, *complaint) {
	file, named, c := x.named(flag)
	if c != nil {
		return nil, c
	}
	data, c := x.file(file)
	if c != nil {
		c.evidence = append(named, c.evidence...)
		return nil, c
	}
	out, err := load(file, data)
	if err != nil {
		return nil, loaded(err, named)
	}
	return out, nil
}

// readAdmission loads the admission configuration that the API server is given.
func (x *examination) readAdmission() (*kube.Admission, *complaint) {
	return loadNamed(x, "admission-control-config-file", x.loadAdmission)
}

// readAudit loads the audit policy that the API server is given.
func (x *examination) readAudit() (*kube.AuditPolicy, *complaint) {
	return loadNamed(x, "audit-policy-file", x.loadAudit)
}

// eventRateLimit wants the admission plugin to be enabled and to have limits.
type eventRateLimit struct{}

func (eventRateLimit) picks(paths) node.Query { return nil }

func (eventRateLimit) component() k3s.Component { return k3s.APIServer }

const eventRateLimitPlugin = "EventRateLimit"

func (eventRateLimit) judge(x *examination) verdict {
	v := verdict{expected: "kube-apiserver --enable-admission-plugins has EventRateLimit, and its admission configuration has limits"}
	if blocked := x.configuration(); blocked != nil {
		blocked.expected = v.expected
		return *blocked
	}
	plugins, from, _ := x.in.Effective.Flag(k3s.APIServer, "enable-admission-plugins")
	v.evidence = evidenceOf(k3s.APIServer, from)
	if !slices.Contains(items(plugins), eventRateLimitPlugin) {
		v.status, v.found = Fail, "EventRateLimit is not enabled: --enable-admission-plugins="+kube.Shown(k3s.APIServer, "enable-admission-plugins", plugins)
		return v
	}
	a, c := x.admission()
	if c != nil {
		out := c.verdict(v.expected)
		out.found = "EventRateLimit is enabled, but " + c.text
		return out
	}
	if len(a.EventRateLimit) == 0 {
		v.status, v.hard = Fail, true
		v.found = "EventRateLimit is enabled without limits: the API server exits"
		return v
	}
	var limits []string
	for _, l := range a.EventRateLimit {
		limits = append(limits, fmt.Sprintf("%s %d/s burst %d", l.Type, l.QPS, l.Burst))
	}
	v.status, v.found = Pass, "enabled; limits: "+strings.Join(limits, ", ")
	return v
}

// etcd wants nothing of what K3s writes into etcd's configuration at first
// start to be overridden, and etcd to be reached by TLS alone.
type etcd struct {
	overrides []string
	// urls are arguments that name what etcd listens on.
	urls      []string
	firstBoot string
	// written is what K3s writes, by the fields of etcd's configuration.
	written map[string]string
}

func (d *decoder) etcd(n *yaml.Node) expectation {
	var e etcd
	d.fields(n, "etcd", map[string]func(*yaml.Node){
		"overrides":  func(n *yaml.Node) { e.overrides = d.texts(n) },
		"urls":       func(n *yaml.Node) { e.urls = d.texts(n) },
		"first_boot": func(n *yaml.Node) { e.firstBoot = d.text(n) },
		"written": func(n *yaml.Node) {
			e.written = map[string]string{}
			for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
				e.written[n.Content[i].Value] = d.text(n.Content[i+1])
			}
		},
	}, "overrides", "first_boot")
	return e
}

func (e etcd) picks(paths) node.Query { return nil }

func (e etcd) judge(x *examination) verdict { return e.writtenTo(x, e.judgeArguments(x)) }

func (e etcd) judgeArguments(x *examination) verdict {
	v := verdict{expected: "etcd-arg leaves " + strings.Join(e.overrides, ", ") + " to K3s"}
	if blocked := x.configuration(); blocked != nil {
		blocked.expected = v.expected
		return *blocked
	}
	var found []string
	for _, a := range x.in.Effective.Args[k3s.Etcd] {
		if a.Origin.Default {
			continue
		}
		plain := slices.Contains(e.urls, a.Name) && strings.Contains(","+strings.ToLower(strings.ReplaceAll(a.Value, " ", "")), ",http:")
		if plain || slices.Contains(e.overrides, a.Name) {
			found = append(found, a.Name+"="+kube.Shown(k3s.Etcd, a.Name, a.Value))
			v.evidence = append(v.evidence, evidenceOf(k3s.Etcd, []k3s.Argument{a})...)
		}
	}
	if len(found) > 0 {
		v.status, v.found = Fail, "overridden by etcd-arg: "+strings.Join(found, ", ")
		return v
	}
	v.status, v.found, v.reason = Deferred, "etcd's configuration is written at first start; nothing on the node overrides it", e.firstBoot
	v.evidence = x.settings("etcd-arg")
	return v
}
