package node

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// systemdCases are files of one service each, by path with NAME for the
// service's name.
var systemdCases = []map[string]string{
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s server\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s \\\n    server \\\n# comment\n\t'--kube-apiserver-arg=a=b c' \"--x=\\x41\\101 \\s\" foo\"bar baz\"q %% %n %N \\\n 'it'\"'\"'s'\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=-/bin/k3s 'a\\tb' \"c\\\"d\" e\\ f\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=@/bin/k3s argv0 server\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=+!/bin/k3s server\n"},
	{"/etc/systemd/system/NAME.service": "[Unit]\nExecStart=/bin/no\n[Service]\n  ExecStart  =  /bin/k3s   server   \n;c\nnonsense\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s server \"unbalanced\nExecStart=/bin/k3s agent\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s a\\\\\\\\b 'c\\\\d' \\\n\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s a\\qb\nExecStart=/bin/k3s ok\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s one\nExecStart=\nExecStart=/bin/k3s two\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s one\n", "/etc/systemd/system/NAME.service.d/10.conf": "[Service]\nExecStart=\nExecStart=/bin/k3s two\n"},
	{"/usr/lib/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s vendor\n", "/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s admin\n"},
	{
		"/usr/lib/systemd/system/NAME.service":          "[Service]\nExecStart=/bin/k3s one\n",
		"/usr/lib/systemd/system/NAME.service.d/z.conf": "[Service]\nExecStart=\nExecStart=/bin/k3s vendor-z\n",
		"/etc/systemd/system/NAME.service.d/a.conf":     "[Service]\nExecStart=\nExecStart=/bin/k3s admin-a\n",
	},
	{
		"/usr/lib/systemd/system/NAME.service":          "[Service]\nExecStart=/bin/k3s one\n",
		"/usr/lib/systemd/system/NAME.service.d/z.conf": "[Service]\nExecStart=\nExecStart=/bin/k3s vendor-z\n",
		"/etc/systemd/system/NAME.service.d/z.conf":     "[Service]\nEnvironment=A=1\n",
	},
	{
		"/etc/systemd/system/NAME.service":           "[Service]\nExecStart=/bin/k3s one\n",
		"/etc/systemd/system/dash-.service.d/b.conf": "[Service]\nEnvironment=P=prefix\n",
		"/etc/systemd/system/NAME.service.d/a.conf":  "[Service]\nEnvironment=P=own\n",
	},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s s\nEnvironment=A=1 \"B=2 3\" C='x y' D=%N E\nEnvironment=A=4 9X=1\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s s\nEnvironment=A=1\nEnvironment=\nEnvironment=B=2\n"},
	{"/etc/systemd/system/NAME.service": "\ufeff[Service]\r\nExecStart=/bin/k3s s\r\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s ; /bin/true\nType=oneshot\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s a \\; b\n"},
	{"/etc/systemd/system/NAME.service": "[Service]\nExecStart=/bin/k3s '' \"\" a''b\n"},
}

// TestSystemdAgrees lets the real systemd load the cases and print what it
// understood, and compares the command lines and environments.
func TestSystemdAgrees(t *testing.T) {
	const program = "/usr/lib/systemd/systemd"
	if _, err := os.Stat(program); os.Getuid() != 0 || err != nil {
		t.Skip("needs root (to become nobody), and systemd on this machine")
	}
	root, err := os.MkdirTemp("", "units") //nolint:usetesting // nobody must be able to enter it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	require.NoError(t, os.Chmod(root, 0o755))
	cases := append(systemdCases, randomServices(200)...)
	all := "[Unit]\n"
	for i, files := range cases {
		name := fmt.Sprintf("dash-%d", i)
		for p, text := range files {
			to := filepath.Join(root, strings.ReplaceAll(p, "NAME", name))
			require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
			require.NoError(t, os.WriteFile(to, []byte(text), 0o644))
		}
		all += "Wants=" + name + ".service\n"
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/systemd/system/all.target"), []byte(all), 0o644))
	runtime := filepath.Join(root, "runtime")
	require.NoError(t, os.Mkdir(runtime, 0o700))
	require.NoError(t, os.Chown(runtime, 65534, 65534))
	var path []string
	for _, dir := range unitDirs {
		path = append(path, filepath.Join(root, dir))
	}
	cmd := exec.Command(program, "--test", "--user", "--unit=all.target", "--log-target=console")
	cmd.Env = []string{"XDG_RUNTIME_DIR=" + runtime, "HOME=" + runtime, "SYSTEMD_UNIT_PATH=" + strings.Join(path, ":") + ":"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	dump, err := cmd.CombinedOutput()
	if err != nil && !strings.Contains(string(dump), "-> Unit dash-0.service") {
		t.Skipf("systemd does not run here: %v", err)
	}
	blocks := map[string]string{}
	for _, block := range strings.Split(string(dump), "-> Unit ")[1:] {
		name, rest, _ := strings.Cut(block, ".service:")
		blocks[name] = rest
	}
	for i, files := range cases {
		name := fmt.Sprintf("dash-%d", i)
		t.Run(name, func(t *testing.T) {
			n, err := Root(root).Read(context.Background(), SystemdQuery(name))
			require.NoError(t, err)
			s, err := SystemdService(n, name)
			require.NoError(t, err)
			var command string
			if starts := regexp.MustCompile(`(?s)-> ExecStart:\n\s*Command Line: ([^\n]*)`).FindStringSubmatch(blocks[name]); starts != nil {
				command = starts[1]
			}
			var environment []string
			for _, m := range regexp.MustCompile(`\n\t\tEnvironment: ([^\n]*)`).FindAllStringSubmatch(blocks[name], -1) {
				environment = append(environment, m[1])
			}
			if strings.Contains(files["/etc/systemd/system/NAME.service"], "ExecStart=@") {
				command = strings.Replace(command, "argv0", "/bin/k3s", 1)
			}
			var words, variables []string
			for _, w := range s.Start {
				words = append(words, shellQuoted(w.Text))
			}
			for _, v := range s.Environment {
				variables = append(variables, v.Name+"="+v.Value)
			}
			assert.Equal(t, command, strings.Join(words, " "), "%q", files)
			assert.ElementsMatch(t, environment, variables)
		})
	}
}

// randomServices makes services of pieces that matter to quoting.
func randomServices(n int) []map[string]string {
	random := rand.New(rand.NewSource(7))
	pieces := []string{
		"a", "b=c", " ", "  ", "'", "'", `"`, `"`, `\\\\`, `\`, `\n`, `\x41`, `\x4`, `\101`, `\u00e4`, `\s`, `\q`, `\ `, "%%", "%n", ";x", ` \; `,
		"\t", "\\\n", "\\\n#c\n", "--kube-apiserver-arg=x=y", "#", "{}", "=",
	}
	var out []map[string]string
	for range n {
		text := "[Service]\nType=oneshot\nExecStart=/bin/k3s "
		for range 1 + random.Intn(12) {
			text += pieces[random.Intn(len(pieces))]
		}
		out = append(out, map[string]string{"/etc/systemd/system/NAME.service": text + "\n"})
	}
	return out
}

// shellQuoted renders a word the way systemd prints command lines.
func shellQuoted(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\n\"\\'`$*?[]();&|<>!") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`", "\t", `\t`, "\n", `\n`).Replace(s) + `"`
}
