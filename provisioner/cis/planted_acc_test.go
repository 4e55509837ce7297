package cis

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// plantedTemplate makes an image of a tree with options of the provisioner.
const plantedTemplate = `
source "k3s-image" "node" {
  rootfs_directory = %q
  output_directory = "image"
  vm_name          = "node"
  format           = "tar"
}
build {
  sources = ["source.k3s-image.node"]
  provisioner "k3s-cis" {
    k3s_version = %q
    report_dir  = "report"
    %s
  }
}
`

// No secret gets into Packer's own log either, in which it notes what plugins
// log and say, and what goes between them and it.
func TestAccPlantedSecretsStayHidden(t *testing.T) {
	packer := packertest.New(t, nil)
	if os.Getuid() != 0 {
		t.Skip("needs root: the files of a node belong to root")
	}
	options := []string{`mode = "check"`, `mode = "plan"`, `overwrite = true`, `mode = "check"
    config_file = "own.yaml"`}
	for i, kind := range slices.Sorted(maps.Keys(places)) {
		for j, options := range []string{options[i%len(options)], options[(i+1)%len(options)]} {
			t.Run(fmt.Sprintf("%s, %s", kind, options), func(t *testing.T) {
				p := newPlanter(uint64(2*i + j))
				tree := newTree(t)
				require.NoError(t, os.MkdirAll(filepath.Join(tree, "usr/bin"), 0o755))
				p.plant(t, tree, kind)
				dir := packertest.Write(t, fmt.Sprintf(plantedTemplate, tree, release, options))
				own := p.filled("token: '%s'\n" + p.keyLine())
				require.NoError(t, os.WriteFile(filepath.Join(dir, "own.yaml"), []byte(own), 0o600))
				logFile := filepath.Join(dir, "packer.log")
				t.Setenv("PACKER_LOG", "1")
				t.Setenv("PACKER_LOG_PATH", logFile)
				r := packer.Run(t, dir, "build", ".")
				out := map[string]string{"output": r.Output}
				reports, err := filepath.Glob(filepath.Join(dir, "report", "*"))
				require.NoError(t, err)
				for _, file := range append(reports, logFile) {
					data, err := os.ReadFile(file)
					require.NoError(t, err)
					out[filepath.Base(file)] = string(data)
				}
				assert.Contains(t, out["packer.log"], "k3s-cis", "the log must be one of this build")
				if own := strings.Contains(options, "config_file"); own {
					assert.Contains(t, r.Output, `config["token"]`, "a secret in options is refused, and must be seen for that")
				} else if strings.Contains(options, "check") {
					assert.Len(t, reports, 9)
				}
				assert.Empty(t, leaks(out, p.mark))
				t.Logf("exit %d, %d reports, %d KB of log", r.ExitCode, len(reports), len(out["packer.log"])>>10)
			})
		}
	}
}
