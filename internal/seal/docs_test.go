package seal_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/seal"
)

// The page for users has the list as it is.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/provisioners/cis.mdx")
	require.NoError(t, err)
	for _, it := range seal.Items() {
		var paths []string
		for _, p := range it.Paths {
			paths = append(paths, "`"+p+"`")
		}
		switch it.Name {
		case "sudo-rule":
			paths = []string{"files in `/etc/sudoers.d` and `/etc/doas.d` that are about the build's user alone, or make users root without a password and nothing else"}
		case "private-keys":
			paths = append(paths, "every private key in `~/.ssh` and in `~/*.json`, `~/*.pem`, `~/*key*` and `~/id_*`")
		}
		row := fmt.Sprintf("| `%s` | %s | %s |\n", it.Name, strings.Join(paths, ", "), it.Why)
		if !strings.Contains(string(page), row) {
			assert.Fail(t, "the table lacks a row", row)
		}
	}
}
