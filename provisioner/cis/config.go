//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,PodSecurityConfig,AuditConfig,EventRateLimitConfig,RateLimitConfig,NetworkPoliciesConfig,SealConfig,InstallConfig,RehearsalConfig,WaiverConfig

package cis

import (
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"
)

// Config is what a user may write in a `provisioner "k3s-cis"` block.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// The K3s release of the image as its whole tag, such as `v1.36.3+k3s1`.
	// Default: the release of the K3s binary in the image (`/usr/local/bin/k3s`
	// or `/opt/bin/k3s`); required where the image has none. When both are
	// there and differ, the build fails: K3s's own defaults are judged by
	// release.
	K3sVersion string `mapstructure:"k3s_version"`
	// The CIS Kubernetes Benchmark to harden for and to judge by: `auto` or one
	// of `cis-1.6`, `cis-1.23`, `cis-1.24`, `cis-1.7`, `cis-1.8`, `cis-1.9`,
	// `cis-1.10`, `cis-1.11`, `cis-1.12`, `cis-2.0`, `cis-2.1`. Default `auto`:
	// the newest that the K3s documentation has for the minor of the release. One
	// that does not fit the release is an error that names those that do.
	Benchmark string `mapstructure:"benchmark"`
	// What the node will run: `server` (default), `agent`, or `both` for an image of
	// which each node becomes one of the two. See [One image for both roles](#one-image-for-both-roles).
	Role string `mapstructure:"role"`
	// What a program of your own runs that the service starts K3s through, as it
	// stands behind `k3s`, such as `server --config /etc/rancher/k3s/config.yaml`.
	// It is believed, and the report says that it was declared. Without it, such a
	// service is an error. Where the service starts k3s itself, that counts.
	K3sCommand string `mapstructure:"k3s_command"`
	// `apply` (default) hardens and then checks; `check` only checks and changes
	// nothing; `plan` prints what `apply` would change, as a unified diff for
	// every file, and touches nothing.
	Mode string `mapstructure:"mode"`
	// Where the guide's keys of K3s's configuration go: `file` (default), merged into
	// `config.yaml`; or `drop-in`, a file of their own in `config.yaml.d`, for images
	// whose `config.yaml` is written at their first boot. See
	// [Configuration written at first boot](#configuration-written-at-first-boot).
	ConfigLayout string `mapstructure:"config_layout"`
	// What of the image's own K3s configuration may be replaced where it contradicts
	// the guide: `true` for all, or some of `config` (values of keys and arguments),
	// `lists` (a drop-in's list that replaces the one before it appends then) and
	// `policies` (a Pod Security or audit policy of the image's own), such as
	// `"config,lists"`. Default `false`: a contradiction is an error that names both
	// values. The original is kept beside either way.
	Overwrite string `mapstructure:"overwrite"`

	// Cluster-wide defaults of Pod Security Admission. See
	// [Pod Security](#pod-security).
	PodSecurity PodSecurityConfig `mapstructure:"pod_security"`
	// What the API server records and where. See [Audit](#audit).
	Audit AuditConfig `mapstructure:"audit"`
	// Present: the EventRateLimit admission plugin is enabled and configured with
	// these limits. Absent: it stays off, since the API server does not start with
	// the plugin on and no limits. See [Event rate limit](#event-rate-limit).
	EventRateLimit *EventRateLimitConfig `mapstructure:"event_rate_limit"`
	// NetworkPolicies to bake. See [Network policies](#network-policies).
	NetworkPolicies NetworkPoliciesConfig `mapstructure:"network_policies"`
	// Bake the default ServiceAccounts of the built-in namespaces with
	// `automountServiceAccountToken: false` (CIS 5.1.5). Default `true`.
	ServiceAccounts config.Trilean `mapstructure:"service_accounts"`
	// More kernel parameters, written to a file of their own in `/etc/sysctl.d`.
	// A value that contradicts one of the six that the kubelet compares is an error.
	Sysctl map[string]string `mapstructure:"sysctl"`

	// More K3s configuration keys for `config.yaml`. A value is read as YAML, so
	// `"true"` is a boolean and `jsonencode(["a", "b"])` is a list.
	K3sConfig map[string]string `mapstructure:"config"`
	// A YAML file on the build host with more K3s configuration keys. Keys in
	// `config` win over it.
	K3sConfigFile string `mapstructure:"config_file"`
	// More arguments for kube-apiserver as `flag=value`; they win over the guide's.
	KubeAPIServerArgs []string `mapstructure:"kube_apiserver_args"`
	// More arguments for kube-controller-manager as `flag=value`; they win over
	// the guide's.
	KubeControllerManagerArgs []string `mapstructure:"kube_controller_manager_args"`
	// More arguments for kube-scheduler as `flag=value`; they win over the guide's.
	KubeSchedulerArgs []string `mapstructure:"kube_scheduler_args"`
	// More arguments for the kubelet as `flag=value`; they win over the guide's.
	KubeletArgs []string `mapstructure:"kubelet_args"`

	// How K3s encrypts Secrets in the datastore: `aescbc` or, where the release
	// has it, `secretbox`. Default: K3s's own choice. The key itself is made by K3s
	// at its first start and is never in the image.
	SecretsEncryptionProvider string `mapstructure:"secrets_encryption_provider"`
	// The most processes that one pod may have (kubelet `pod-max-pids`). Default 4096.
	PodMaxPids int `mapstructure:"pod_max_pids"`
	// Run pods that name no seccomp profile with the runtime's default profile
	// (kubelet `seccomp-default`). Default: `true` where the benchmark asks for it.
	SeccompDefault config.Trilean `mapstructure:"seccomp_default"`
	// The kubelet's TLS cipher suites by their Go names. Default: the six of the
	// guide.
	TLSCipherSuites []string `mapstructure:"tls_cipher_suites"`
	// Enable the DenyServiceExternalIPs admission plugin. Default: `true` where the
	// benchmark asks for it (CIS 1.9 and newer).
	DenyServiceExternalIPs config.Trilean `mapstructure:"deny_service_external_ips"`
	// Fail when workloads in baked manifests would be rejected by Pod Security;
	// by default that is a warning.
	StrictManifests bool `mapstructure:"strict_manifests"`

	// Present: K3s itself is put into the image. See [Installing K3s](#installing-k3s).
	Install *InstallConfig `mapstructure:"install"`
	// Present: what belongs to the machine that the image was built on, and not to
	// the fleet, is removed, also where `install` is present. See
	// [Sealing the image](#sealing-the-image).
	Seal *SealConfig `mapstructure:"seal"`

	// Present: K3s is started once before there is an image, in namespaces of its own
	// from which nothing gets to the disk, and what it did is judged: what is deferred
	// to the first boot otherwise is proven or fails. Only in a tree (`k3s-image`) so
	// far. See
	// [Rehearsing the first start](#rehearsing-the-first-start).
	Rehearsal *RehearsalConfig `mapstructure:"rehearsal"`

	// Accept that one control fails, with a reason, an owner and an end. May be
	// repeated. See [Waivers](#waivers).
	Waivers []WaiverConfig `mapstructure:"waiver"`
	// YAML files on the build host with controls of your own, judged with the
	// benchmark's.
	Controls []string `mapstructure:"controls"`
	// YAML files on the build host in which people attest controls that CIS leaves to a
	// person. See [Attestations](#attestations).
	Attestations []string `mapstructure:"attestations"`
	// An earlier `report.json`: what changed since is printed, and a control that
	// was proven then and is not now fails the build.
	Baseline string `mapstructure:"baseline"`
	// Where reports go; made where missing, written also when the build fails. Of
	// several builds that name the same directory, those that come later put theirs
	// into one of their own below it.
	// Default `k3s-cis-report/<builder type>.<build name>` in the current directory.
	ReportDir string `mapstructure:"report_dir"`

	// How the one remote command is run, a template as in Packer's shell
	// provisioner with the variables `{{ .Path }}` (the command) and `{{ .Vars }}`
	// (always empty). Default: as it is when the user is root, else through
	// `sudo -n`. See [Privileges](#privileges).
	ExecuteCommand string `mapstructure:"execute_command"`
	// `true` runs the remote command through `sudo -n`, `false` as it is. Default:
	// as it is for root, through `sudo -n` for everybody else. Not together with
	// `execute_command`.
	UseSudo config.Trilean `mapstructure:"use_sudo"`
	// How long the remote command may take before the target itself ends it, such
	// as `5m` (default). Packer's own `timeout` works too and also covers the
	// connection.
	CommandTimeout time.Duration `mapstructure:"command_timeout"`

	ctx interpolate.Context
	// given are the options as they were written, see givenOptions.
	given map[string]string
}

// PodSecurityConfig is the block `pod_security`.
type PodSecurityConfig struct {
	// The level that pods of unlabelled namespaces must keep to: `privileged`,
	// `baseline` or `restricted` (default).
	Enforce string `mapstructure:"enforce"`
	// The level from which violations are recorded in the audit log. Default
	// `restricted`.
	Audit string `mapstructure:"audit"`
	// The level from which violations are shown to the person who applies the
	// pod. Default `restricted`.
	Warn string `mapstructure:"warn"`
	// The Kubernetes minor whose definition of the levels counts, such as `v1.36`,
	// or `latest` (default).
	Version string `mapstructure:"version"`
	// Namespaces of known platforms to exempt too: `rancher`, `longhorn`,
	// `monitoring`.
	Presets []string `mapstructure:"presets"`
	// More namespaces that are exempt, beside those of the guide.
	ExemptNamespaces []string `mapstructure:"exempt_namespaces"`
	// Users that are exempt. Controls of Pod Security are `manual` then: who makes pods
	// as such a user is for a person to review.
	ExemptUsernames []string `mapstructure:"exempt_usernames"`
	// Runtime classes that are exempt, with which the same controls are `manual`.
	ExemptRuntimeClasses []string `mapstructure:"exempt_runtime_classes"`
	// An AdmissionConfiguration of your own on the build host, used instead of all
	// of the above. It is loaded as the API server loads it; what does not load is
	// an error.
	PolicyFile string `mapstructure:"policy_file"`
}

// AuditConfig is the block `audit`.
type AuditConfig struct {
	// The built-in audit policy: `metadata` (default, the guide's: metadata of
	// every request) or `recommended` (request bodies of changes that matter, no
	// Secret or token bodies, no health noise).
	Profile string `mapstructure:"profile"`
	// The level of the profile `metadata`: `Metadata` (default), `Request` or
	// `RequestResponse`.
	Level string `mapstructure:"level"`
	// An audit policy of your own on the build host, used instead of a profile. It
	// is loaded as the API server loads it; what does not load is an error.
	PolicyFile string `mapstructure:"policy_file"`
	// Where the log goes. Default `<data-dir>/server/logs/audit.log`.
	LogPath string `mapstructure:"log_path"`
	// How many days rotated logs are kept. Default 30.
	MaxAge int `mapstructure:"max_age"`
	// How many rotated logs are kept. Default 10.
	MaxBackup int `mapstructure:"max_backup"`
	// The size in megabytes at which a log is rotated. Default 100.
	MaxSize int `mapstructure:"max_size"`
}

// EventRateLimitConfig is the block `event_rate_limit`.
type EventRateLimitConfig struct {
	// One limit; may be repeated, once a type. Default: one of type `Server` with
	// `qps = 5000` and `burst = 20000`.
	Limits []RateLimitConfig `mapstructure:"limit"`
}

// RateLimitConfig is the block `limit` in `event_rate_limit`.
type RateLimitConfig struct {
	// What the limit is counted by: `Server`, `Namespace`, `User` or
	// `SourceAndObject`.
	Type string `mapstructure:"type" required:"true"`
	// Events a second, above 0.
	QPS int `mapstructure:"qps" required:"true"`
	// Events that may come at once, above 0.
	Burst int `mapstructure:"burst" required:"true"`
	// How many counters are kept; not for `Server`. Default: the plugin's own.
	CacheSize int `mapstructure:"cache_size"`
}

// NetworkPoliciesConfig is the block `network_policies`.
type NetworkPoliciesConfig struct {
	// Namespaces that admit traffic from their own pods alone, beside
	// `kube-system`, `default` and `kube-public`, which always do. A namespace need
	// not exist when the image is baked.
	Namespaces []string `mapstructure:"namespaces"`
	// Keep cluster DNS reachable. Default `true`.
	AllowDNS config.Trilean `mapstructure:"allow_dns"`
	// Keep the metrics server reachable. Default `true`.
	AllowMetricsServer config.Trilean `mapstructure:"allow_metrics_server"`
	// Keep the service load balancer's pods reachable. Default `true`.
	AllowServiceLB config.Trilean `mapstructure:"allow_service_lb"`
	// Keep Traefik reachable. Default `true`.
	AllowTraefik config.Trilean `mapstructure:"allow_traefik"`
	// Manifests of your own on the build host, baked beside; each must parse and
	// have a name that K3s's deploy controller accepts.
	Manifests []string `mapstructure:"manifests"`
}

// InstallConfig is the block `install`.
type InstallConfig struct {
	// The release of K3s, such as `v1.36.3+k3s1`: its binary for the image's
	// architecture is fetched from where K3s publishes its releases, and checked by
	// the release's list of checksums, or by `checksum`. Either this or `binary`.
	Version string `mapstructure:"version"`
	// Below which K3s's releases are found for `version`, each in a directory of its
	// tag: a mirror of `https://github.com/k3s-io/k3s/releases/download` (default).
	ArtifactURL string `mapstructure:"artifact_url"`
	// The binary of a K3s release, such as `k3s` or `k3s-arm64`: the path of a file on
	// the build host, or a URL as in `iso_url` of other builders. Either this or
	// `version`.
	Binary string `mapstructure:"binary"`
	// The checksum of the binary: `sha256:` and the digest, or `file:` and the path or
	// URL of a list of them such as the release's `sha256sum-amd64.txt`. Required
	// for a URL in `binary`.
	Checksum string `mapstructure:"checksum"`
	// Archives of container images that K3s imports at its start, each the path of a
	// file on the build host or a URL with its checksum, such as
	// `https://…/k3s-airgap-images-amd64.tar.zst?checksum=sha256:…`.
	AirgapImages []string `mapstructure:"airgap_images"`
	// Where the binary goes: `/usr/local/bin` (default), `/opt/bin` or `/usr/bin`.
	BinDir string `mapstructure:"bin_dir"`
	// What starts K3s: `systemd` or `openrc`. Default: the one that the image has.
	Service string `mapstructure:"service"`
	// A file on the build host with what containerd is to know of registries, for
	// `/etc/rancher/k3s/registries.yaml` (0600). A password in it fails the check:
	// write it at first boot.
	RegistriesFile string `mapstructure:"registries_file"`
	// The module of the SELinux policy that K3s needs where SELinux is enforced, such as
	// `k3s.pp` of the package `k3s-selinux`: the path of a file on the build host, or a
	// URL; `.pp` or `.cil`, also with `.bz2`. An image without SELinux is an error.
	SELinuxPolicy string `mapstructure:"selinux_policy"`
	// The checksum of the module: `sha256:` and the digest, or `file:` and the path or
	// URL of a list of them. Required for a URL.
	SELinuxPolicyChecksum string `mapstructure:"selinux_policy_checksum"`
}

// SealConfig is the block `seal`.
type SealConfig struct {
	// `false` turns sealing off. Default `true` where the block is present, or
	// `install` is.
	Enabled config.Trilean `mapstructure:"enabled"`
	// Items that stay, by their names in the table below, such as
	// `["authorized-keys"]`.
	Keep []string `mapstructure:"keep"`
	// Remove what package managers have downloaded too. Default `false`.
	PackageCaches bool `mapstructure:"package_caches"`
	// Stop K3s where it runs on the machine, with all that it started, and unmount
	// what it mounted. Default `false`: K3s that runs is an error. Whatever becomes
	// of the build, it is not started again.
	Reset bool `mapstructure:"reset"`
}

// RehearsalConfig is the block `rehearsal`.
type RehearsalConfig struct {
	// Start the agent too: containerd, kubelet and kube-proxy. Default `true` on a
	// machine that is reached by a communicator, whose kernel is the image's, as far
	// as the agent can run there, and `false` in a container and in a tree, where
	// `true` is an error: the agent would judge the build host's kernel. An agent image
	// is rehearsed with it or not at all.
	Agent config.Trilean `mapstructure:"agent"`
	// How long K3s may take to be up and to answer. Default `3m`.
	Timeout time.Duration `mapstructure:"timeout"`
	// Keep what K3s logged in `report_dir`, as `first-start.log`, without secrets.
	KeepLog bool `mapstructure:"keep_log"`
	// `true` (default): where nothing can be rehearsed the build fails, and the error
	// says what is missing. `false`: that is a warning, and the controls stay
	// deferred.
	Required config.Trilean `mapstructure:"required"`
}

// WaiverConfig is the block `waiver`.
type WaiverConfig struct {
	// The control: its number in the benchmark (`1.2.16`) or its key
	// (`apiserver.audit-log-path`).
	Control string `mapstructure:"control" required:"true"`
	// Why it is accepted.
	Reason string `mapstructure:"reason" required:"true"`
	// Who answers for it.
	Owner string `mapstructure:"owner" required:"true"`
	// The last day on which it holds, such as `2027-01-31`. After it the build
	// fails.
	Expires string `mapstructure:"expires" required:"true"`
	// Only for this role.
	Role string `mapstructure:"role"`
	// Only for this Packer build, such as `k3s-image.node` or `node`.
	Build string `mapstructure:"build"`
}
