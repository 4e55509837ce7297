package benchmark

import "github.com/k3s-cis/packer-plugin-k3s/internal/k3s"

// ControlsOf returns a benchmark's controls and ours, in order.
func ControlsOf(benchmark string) []Control { return controlsOf(benchmark) }

// Judged says whether files or arguments can decide a control.
func (c Control) Judged(benchmark string, role k3s.Role) bool {
	for _, r := range c.roles {
		if r == role {
			return len(c.expect) > 0 && c.Phase(benchmark) != PhaseNotApplicable
		}
	}
	return false
}

// AppliesFrom returns whether release r is new enough for the control.
func (c Control) AppliesFrom(r k3s.Release) bool {
	return c.appliesFrom == nil || c.appliesFrom.reachedBy(r)
}

// Roles returns the roles a control speaks of.
func (c Control) Roles() []k3s.Role { return c.roles }

// MaxMode returns the mode that the control's first file may have.
func (c Control) MaxMode(benchmark string) (string, bool) {
	for _, e := range c.expect {
		if f, ok := e.(file); ok {
			if m, limited := maxMode(f.mode, benchmark); limited {
				return octal(uint32(m)), true
			}
		}
	}
	return "", false
}

func octal(m uint32) string {
	s := ""
	for ; m > 0; m >>= 3 {
		s = string(rune('0'+m&7)) + s
	}
	return s
}

// CatalogueFile returns one file of the catalogue.
func CatalogueFile(name string) ([]byte, error) { return catalogueFiles.ReadFile("catalogue/" + name) }

// Judge returns the verdict on one control.
func Judge(in Input, c Control) Result { return examine(in).result(c) }
