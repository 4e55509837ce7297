package service

import (
	"slices"
	"strings"
)

// Limit is one value of a setting by which a unit keeps its service from files or
// from what the kernel offers (systemd.exec(5)).
type Limit struct {
	// Setting is its name as systemd has it today, such as ReadOnlyPaths.
	Setting string
	// Value is one path of a setting that has several, else what is written.
	Value string
	Path  string
	Line  int
}

// pathLimits are the settings of paths, by the names that systemd takes for them.
var pathLimits = map[string]string{
	"ReadWritePaths": "ReadWritePaths", "ReadWriteDirectories": "ReadWritePaths",
	"ReadOnlyPaths": "ReadOnlyPaths", "ReadOnlyDirectories": "ReadOnlyPaths",
	"InaccessiblePaths": "InaccessiblePaths", "InaccessibleDirectories": "InaccessiblePaths",
}

// setLimit takes over a setting of one value: the last counts.
func (p *unitParser) setLimit(file string, s iniSetting) error {
	p.dropLimits(s.key)
	if s.value != "" {
		p.service.Limits = append(p.service.Limits, Limit{s.key, s.value, file, s.where(0)})
	}
	return nil
}

// setPathLimit adds the paths of a setting; an empty one takes back what stood
// before.
func (p *unitParser) setPathLimit(file string, s iniSetting) error {
	name := pathLimits[s.key]
	if s.value == "" {
		p.dropLimits(name)
		return nil
	}
	return p.expandWords(wordSyntax{}, s, func(text string, line int, _ string) {
		p.service.Limits = append(p.service.Limits, Limit{name, strings.TrimLeft(text, "-+"), file, line})
	})
}

func (p *unitParser) dropLimits(setting string) {
	p.service.Limits = slices.DeleteFunc(p.service.Limits, func(l Limit) bool { return l.Setting == setting })
}

// On says whether the limit's value is one of systemd's words for true.
func (l Limit) On() bool {
	on, _ := Boolean(l.Value)
	return on
}

// Boolean reads one of systemd's words for true and false (systemd.syntax(7)), and says
// whether it is one.
func Boolean(word string) (value, is bool) {
	switch strings.ToLower(word) {
	case "1", "yes", "y", "true", "t", "on":
		return true, true
	case "0", "no", "n", "false", "f", "off":
		return false, true
	}
	return false, false
}
