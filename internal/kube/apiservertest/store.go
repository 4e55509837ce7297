package apiservertest

import (
	"fmt"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Store is an etcd for any number of API servers, each below a prefix of its own.
type Store struct{ endpoint string }

// StartStore runs etcd until the test ends.
func StartStore(t testing.TB) *Store {
	t.Helper()
	binary, err := exec.LookPath("etcd")
	require.NoError(t, err, "the API server needs a store: install etcd (Debian: etcd-server)")
	dir := t.TempDir()
	client := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	peer := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	p := start(t, dir, binary, "--data-dir", dir, "--name", "test",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "test="+peer,
		"--unsafe-no-fsync")
	err = p.await(30*time.Second, func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, client+"/health", nil)
		if err != nil {
			return false
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	require.NoError(t, err, "%s", p.output)
	return &Store{endpoint: client}
}
