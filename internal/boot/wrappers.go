package boot

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// wrappers are programs that run what follows, with how many words of their own
// come before it, options aside.
var wrappers = map[string]int{
	"sudo": 0, "doas": 0, "env": 0, "nice": 0, "ionice": 0, "nohup": 0, "exec": 0, "command": 0, "builtin": 0, "busybox": 0, "toybox": 0,
	"timeout": 1, "flock": 1, "chronic": 0, "time": 0, "setsid": 0, "systemd-run": 0, "chroot": 1, "unshare": 0, "nsenter": 0, "stdbuf": 0,
	"systemd-cat": 0, "start-stop-daemon": 0, "setpriv": 0, "chrt": 1, "taskset": 1, "systemd-inhibit": 0, "watch": 0, "cgexec": 0, "capsh": 0,
	"unbuffer": 0, "parallel": 0,
}

// bare takes wrappers, and the variables they set, off a command.
func (s *shell) bare(words []word) []word {
	for len(words) > 1 {
		own, wraps := wrappers[path.Base(words[0].text)]
		if !wraps || !words[0].known {
			break
		}
		words = s.behind(words[1:], own)
	}
	return words
}

// behind takes a wrapper's options, with their values, and its own words off what
// it runs.
func (s *shell) behind(words []word, own int) []word {
	after := false // an option, whose value a word may be
	for ; len(words) > 1; words = words[1:] {
		w := words[0].text
		option := strings.HasPrefix(w, "-")
		switch {
		case option, assignment.MatchString(w), amount.MatchString(w) && own == 0:
		case s.runs(w), own == 0 && (path.IsAbs(w) || !after):
			return words
		default:
			own = max(own-1, 0)
		}
		after = option && w != "--" && !strings.Contains(w, "=")
	}
	return words
}

// amount is a number, or a time, as only a wrapper is given.
var amount = regexp.MustCompile(`^-?\d+[smhd]?$`)

// runs says whether a word is a program that matters, and not the value of a
// wrapper's option.
func (s *shell) runs(text string) bool {
	name := path.Base(text)
	_, wraps := wrappers[name]
	return commands[name] != nil || wraps || s.functions[name] != nil || slices.Contains(watched, name)
}

// watched are the programs that others than this room ask for by name.
var watched = []string{"k3s", "kubectl", "systemctl"}

var assignment = regexp.MustCompile(`^[A-Za-z_]\w*=`)
