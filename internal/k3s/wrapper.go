package k3s

import (
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// wrapper is a program that starts the one that its command line names behind
// options of its own, in the same process, with the same environment or one
// that its options tell.
type wrapper struct {
	// flags and values are the letters of options without and with a value.
	flags, values string
	// long and longValues are long options likewise.
	long, longValues []string
	// operands is how many words stand before the program.
	operands int
	// number: an option may be a bare number (nice -10).
	number bool
	// environment: words of the form NAME=VALUE stand before the program, -i
	// clears the environment and -u takes a variable out (env).
	environment bool
}

// wrappers are those that are read, by name (coreutils, util-linux, systemd,
// numactl). What another program starts is not known.
var wrappers = map[string]wrapper{
	"env": {
		flags: "iv", values: "uC", long: []string{"ignore-environment", "debug"}, longValues: []string{"unset", "chdir"},
		environment: true,
	},
	"nice":        {values: "n", longValues: []string{"adjustment"}, number: true},
	"ionice":      {flags: "t", values: "cn", long: []string{"ignore"}, longValues: []string{"class", "classdata"}},
	"chrt":        {flags: "abfiorRv", long: []string{"all-tasks", "batch", "fifo", "idle", "other", "rr", "reset-on-fork", "verbose"}, operands: 1},
	"taskset":     {flags: "ac", long: []string{"all-tasks", "cpu-list"}, operands: 1},
	"choom":       {values: "n", longValues: []string{"adjust"}},
	"nohup":       {},
	"setsid":      {flags: "cw", long: []string{"ctty", "wait"}},
	"stdbuf":      {values: "ioe", longValues: []string{"input", "output", "error"}},
	"systemd-cat": {values: "tp", longValues: []string{"identifier", "priority", "stderr-priority", "level-prefix"}},
	"numactl":     {flags: "la", values: "NmCip", long: []string{"localalloc", "all"}, longValues: []string{"cpunodebind", "membind", "physcpubind", "interleave", "preferred"}},
}

// unwrap reads the words in front of K3s as the programs there do. It returns
// K3s and what follows, the environment that K3s gets, and whether all of that
// is known.
func unwrap(words []service.Word, environment []service.Variable) ([]service.Word, []service.Variable, bool) {
	for len(words) > 0 && !isK3s(words[0].Text) {
		w, known := wrappers[path.Base(words[0].Text)]
		if !known {
			return nil, nil, false
		}
		c := wrapped{wrapper: w, words: words[1:], environment: slices.Clone(environment)}
		if !c.read() {
			return nil, nil, false
		}
		words, environment = c.words, c.environment
	}
	return words, environment, len(words) > 0
}

// wrapped is the command line of a wrapper while it is read.
type wrapped struct {
	wrapper
	words       []service.Word
	environment []service.Variable
}

// read takes options, assignments and operands from words.
func (c *wrapped) read() bool {
	for len(c.words) > 0 {
		text := c.words[0].Text
		if text == "--" {
			c.words = c.words[1:]
			break
		}
		if c.wrapper.environment && text == "-" {
			text = "-i"
		}
		if len(text) < 2 || text[0] != '-' {
			break
		}
		c.words = c.words[1:]
		var ok bool
		switch name, long := strings.CutPrefix(text, "--"); {
		case long:
			ok = c.longOption(name)
		case c.number && strings.Trim(name[1:], "0123456789") == "":
			ok = true
		default:
			ok = c.letters(text[1:])
		}
		if !ok {
			return false
		}
	}
	for c.wrapper.environment && len(c.words) > 0 {
		name, value, assigned := strings.Cut(c.words[0].Text, "=")
		if !assigned {
			break
		}
		c.unset(name)
		c.environment = append(c.environment, service.Variable{Name: name, Value: value, Path: c.words[0].Path, Line: c.words[0].Line})
		c.words = c.words[1:]
	}
	if len(c.words) <= c.operands {
		return false
	}
	c.words = c.words[c.operands:]
	return true
}

// letters reads the options of one word, such as -iu NAME.
func (c *wrapped) letters(text string) bool {
	for i, letter := range text {
		switch {
		case strings.ContainsRune(c.flags, letter):
			c.heed(letter, "")
		case strings.ContainsRune(c.values, letter):
			return c.value(letter, text[i+1:], i+1 < len(text))
		default:
			return false
		}
	}
	return true
}

// longOption reads --name, --name=value or --name value.
func (c *wrapped) longOption(text string) bool {
	name, value, given := strings.Cut(text, "=")
	letter := rune(name[0])
	switch {
	case slices.Contains(c.long, name) && !given:
		c.heed(letter, "")
		return true
	case slices.Contains(c.longValues, name):
		return c.value(letter, value, given)
	}
	return false
}

// value heeds an option whose value was given with it or is the next word.
func (c *wrapped) value(letter rune, value string, given bool) bool {
	if !given {
		if len(c.words) == 0 {
			return false
		}
		value, c.words = c.words[0].Text, c.words[1:]
	}
	c.heed(letter, value)
	return true
}

// heed does what an option does to the environment.
func (c *wrapped) heed(letter rune, value string) {
	switch {
	case !c.wrapper.environment:
	case letter == 'i':
		c.environment = nil
	case letter == 'u':
		c.unset(value)
	}
}

func (c *wrapped) unset(name string) {
	c.environment = slices.DeleteFunc(c.environment, func(v service.Variable) bool { return v.Name == name })
}
