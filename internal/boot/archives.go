package boot

import (
	"regexp"
	"slices"
	"strings"
)

// unpack puts what is in an archive into a directory.
func (c command) unpack() {
	operands, options := c.operands("-C", "--directory", "-d", "-D", "-f", "--file")
	extracts := c.name == "unzip" || c.name == "cpio" && short(options, "i") || short(options, "x") ||
		slices.ContainsFunc(options, func(o string) bool { return o == "--extract" || o == "--get" }) ||
		strings.HasSuffix(c.name, "tar") && len(c.args) > 0 && bundle.MatchString(c.args[0].text)
	if !extracts || len(operands) == 0 && len(options) == 0 {
		return
	}
	into := []word{{c.dir, c.dir != ""}}
	for i, w := range c.args {
		if slices.Contains([]string{"-C", "--directory", "-d", "-D"}, w.text) && i+1 < len(c.args) && (c.name != "unzip" || w.text == "-d") {
			into[0] = c.args[i+1]
		}
		if dir, ok := strings.CutPrefix(w.text, "--directory="); ok {
			into[0] = word{dir, w.known}
		}
	}
	c.into(into)
}

// bundle is how tar's options are written without a dash.
var bundle = regexp.MustCompile(`^[a-zA-Z]*x[a-zA-Z]*$`)

// into says that anything below a directory may be changed.
func (c command) into(dirs []word) {
	f := asItIs
	f.action, f.deep, f.inside = covers, true, true
	c.each(slices.DeleteFunc(dirs, func(w word) bool { return w.text == "" }), f)
}

// checkOut is a command of git that changes files of a directory.
func (c command) checkOut() {
	into, rest := word{c.dir, c.dir != ""}, c.args
	for len(rest) > 1 && strings.HasPrefix(rest[0].text, "-") {
		if rest[0].text == "-C" {
			into = rest[1]
		}
		if rest[0].text == "-C" || rest[0].text == "-c" {
			rest = rest[1:]
		}
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return
	}
	switch rest[0].text {
	case "pull", "checkout", "reset", "switch", "restore", "merge", "rebase", "clean", "stash", "apply", "am":
		c.into([]word{into})
	case "clone":
		c.into(rest[len(rest)-1:])
	}
}
