package k3s_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestEffectiveGolden shows, for a reviewer to read, everything K3s passes to
// its components in some releases.
func TestEffectiveGolden(t *testing.T) {
	server := "protect-kernel-defaults: true\nsecrets-encryption: true\nkube-apiserver-arg:\n- audit-log-maxage=30\nkube-controller-manager-arg:\n- terminated-pod-gc-threshold=100\nkubelet-arg:\n- streaming-connection-idle-timeout=5m\n"
	agent := "protect-kernel-defaults: true\nkubelet-arg:\n- streaming-connection-idle-timeout=5m\n"
	for _, version := range []string{"v1.20", "v1.24", "v1.28", "v1.31", "v1.32", "v1.36"} {
		for name, c := range map[string]struct {
			role   k3s.Role
			config string
		}{
			"server-sqlite": {k3s.Server, server},
			"server-etcd":   {k3s.Server, "cluster-init: true\n" + server},
			"agent":         {k3s.Agent, agent},
		} {
			t.Run(version+"-"+name, func(t *testing.T) {
				e := resolve(t, version, c.role, map[string]string{mainFile: c.config})
				golden := filepath.Join("testdata", "effective", version+"-"+name+".txt")
				got := render(e)
				if *update {
					require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
					require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
				}
				want, err := os.ReadFile(golden)
				require.NoError(t, err)
				assert.Equal(t, string(want), got)
			})
		}
	}
}

func render(e *k3s.Effective) string {
	var b strings.Builder
	fmt.Fprintf(&b, "K3s %s %s\nconfiguration file: %s\ndata directory: %s\ndatastore: %s\n", e.Release.MinorName(), e.Role, e.ConfigFile, e.DataDir, e.Datastore)
	b.WriteString("problems:\n" + problems(e) + "\n")
	var components []string
	for c := range e.Args {
		components = append(components, string(c))
	}
	sort.Strings(components)
	for _, c := range components {
		fmt.Fprintf(&b, "\n%s\n", c)
		for _, a := range e.Args[k3s.Component(c)] {
			fmt.Fprintf(&b, "  --%s=%s  (%s)\n", a.Name, a.Value, base(a.Origin))
		}
	}
	return b.String()
}
