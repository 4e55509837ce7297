package sshtest

import (
	"net"
	"os"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	packerssh "github.com/hashicorp/packer-plugin-sdk/sdk-internals/communicator/ssh"
	"github.com/stretchr/testify/require"
	gossh "golang.org/x/crypto/ssh"
)

// Connect is Packer's communicator to the machine, by an address that leads to it, as
// one of its users and with a terminal or without.
func (m *Machine) Connect(t testing.TB, addr, user string, pty bool) packersdk.Communicator {
	t.Helper()
	key, err := os.ReadFile(m.Key)
	require.NoError(t, err)
	signer, err := gossh.ParsePrivateKey(key)
	require.NoError(t, err)
	c, err := packerssh.New(addr, &packerssh.Config{
		Connection: packerssh.ConnectFunc("tcp", addr), Pty: pty,
		SSHConfig: &gossh.ClientConfig{
			User: user, Auth: []gossh.AuthMethod{gossh.PublicKeys(signer)}, Timeout: 10 * time.Second,
			// The machine is the test's own, on this host.
			HostKeyCallback: func(string, net.Addr, gossh.PublicKey) error { return nil },
		},
	})
	require.NoError(t, err)
	return c
}
