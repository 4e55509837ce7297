package benchmark

import (
	"io/fs"
	"path"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// expectation reads one item of expect: a mapping with one key, its type.
func (d *decoder) expectation(n *yaml.Node, benchmarks []string) expectation {
	var out expectation
	types := map[string]func(*yaml.Node){
		"argument":         func(n *yaml.Node) { out = d.argument(n, benchmarks) },
		"setting":          func(n *yaml.Node) { out = d.setting(n, benchmarks) },
		"file":             func(n *yaml.Node) { out = d.file(n, benchmarks) },
		"gone":             func(n *yaml.Node) { out = d.gone(n) },
		"document":         func(n *yaml.Node) { out = d.documentKey(n, benchmarks) },
		"kernel":           func(n *yaml.Node) { out = d.kernel(n) },
		"etcd":             func(n *yaml.Node) { out = d.etcd(n) },
		"audit_policy":     func(n *yaml.Node) { out = d.auditPolicy(n) },
		"event_rate_limit": func(n *yaml.Node) { d.fields(n, "event_rate_limit", nil); out = eventRateLimit{} },
		"pod_security":     func(n *yaml.Node) { out = d.podSecurity(n) },
		"encryption":       func(n *yaml.Node) { out = d.encryption(n) },
		"network_policies": func(n *yaml.Node) { out = networkPolicies{d.namespaces(n)} },
		"service_accounts": func(n *yaml.Node) { out = serviceAccounts{d.namespaces(n)} },
		"k3s":              func(n *yaml.Node) { out = d.k3s(n) },
		"root_only":        func(n *yaml.Node) { out = d.rootOnly(n) },
		"left_alone":       func(n *yaml.Node) { out = d.leftAlone(n, benchmarks) },
		"first_start":      func(n *yaml.Node) { out = d.firstStart(n) },
		"secrets":          func(n *yaml.Node) { out = d.secrets(n) },
	}
	d.fields(n, "an expectation", types)
	if n.Kind == yaml.MappingNode && len(n.Content) != 2 {
		d.fail(n, "an expectation has exactly one type, found %d", len(n.Content)/2)
	}
	return out
}

// predicates adds the readers of all conditions to known; after reading,
// exactly one must have been given.
func (d *decoder) predicates(known map[string]func(*yaml.Node), into *[]predicate, benchmarks []string) {
	for name, op := range operations {
		known[name] = func(n *yaml.Node) {
			p := predicate{name: name}
			switch op.takes {
			case operandText:
				p.text = d.text(n)
			case operandList:
				p.list = d.texts(n)
			case operandNumber:
				p.num = d.number(n)
			case operandTrue:
				d.yes(n)
			case operandMode:
				p.mode = perRelease(d, n, benchmarks, d.fileMode)
			}
			*into = append(*into, p)
		}
	}
}

func (d *decoder) onePredicate(n *yaml.Node, ps []predicate) predicate {
	if len(ps) != 1 {
		d.fail(n, "exactly one condition is wanted (%s), found %d", names(operations), len(ps))
		return predicate{name: "present"}
	}
	return ps[0]
}

func (d *decoder) argument(n *yaml.Node, benchmarks []string) expectation {
	var a argument
	var ps []predicate
	known := map[string]func(*yaml.Node){
		"component": func(n *yaml.Node) { a.program = k3s.Component(d.oneOf(n, componentNames()...)) },
		"flag":      func(n *yaml.Node) { a.flag = d.text(n) },
		"unset":     func(n *yaml.Node) { a.unset = d.fallbacks(n) },
		"shows":     func(n *yaml.Node) { a.shows = d.text(n) },
		"moved_to": func(n *yaml.Node) {
			a.moved = &moved{}
			d.fields(n, "moved_to", map[string]func(*yaml.Node){
				"flag":      func(n *yaml.Node) { a.moved.flag = d.text(n) },
				"field":     func(n *yaml.Node) { a.moved.field = d.text(n) },
				"overrules": func(n *yaml.Node) { d.yes(n); a.moved.overrules = true },
				"unset":     func(n *yaml.Node) { a.moved.unset = d.fallbacks(n) },
			}, "flag", "field")
		},
	}
	d.predicates(known, &ps, benchmarks)
	d.fields(n, "argument", known, "component", "flag")
	a.predicate = d.onePredicate(n, ps)
	return a
}

func (d *decoder) setting(n *yaml.Node, benchmarks []string) expectation {
	var s setting
	var ps []predicate
	known := map[string]func(*yaml.Node){
		"key":   func(n *yaml.Node) { s.key = d.text(n) },
		"unset": func(n *yaml.Node) { s.unset = d.fallbacks(n) },
	}
	d.predicates(known, &ps, benchmarks)
	d.fields(n, "setting", known, "key")
	s.predicate = d.onePredicate(n, ps)
	return s
}

// fallbacks reads what holds when nothing is set: a list, of which the first
// entry that fits the K3s release counts.
func (d *decoder) fallbacks(n *yaml.Node) []fallback {
	var out []fallback
	d.each(n, "unset", func(n *yaml.Node) {
		var f fallback
		d.fields(n, "unset", map[string]func(*yaml.Node){
			"value":  func(n *yaml.Node) { f.value = d.text(n) },
			"from":   func(n *yaml.Node) { f.from = d.line(n) },
			"before": func(n *yaml.Node) { f.before = d.line(n) },
		}, "value")
		out = append(out, f)
	})
	return out
}

func (d *decoder) file(n *yaml.Node, benchmarks []string) expectation {
	f := file{kind: node.KindFile}
	d.fields(n, "file", map[string]func(*yaml.Node){
		"path":     func(n *yaml.Node) { f.paths = []string{d.nodePath(n)} },
		"paths":    func(n *yaml.Node) { f.paths = d.nodePaths(n) },
		"named_by": func(n *yaml.Node) { f.namedBy = d.texts(n) },
		"service":  func(n *yaml.Node) { f.service = d.oneOf(n, "unit", "environment") },
		"kubelet":  func(n *yaml.Node) { f.kubelet = d.oneOf(n, names(kubeletFiles)...) },
		"parent":   func(n *yaml.Node) { d.yes(n); f.parent = true },
		"match":    func(n *yaml.Node) { f.match = d.glob(n) },
		"except":   func(n *yaml.Node) { f.except = d.texts(n) },
		"kind": func(n *yaml.Node) {
			f.kind = node.Kind(d.oneOf(n, string(node.KindFile), string(node.KindDirectory), "any"))
		},
		"mode":     func(n *yaml.Node) { f.mode = perRelease(d, n, benchmarks, d.fileMode) },
		"owner":    func(n *yaml.Node) { f.owned = d.oneOf(n, "root") == "root" },
		"optional": func(n *yaml.Node) { d.yes(n); f.optional = true },
		"first_boot": func(n *yaml.Node) {
			f.firstBoot = &firstBoot{}
			d.fields(n, "first_boot", map[string]func(*yaml.Node){
				"mode":  func(n *yaml.Node) { f.firstBoot.mode = d.fileMode(n) },
				"owner": func(n *yaml.Node) { d.oneOf(n, "root") },
				"earlier": func(n *yaml.Node) {
					d.fields(n, "earlier", map[string]func(*yaml.Node){
						"mode":   func(n *yaml.Node) { f.firstBoot.earlier = d.fileMode(n) },
						"before": func(n *yaml.Node) { f.firstBoot.before = d.patches(n) },
					}, "mode", "before")
				},
			}, "mode", "owner")
		},
	})
	sources := 0
	for _, given := range []bool{len(f.paths) > 0, len(f.namedBy) > 0, f.service != "", f.kubelet != ""} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		d.fail(n, "file needs exactly one of \"path\", \"paths\", \"named_by\", \"service\" and \"kubelet\"")
	}
	if f.mode == nil && !f.owned {
		d.fail(n, "file needs \"mode\", \"owner\" or both")
	}
	return f
}

func (d *decoder) gone(n *yaml.Node) expectation {
	var g gone
	d.fields(n, "gone", map[string]func(*yaml.Node){
		"paths":   func(n *yaml.Node) { g.paths = d.nodePaths(n) },
		"except":  func(n *yaml.Node) { g.except = d.texts(n) },
		"running": func(n *yaml.Node) { d.yes(n); g.running = true },
		"filled":  func(n *yaml.Node) { d.yes(n); g.filled = true },
		"files":   func(n *yaml.Node) { d.yes(n); g.files = true },
	}, "paths")
	return g
}

func (d *decoder) documentKey(n *yaml.Node, benchmarks []string) expectation {
	var k documentKey
	var ps []predicate
	known := map[string]func(*yaml.Node){
		"path":     func(n *yaml.Node) { k.path = d.nodePath(n) },
		"field":    func(n *yaml.Node) { k.field = d.text(n) },
		"optional": func(n *yaml.Node) { d.yes(n); k.optional = true },
		"running":  func(n *yaml.Node) { d.yes(n); k.running = true },
	}
	d.predicates(known, &ps, benchmarks)
	d.fields(n, "document", known, "path")
	k.predicate = d.onePredicate(n, ps)
	return k
}

func (d *decoder) kernel(n *yaml.Node) expectation {
	k := kernel{}
	d.fields(n, "kernel", map[string]func(*yaml.Node){
		"parameters": func(n *yaml.Node) {
			if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
				d.fail(n, "parameters must be a mapping from name to value")
				return
			}
			for i := 0; i+1 < len(n.Content); i += 2 {
				k.parameters = append(k.parameters, parameter{n.Content[i].Value, d.text(n.Content[i+1])})
			}
		},
	}, "parameters")
	return k
}

// nodePath reads an absolute path of the node, which may begin with {data}.
func (d *decoder) nodePath(n *yaml.Node) string {
	p := d.text(n)
	if full := (paths{}).expand(p); !path.IsAbs(full) || path.Clean(full) != full {
		d.fail(n, "%q must be an absolute, clean path; it may begin with {data}", p)
	}
	return p
}

func (d *decoder) nodePaths(n *yaml.Node) []string {
	var out []string
	d.each(n, "paths", func(n *yaml.Node) { out = append(out, d.nodePath(n)) })
	return out
}

func (d *decoder) glob(n *yaml.Node) string {
	g := d.text(n)
	if _, err := path.Match(g, ""); err != nil {
		d.fail(n, "%q is not a pattern such as *.crt", g)
	}
	return g
}

func (d *decoder) namespaces(n *yaml.Node) []string {
	var out []string
	d.fields(n, "this", map[string]func(*yaml.Node){
		"namespaces": func(n *yaml.Node) { out = d.texts(n) },
	}, "namespaces")
	return out
}

// maxMode is the mode that a benchmark allows; all bits where it names none.
func maxMode(r releases[fs.FileMode], benchmark string) (fs.FileMode, bool) {
	if m, ok := r[benchmark]; ok {
		return m, true
	}
	m, ok := r[""]
	return m, ok
}
