package benchmark

import (
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// predicate is one condition on a value.
type predicate struct {
	name string
	text string
	list []string
	num  int
	mode releases[fs.FileMode]
}

// operand is what a predicate is given in the catalogue.
type operand int

const (
	operandText operand = iota
	operandList
	operandNumber
	operandTrue
	operandMode
)

// operation is how one kind of predicate works.
type operation struct {
	takes operand
	// unset: the condition holds when there is no value at all.
	unset bool
	holds func(p predicate, benchmark, value string) bool
	// says renders the condition after the name of what it is about.
	says func(p predicate, benchmark string) string
}

// fleeting are directories whose files are none, or gone after a reboot or some days.
var fleeting = []string{"/dev", "/proc", "/run", "/sys", "/tmp", "/var/run"}

var operations = map[string]operation{
	"equals": {
		takes: operandText,
		holds: func(p predicate, _, v string) bool { return same(v, p.text) },
		says:  func(p predicate, _ string) string { return "=" + p.text },
	},
	"differs": {
		takes: operandText, unset: true,
		holds: func(p predicate, _, v string) bool { return !same(v, p.text) },
		says:  func(p predicate, _ string) string { return " not " + p.text },
	},
	"one_of": {
		takes: operandList,
		holds: func(p predicate, _, v string) bool { return slices.Contains(p.list, v) },
		says:  func(p predicate, _ string) string { return " is " + choice(p.list) },
	},
	"contains": {
		takes: operandText,
		holds: func(p predicate, _, v string) bool { return slices.Contains(items(v), p.text) },
		says:  func(p predicate, _ string) string { return " has " + p.text },
	},
	"contains_any": {
		takes: operandList,
		holds: func(p predicate, _, v string) bool {
			return slices.ContainsFunc(items(v), func(s string) bool { return slices.Contains(p.list, s) })
		},
		says: func(p predicate, _ string) string { return " has " + strings.Join(p.list, " or ") },
	},
	"lacks": {
		takes: operandText, unset: true,
		holds: func(p predicate, _, v string) bool { return !slices.Contains(items(v), p.text) },
		says:  func(p predicate, _ string) string { return " without " + p.text },
	},
	"gate_kept": {
		takes: operandText, unset: true,
		holds: func(p predicate, _, v string) bool { return !kube.GateOff(v, p.text) },
		says:  func(p predicate, _ string) string { return " without " + p.text + "=false" },
	},
	"set_without": {
		takes: operandText,
		holds: func(p predicate, _, v string) bool { return len(items(v)) > 0 && !slices.Contains(items(v), p.text) },
		says:  func(p predicate, _ string) string { return " set, without " + p.text },
	},
	"subset_of": {
		takes: operandList,
		holds: func(p predicate, _, v string) bool {
			return len(items(v)) > 0 && !slices.ContainsFunc(items(v), func(s string) bool { return !slices.Contains(p.list, s) })
		},
		says: func(p predicate, _ string) string { return " has nothing but " + strings.Join(p.list, ",") },
	},
	"strong_ciphers": {
		takes: operandTrue,
		holds: func(_ predicate, _, v string) bool { return kube.StrongCiphers(v) },
		says: func(predicate, string) string {
			return " has nothing but " + strings.Join(kube.StrongCipherSuites(), ",")
		},
	},
	"at_least": {
		takes: operandNumber,
		holds: func(p predicate, _, v string) bool { n, err := strconv.Atoi(v); return err == nil && n >= p.num },
		says:  func(p predicate, _ string) string { return fmt.Sprintf(" is %d or more", p.num) },
	},
	"positive_duration": {
		takes: operandTrue,
		holds: func(_ predicate, _, v string) bool { d, err := time.ParseDuration(v); return err == nil && d > 0 },
		says:  func(predicate, string) string { return " is a time above 0" },
	},
	"present": {
		takes: operandTrue,
		holds: func(_ predicate, _, v string) bool { return v != "" },
		says:  func(predicate, string) string { return " is set" },
	},
	"absent": {
		takes: operandTrue, unset: true,
		holds: func(predicate, string, string) bool { return false },
		says:  func(predicate, string) string { return " is not set" },
	},
	"loopback": {
		takes: operandTrue, holds: func(_ predicate, _, v string) bool { return loopback(v) },
		says: func(predicate, string) string { return " is a loopback address" },
	},
	"lasting_file": {
		takes: operandTrue,
		holds: func(_ predicate, _, v string) bool {
			return path.IsAbs(v) && !slices.ContainsFunc(fleeting, func(dir string) bool { return node.Within(dir, path.Clean(v)) })
		},
		says: func(predicate, string) string {
			return " is the absolute path of a file that lasts, not one below " + strings.Join(fleeting, ", ")
		},
	},
	"mode_at_most": {
		takes: operandMode,
		holds: func(p predicate, b, v string) bool {
			m, err := strconv.ParseInt(v, 8, 0)
			if err != nil {
				return true // K3s says so in its log and leaves the file as it made it, for root alone
			}
			return m >= 0 && fs.FileMode(m)&fs.ModePerm&^p.mode.at(b) == 0
		},
		says: func(p predicate, b string) string { return fmt.Sprintf(" is %04o or less", p.mode.at(b)) },
	},
}

func (p predicate) holds(benchmark, value string) bool {
	return operations[p.name].holds(p, benchmark, value)
}

// holdsUnset says whether the condition is met by there being no value.
func (p predicate) holdsUnset() bool { return operations[p.name].unset }

func (p predicate) says(benchmark string) string { return operations[p.name].says(p, benchmark) }

// shown is a value of a file fit for a report: each item of it that is a
// number, true, false or a time, or that the condition itself names. What else
// stands there may be a secret in the wrong place.
func (p predicate) shown(value string) string {
	all := strings.Split(value, ",")
	for i, item := range all {
		item = strings.TrimSpace(item)
		_, boolean := strconv.ParseBool(item)
		_, number := strconv.ParseInt(item, 0, 32)
		_, duration := time.ParseDuration(item)
		if item != "" && boolean != nil && number != nil && duration != nil && item != p.text && !slices.Contains(p.list, item) {
			all[i] = safetext.Hidden
		}
	}
	return strings.Join(all, ",")
}

// same compares as the flag parsers do, to whom 1, t and true are the same.
func same(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := strconv.ParseBool(a)
	y, errY := strconv.ParseBool(b)
	// "0" and "1" are numbers unless the other side is a word.
	words := strings.ContainsAny(a+b, "tTfF")
	return words && errX == nil && errY == nil && x == y
}

// items takes a comma-separated list apart.
func items(v string) []string {
	var out []string
	for s := range strings.SplitSeq(v, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// choice says what one of several values may be: "empty or localhost".
func choice(values []string) string {
	shown := make([]string, len(values))
	for i, v := range values {
		if shown[i] = v; v == "" {
			shown[i] = "empty"
		}
	}
	if n := len(shown); n > 1 {
		return strings.Join(shown[:n-1], ", ") + " or " + shown[n-1]
	}
	return strings.Join(shown, "")
}

// loopback says whether v is a loopback address, with or without a port.
func loopback(v string) bool {
	if ap, err := netip.ParseAddrPort(v); err == nil {
		return ap.Addr().IsLoopback()
	}
	a, err := netip.ParseAddr(strings.Trim(v, "[]"))
	return err == nil && a.IsLoopback()
}
