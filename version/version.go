// Package version holds the version of the plugin. Releases set Version and
// clear VersionPrerelease through the linker.
package version

import "github.com/hashicorp/packer-plugin-sdk/version"

var (
	// Version is the semantic version without prerelease, such as 0.1.0.
	Version = "0.1.0"
	// VersionPrerelease marks a build that is not a release; Packer installs
	// only "dev" or the empty string.
	VersionPrerelease = "dev"
	// VersionMetadata is build metadata; releases have none, because Packer
	// refuses plugins that carry it.
	VersionMetadata = ""
	// PluginVersion is what `describe` answers.
	PluginVersion = version.NewPluginVersion(Version, VersionPrerelease, VersionMetadata)
)
