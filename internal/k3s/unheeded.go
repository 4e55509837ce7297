package k3s

import (
	"fmt"
	"slices"
	"strings"
)

// unheeded is what the configuration files say of a key and K3s does not heed.
type unheeded struct {
	problem Problem
	// values is what is not heeded; nil where that is not known.
	values []Value
}

// everyKey stands for all keys.
const everyKey = ""

// vain reports a problem for which K3s does not heed values of key.
func (r *resolver) vain(key string, values []Value, o Origin, format string, args ...any) {
	p := Problem{Consequence: Ignored, Text: fmt.Sprintf(format, args...), Origin: o}
	r.effective.Problems = append(r.effective.Problems, p)
	if r.effective.unheeded == nil {
		r.effective.unheeded = map[string]unheeded{}
	}
	if _, known := r.effective.unheeded[key]; !known {
		r.effective.unheeded[key] = unheeded{p, values}
	}
}

// Vain returns why K3s does not heed what the configuration files say of a key
// or, where flag is not empty, of that flag of the key's list; false where they
// say nothing in vain.
func (e *Effective) Vain(key, flag string) (Problem, bool) {
	if u, all := e.unheeded[everyKey]; all {
		return u.problem, true
	}
	u, known := e.unheeded[key]
	if !known {
		return Problem{}, false
	}
	speaks := func(v Value) bool {
		name, _, _ := strings.Cut(v.Text, "=")
		return flag == "" || strings.TrimLeft(name, "-") == flag
	}
	return u.problem, slices.ContainsFunc(u.values, speaks)
}
