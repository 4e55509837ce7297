package kube

import (
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// TestSecretFilesAreAllOfTheTable: a flag that a new release brings for a key is
// either listed or known to name none.
func TestSecretFilesAreAllOfTheTable(t *testing.T) {
	secret := regexp.MustCompile(`(^|-)(key-?file|client-key|kubeconfig|auth-file|webhook-config-file)$`)
	public := []string{"service-account-key-file"} // it verifies tokens
	listed := map[k3s.Component][]string{}
	for _, f := range SecretFiles() {
		listed[f.Component] = append(listed[f.Component], f.Flag)
	}
	for component, all := range flags() {
		for name := range all {
			if secret.MatchString(name) && !slices.Contains(public, name) {
				assert.Contains(t, listed[component], name, component)
			}
		}
		for _, name := range listed[component] {
			assert.Contains(t, all, name, component)
		}
	}
}
