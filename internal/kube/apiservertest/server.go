package apiservertest

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// Server is a kube-apiserver and an administrator's access to it.
type Server struct {
	// Err says why it did not become ready, or nil.
	Err error

	ctx     context.Context // the test's
	process *process
	url     string
	http    *http.Client
	// user is who asks, in the administrator's place; empty for the administrator.
	user string
}

// As is the same API server asked by an ordinary user who has logged in.
func (s *Server) As(user string) *Server {
	as := *s
	as.user = user
	return &as
}

// Node is the tree of a node that an API server is started from.
type Node struct {
	// Root is the directory on this host that stands for the node's /. Files
	// that arguments name are taken from below it.
	Root string
	// Args are the API server's effective arguments, K3s's own included.
	Args []k3s.Argument
	// WorkingDirectory is the node's directory that relative names are read
	// from; empty for Root.
	WorkingDirectory string
}

// Start runs binary as K3s would run its API server on node and waits until it
// is ready or has ended. What only K3s can give it is replaced: its store,
// port, certificates, keys, and the tunnel to kubelets, which is left out.
func (s *Store) Start(t testing.TB, binary string, node Node) *Server {
	t.Helper()
	port := freePort(t)
	made := newKeys(t)
	args := []string{
		"--etcd-servers=" + s.endpoint, fmt.Sprintf("--etcd-prefix=/%d", port),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
	}
	given := map[string]string{}
	for _, a := range node.Args {
		switch a.Name {
		case "etcd-servers", "etcd-cafile", "etcd-certfile", "etcd-keyfile", "secure-port", "advertise-port", "bind-address", "egress-selector-config-file":
			continue
		}
		value := a.Value
		if strings.HasPrefix(value, "/") {
			value = filepath.Join(node.Root, value)
		}
		if a.Origin.Default {
			made.write(t, a.Name, value)
		}
		given[a.Name] = value
		args = append(args, "--"+a.Name+"="+value)
	}
	args = append(args, made.complete(t, node.Root, given)...)

	server := &Server{
		ctx:     t.Context(),
		process: start(t, filepath.Join(node.Root, node.WorkingDirectory), binary, args...),
		url:     fmt.Sprintf("https://127.0.0.1:%d", port),
		http:    &http.Client{Transport: &http.Transport{TLSClientConfig: made.client(t)}, Timeout: 10 * time.Second},
	}
	t.Cleanup(server.http.CloseIdleConnections)
	server.Err = server.process.await(2*time.Minute, func() bool {
		status, _, err := server.send(http.MethodGet, "/readyz", "", nil)
		return err == nil && status == http.StatusOK
	})
	return server
}

// complete makes the pairs of certificates and keys that the arguments name,
// and adds the arguments without which no API server starts.
func (k *keys) complete(t testing.TB, root string, given map[string]string) []string {
	t.Helper()
	var args []string
	for _, pair := range [][2]string{
		{"tls-cert-file", "tls-private-key-file"},
		{"kubelet-client-certificate", "kubelet-client-key"},
		{"proxy-client-cert-file", "proxy-client-key-file"},
	} {
		certificate, key := given[pair[0]], given[pair[1]]
		switch {
		case certificate != "" && key != "":
			k.writePair(t, certificate, key)
		case pair[0] == "tls-cert-file":
			certificate, key = filepath.Join(root, "made", "tls.crt"), filepath.Join(root, "made", "tls.key")
			k.writePair(t, certificate, key)
			args = append(args, "--tls-cert-file="+certificate, "--tls-private-key-file="+key)
		}
	}
	for _, needed := range []struct{ flag, value string }{
		{"client-ca-file", filepath.Join(root, "made", "client-ca.crt")},
		{"service-account-key-file", filepath.Join(root, "made", "service.key")},
		{"service-account-signing-key-file", filepath.Join(root, "made", "service.key")},
		{"service-account-issuer", "https://kubernetes.default.svc.cluster.local"},
		{"service-cluster-ip-range", "10.43.0.0/16"},
	} {
		if given[needed.flag] == "" {
			k.write(t, needed.flag, needed.value)
			args = append(args, "--"+needed.flag+"="+needed.value)
		}
	}
	return args
}

// Output returns what the API server has logged.
func (s *Server) Output() string { return s.process.output.String() }

// Ended says whether the API server has exited.
func (s *Server) Ended() bool {
	select {
	case <-s.process.done:
		return true
	default:
		return false
	}
}

// Stop ends the API server before the test does.
func (s *Server) Stop() { s.process.stop() }

// Ready fails the test with the log's last lines when the API server is not.
func (s *Server) Ready(t testing.TB) {
	t.Helper()
	if s.Err != nil {
		log := strings.Split(strings.TrimSpace(s.Output()), "\n")
		require.NoError(t, s.Err, "%s", strings.Join(log[max(0, len(log)-20):], "\n"))
	}
}
