package apiservertest

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Binary returns the path of the pinned kube-apiserver of a minor such as
// "1.37", which is built first where the cache has none.
func Binary(t testing.TB, minor string) string {
	t.Helper()
	return pinned(t, "kube-apiserver-"+minor)
}

// Kubelet returns the path of the pinned kubelet of a minor likewise.
func Kubelet(t testing.TB, minor string) string {
	t.Helper()
	return pinned(t, "kubelet-"+minor)
}

func pinned(t testing.TB, tool string) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..", "..")
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, "tools", "build"), tool)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	return strings.TrimSpace(string(out))
}
