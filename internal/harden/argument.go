package harden

import "strings"

// argument is one item of a component's argument list as K3s reads it.
type argument struct {
	name, value string
	// op is "=", "+=" (append to K3s's default) or "-=" (prepend).
	op string
}

// parseArg reads an item the way K3s does: leading dashes dropped, no value
// means true.
func parseArg(item string) argument {
	name, value, found := strings.Cut(strings.TrimPrefix(item, "--"), "=")
	if !found {
		return argument{name: name, value: "true", op: "="}
	}
	for _, sign := range []string{"+", "-"} {
		if n, ok := strings.CutSuffix(name, sign); ok {
			return argument{name: n, value: value, op: sign + "="}
		}
	}
	return argument{name: name, value: value, op: "="}
}

// equalValue compares two values of a flag: booleans by what YAML and the
// command line take for true, lists by their items in any order.
func equalValue(a, b string) bool {
	if a == b {
		return true
	}
	if x, ok := boolean(a); ok {
		y, ok := boolean(b)
		return ok && x == y
	}
	if strings.Contains(a, ",") && strings.Contains(b, ",") {
		return sameItems(strings.Split(a, ","), strings.Split(b, ","))
	}
	return false
}

// boolean reads what K3s's configuration file and flags take for a boolean.
func boolean(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "y", "t", "1":
		return true, true
	case "false", "no", "off", "n", "f", "0":
		return false, true
	}
	return false, false
}

func sameItems(a, b []string) bool {
	set := map[string]bool{}
	for _, v := range a {
		set[v] = true
	}
	for _, v := range b {
		if !set[v] {
			return false
		}
		delete(set, v)
	}
	return len(set) == 0
}
