package node

import (
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEnvironmentGeneratorAgrees compares EnvironmentFile with systemd's own
// reader of that syntax, on random files.
func TestEnvironmentGeneratorAgrees(t *testing.T) {
	const program = "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator"
	if _, err := os.Stat(program); err != nil {
		t.Skip("needs systemd's environment generator on this machine")
	}
	home := t.TempDir()
	dir := filepath.Join(home, "environment.d")
	require.NoError(t, os.Mkdir(dir, 0o755))
	pieces := []string{
		"K3S_A=", "K3S_B=", "K3S_C =", "1X=", "export K3S_D=", "a", "b c", " ", "\t", "\n", "\n", "\n", "'", `"`, `\`, "\\\n", `\\`, `\"`, "#", ";", "=", "x'y'", `"z"`,
	}
	random := rand.New(rand.NewSource(3))
	for range 400 {
		var text strings.Builder
		for range 1 + random.Intn(14) {
			text.WriteString(pieces[random.Intn(len(pieces))])
		}
		text.WriteString("\n")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "a.conf"), []byte(text.String()), 0o644))
		cmd := exec.Command(program)
		cmd.Env = []string{"XDG_CONFIG_HOME=" + home}
		out, err := cmd.Output()
		require.NoError(t, err)
		// The generator leaves out empty values; what it prints for a value
		// of several lines cannot be told from several variables.
		several := false
		want, got := map[string]string{}, map[string]string{}
		for line := range strings.SplitSeq(string(out), "\n") {
			if name, value, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, "K3S_") && value != "" {
				if quoted, ok := strings.CutPrefix(value, `"`); ok {
					value = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\t`, "\t").Replace(strings.TrimSuffix(quoted, `"`))
				}
				several = several || strings.HasPrefix(value, "$'")
				want[name] = value
			}
		}
		for _, v := range EnvironmentFile("f", []byte(text.String())) {
			several = several || strings.Contains(v.Value, "\n")
			delete(got, v.Name)
			if strings.HasPrefix(v.Name, "K3S_") && v.Value != "" {
				got[v.Name] = v.Value
			}
		}
		if several {
			continue
		}
		require.Equal(t, want, got, "%q\n%q", text.String(), out)
	}
}
