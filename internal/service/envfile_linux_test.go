package service

import (
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEnvironmentGeneratorAgrees compares EnvironmentFile with systemd's own
// reader of that syntax, on random files.
func TestEnvironmentGeneratorAgrees(t *testing.T) {
	const program = "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator"
	if _, err := os.Stat(program); err != nil {
		t.Skip("needs systemd's environment generator on this machine")
	}
	rounds := 200
	if os.Getenv("PACKER_ACC") != "" {
		rounds = 1500
	}
	home := t.TempDir()
	dir := filepath.Join(home, "environment.d")
	require.NoError(t, os.Mkdir(dir, 0o755))
	pieces := []string{
		"K3S_A=", "K3S_A=", "K3S_B=", "K3S_B=", "K3S_C =", " K3S_D = ", "1X=", "export K3S_D=", "=", "K3S_E", "K3S\u00e4=", "K3S-F=", "a", "b c", " ", "\t", "\v", "\n", "\n", "\n", "\r", "\r\n",
		"'", `"`, `\`, "\\\n", "\\\r", "\\\r\n", `\\`, `\"`, `\'`, "\\`", `\a`, "#", "# c\n", "# c\\\n", ";", "=", "x'y'", `"z"`, `"a b" 'c' d`, "\u00e4", "\u00a0",
	}
	rare := []string{"\xff", "\xc3", "\ufffe", "\x00", "\xed\xa0\x80", "\ufeff"}
	random := rand.New(rand.NewSource(3))
	different, refused, crashed := 0, 0, 0
	for range rounds {
		var text strings.Builder
		for range 1 + random.Intn(14) {
			text.WriteString(pieces[random.Intn(len(pieces))])
			if random.Intn(80) == 0 {
				text.WriteString(rare[random.Intn(len(rare))])
			}
		}
		if random.Intn(3) > 0 {
			text.WriteString("\n")
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "a.conf"), []byte(text.String()), 0o644))
		cmd := exec.Command(program)
		cmd.Env = []string{"XDG_CONFIG_HOME=" + home}
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		vars, whole := readEnvironment("f", []byte(text.String()))
		if err != nil { // on values that are not UTF-8 it ends itself
			require.ErrorContains(t, err, "aborted", "%q", text.String())
			require.Error(t, whole, "%q", text.String())
			crashed++
			continue
		}
		if whole != nil {
			// The generator takes over what stands before the text that makes a
			// service's file useless, and passes over names that are none.
			refused++
			continue
		}
		want, got := map[string]string{}, map[string]string{}
		for _, m := range assignedLine.FindAllStringSubmatch(string(out), -1) {
			want[m[1]] = shellUnquoted(m[2])
		}
		for _, v := range vars {
			if strings.HasPrefix(v.Name, "K3S_") {
				got[v.Name] = v.Value
			}
		}
		for _, v := range vars {
			if v.Value == "" { // which to the generator is no assignment
				delete(want, v.Name)
				delete(got, v.Name)
			}
		}
		if !assert.Equal(t, want, got, "%q\n%q", text.String(), out) || !assert.NotContains(t, said.String(), "invalid UTF-8", "%q", text.String()) {
			different++
		}
	}
	t.Logf("%d files, %d with a difference, %d refused as a whole, at %d the generator aborts", rounds, different, refused, crashed)
}

// assignedLine is what the generator prints of one variable.
var assignedLine = regexp.MustCompile(`(?m)^(K3S_\w+)=(\$'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\n]*)$`)

// shellUnquoted undoes the quoting in which systemd prints values.
func shellUnquoted(s string) string {
	quoted := strings.TrimPrefix(s, "$")
	if len(quoted) < 2 || quoted[0] != '"' && (quoted == s || quoted[0] != '\'') {
		return s
	}
	quoted = quoted[1 : len(quoted)-1]
	var b strings.Builder
	for i := 0; i < len(quoted); i++ {
		if quoted[i] != '\\' {
			b.WriteByte(quoted[i])
			continue
		}
		if n := unescape(&b, quoted[i+1:]); n > 0 {
			i += n
		} else { // \$ and \`
			i++
			b.WriteByte(quoted[i])
		}
	}
	return b.String()
}
