// Command packer-plugin-k3s is a Packer plugin that bakes CIS-hardened K3s
// node images: the provisioner k3s-cis hardens and judges a node, the builder
// k3s-image does it on disk images without booting them, the post-processor
// k3s-attest binds the report to the image. Run by hand as "packer-plugin-k3s
// fleet", it puts the reports of many images beside each other.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/plugin"

	"github.com/k3s-cis/packer-plugin-k3s/builder/image"
	"github.com/k3s-cis/packer-plugin-k3s/internal/fleet"
	"github.com/k3s-cis/packer-plugin-k3s/internal/packerui"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/tree"
	"github.com/k3s-cis/packer-plugin-k3s/post-processor/attest"
	"github.com/k3s-cis/packer-plugin-k3s/provisioner/cis"
	"github.com/k3s-cis/packer-plugin-k3s/version"
)

// garbageGrowth is by how many percent memory may grow before it is collected.
// A plugin lives for seconds and holds some megabytes: with Go's own 100 it
// collects while a build waits, a tenth of what hardening over SSH takes.
const garbageGrowth = 400

func main() {
	image.Dispatch()
	tree.Dispatch()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbageGrowth)
	}
	if len(os.Args) > 1 && os.Args[1] == "fleet" {
		os.Exit(fleet.Main(os.Args[2:], time.Now(), version.PluginVersion.FormattedVersion(), os.Stdout, os.Stderr))
	}
	packerui.CleanLogs()
	set := plugin.NewSet()
	set.RegisterProvisioner("cis", new(cis.Provisioner))
	set.RegisterBuilder("image", new(image.Builder))
	set.RegisterPostProcessor("attest", new(attest.PostProcessor))
	set.SetVersion(version.PluginVersion)
	if err := set.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
