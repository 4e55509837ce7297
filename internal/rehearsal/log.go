package rehearsal

import (
	"regexp"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// secrets are what K3s's log may hold of them: tokens with and without the
// digest of a CA, what stands behind a name that says so, and keys.
var secrets = []*regexp.Regexp{
	regexp.MustCompile(`K10[0-9A-Za-z]{2,}(::[^\s"'\\,;)]+)?`),
	regexp.MustCompile(`\b[\w-]+:[\w-]*:?[0-9a-f]{32,}\b`),
	regexp.MustCompile(`(?i)\b([\w.-]*(?:token|password|passwd|secret|psk|private-key|access-key)["']?\s*[=:]\s*["']?)([^\s"',;\\-][^\s"',;\\]*)`),
	regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*`),
}

// CleanLog is a line of K3s's log without what may be a secret in it, fit for one
// line of a report.
func CleanLog(line string) string {
	line = safetext.Passwords(safetext.Line(line))
	for _, re := range secrets {
		line = re.ReplaceAllStringFunc(line, func(found string) string {
			if m := re.FindStringSubmatch(found); len(m) == 3 && m[2] != "" && m[1] != "" {
				if strings.HasPrefix(m[2], "/") { // where a secret is, is none
					return found
				}
				return m[1] + safetext.Hidden
			}
			return safetext.Hidden
		})
	}
	return line
}

// LastWords is the line of the log that says why K3s ended, as far as one does.
func (o *Observation) LastWords() string {
	last := "it logged nothing"
	for _, line := range o.Log {
		if strings.TrimSpace(line) != "" {
			last = line
		}
	}
	for _, level := range []string{"level=error", "level=fatal", "panic:"} {
		for _, line := range o.Log {
			if strings.Contains(line, level) {
				last = line
			}
		}
	}
	return CleanLog(k3s.Logged(last))
}
