package seal

import (
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// action is what is done with a path.
type action int

const (
	// remove takes away what is there, with all that is below it. A symbolic
	// link goes itself.
	remove action = iota
	// empty leaves a file without content, its owner and mode as they were.
	empty
	// clear is empty for the logs below a directory, of which rotated ones are
	// removed: many a program has no right to make its log where that is missing.
	clear
	// files removes all below a directory but directories, which may be baked.
	files
	// lock takes the passwords out of a file as of shadow(5).
	lock
)

// moment is when that is done where the machine is running and reached by SSH.
type moment int

const (
	// now is together with the rest of the change.
	now moment = iota
	// again is now, and once more at the end, since the machine may make it anew.
	again
	// last is at the end alone: the build needs it, or the machine makes it anew
	// all the time.
	last
)

// Item is one thing that belongs to the build and not to the fleet.
type Item struct {
	// Name is how an option names it.
	Name string
	// Paths are absolute. An element may be a pattern as of path.Match; {data}
	// stands for K3s's data directory, and for the usual one too where that is
	// another; ~ for the home directories of root and of those in /home.
	Paths []string
	// Why says what becomes of nodes that share it.
	Why string
	// Control is the key of the hygiene control that it answers; empty where only
	// this package looks for it.
	Control string
	// Asked is true for an item that is removed only where the option for it is set.
	Asked bool

	do   action
	when moment
	// except are directories below Paths that are other items'.
	except []string
}

// below says whether all that is below the item's paths is meant, at any depth.
func (it Item) below() bool { return it.do == clear || it.do == files }

// PackageCaches is the name of the item that is removed only on request.
const PackageCaches = "package-caches"

// Items of which more than the paths is looked at: what the rules in a file say, and
// that a file of whatever name is a private key.
const (
	sudoRule    = "sudo-rule"
	privateKeys = "private-keys"
	hostKeys    = "ssh-host-keys"
)

// machineID is what systemd makes a new one of at the first boot when it is
// empty (machine-id(5)).
const machineID = "/etc/machine-id"

// Items are all there are, in the order in which they are told.
func Items() []Item { return slices.Clone(items) }

var items = []Item{
	// K3s's own state. The paths are those of K3s's pkg/daemons, pkg/server and
	// pkg/agent; air-gap images, manifests and configuration are baked and stay.
	{
		Name: "server-credentials", Control: "node.hygiene.server-credentials", Paths: []string{"{data}/server/cred", "{data}/server/etc"},
		Why: "every node would have the same keys and passwords",
	},
	{
		Name: "server-tls", Control: "node.hygiene.server-tls", Paths: []string{"{data}/server/tls"},
		Why: "every cluster would have the same certificate authority",
	},
	{
		Name: "tokens", Control: "node.hygiene.tokens", Paths: []string{"{data}/server/token", "{data}/server/node-token", "{data}/server/agent-token"},
		Why: "who has the image could join the cluster",
	},
	{
		Name: "datastore", Control: "node.hygiene.datastore", Paths: []string{"{data}/server/db", "{data}/server/kine.sock"},
		Why: "every node would be the same cluster",
	},
	{
		Name: "node-identity", Control: "node.hygiene.node-identity", Paths: []string{k3s.NodeDir + "/password", k3s.NodeDir + "/id", "{data}/agent/node-password.txt"},
		Why: "a second node of the same name is rejected",
	},
	{
		Name: "kubeconfig", Control: "node.hygiene.kubeconfig", Paths: []string{k3s.Kubeconfig, "~/.kube"},
		Why: "it has the keys of a cluster's administrator",
	},
	{
		Name: "agent-credentials", Control: "node.hygiene.agent-credentials", Paths: []string{"{data}/agent/*.crt", "{data}/agent/*.key", "{data}/agent/*.kubeconfig"},
		Why: "every node would be the same kubelet",
	},
	{
		Name: "agent-state", Control: "node.hygiene.agent-state",
		Paths: []string{
			"{data}/agent/etc/*load-balancer*.json", "{data}/agent/etc/resolv.conf", "{data}/agent/etc/flannel", "{data}/agent/etc/cni",
			"{data}/agent/etc/crictl.yaml", "{data}/agent/etc/containerd/config.toml", "{data}/agent/etc/containerd/certs.d", "{data}/agent/pod-manifests/*",
		},
		Why: "it names the servers and networks of the build, and K3s makes it anew",
	},
	{
		Name: "containerd", Control: "node.hygiene.agent-state", Paths: []string{"{data}/agent/containerd"},
		Why: "it holds the containers and sandboxes of the build; images to bake belong into agent/images",
	},
	{
		Name: "kubelet", Control: "node.hygiene.agent-state", Paths: []string{k3s.KubeletDir + "/*"},
		Why: "it holds the pods of the build and the kubelet's keys",
	},
	{
		Name: "cni", Control: "node.hygiene.agent-state", Paths: []string{"/var/lib/cni/*"},
		Why: "addresses that pods of the build had would stay taken",
	},
	{
		Name: "volumes", Control: "node.hygiene.agent-state", Paths: []string{"{data}/storage/*"},
		Why: "it is the data of workloads of the build",
	},
	{
		Name: "audit-logs", Control: "node.hygiene.logs", do: files, Paths: []string{"{data}/server/logs"},
		Why: "requests of the build are in its files, which go alone; directories stay, since the audit log may have one of its own",
	},
	{
		Name: "k3s-logs", Control: "node.hygiene.logs", Paths: []string{"{data}/agent/logs/*", "/var/log/pods/*", "/var/log/containers/*"},
		Why: "pods of the build are in it",
	},

	// The machine's own identity and traces. What systemd says that no image
	// should hold (systemd.io/BUILDING_IMAGES), and what others keep.
	{
		Name: "machine-id", Control: "node.hygiene.machine-id", Paths: []string{machineID}, do: empty, when: again,
		Why: "addresses and names that are made of it would be the same on every node",
	},
	{
		Name: "dbus-machine-id", Control: "node.hygiene.machine-id", Paths: []string{"/var/lib/dbus/machine-id"}, when: again,
		Why: "it is the machine ID once more; a link stays",
	},
	{
		Name: hostKeys, Control: "node.hygiene.ssh-host-keys", Paths: []string{"/etc/ssh/ssh_host_*", "/etc/dropbear/dropbear_*_host_key"}, when: last,
		Why: "who has one node could pretend to be every other",
	},
	{
		Name: "authorized-keys", Control: "node.hygiene.access", when: last,
		Paths: []string{
			"~/.ssh/authorized_keys", "~/.ssh/authorized_keys2", "~/.ssh/authorized_keys.d", "/etc/ssh/authorized_keys", "/etc/ssh/authorized_keys.d/*",
			"/etc/dropbear/authorized_keys",
		},
		Why: "who has the key of the build has every node",
	},
	{
		Name: sudoRule, Control: "node.hygiene.access", when: last,
		Why: "the build's user is root without a password",
	},
	{
		Name: "passwords", Control: "node.hygiene.access", Paths: []string{"/etc/shadow", "/etc/shadow-"}, do: lock, when: last,
		Why: "who knows the password of the build has every node; accounts stay, locked",
	},
	{
		Name: privateKeys, Control: "node.hygiene.access", Paths: []string{"~/.ssh/id_*"},
		Why: "who has the image has what these keys open",
	},
	{
		Name: "credentials", Control: "node.hygiene.access",
		Paths: []string{
			"~/.aws/credentials", "~/.aws/sso", "~/.aws/cli/cache", "~/.azure", "~/.config/gcloud", "~/.docker/config.json", "~/.config/containers/auth.json",
			"~/.netrc", "~/.git-credentials", "~/.config/git/credentials", "~/.config/gh/hosts.yml", "~/.vault-token", "~/.terraform.d/credentials.tfrc.json",
			"~/.npmrc", "~/.pypirc", "~/.config/pip/pip.conf", "~/.pip/pip.conf", "~/.cargo/credentials", "~/.cargo/credentials.toml", "~/.m2/settings.xml",
			"~/.s3cfg", "~/.boto", "~/.oci", "~/.config/rclone/rclone.conf", "~/.config/hcloud/cli.toml", "~/.config/doctl/config.yaml",
			"~/.config/glab-cli/config.yml", "~/.config/hub", "~/.terraformrc", "~/.my.cnf", "~/.pgpass", "~/.gnupg/private-keys-v1.d", "~/.vault_pass*",
		},
		Why: "who has the image has the accounts of the build",
	},
	{
		Name: "machine-accounts", Control: "node.hygiene.system-secrets", when: last,
		Paths: []string{
			"/var/lib/ubuntu-advantage/private/*", "/etc/pki/consumer/*.pem", "/etc/pki/entitlement/*.pem", "/etc/salt/pki/minion/minion.pem", "/etc/salt/pki/minion/minion.pub",
			"/etc/puppetlabs/puppet/ssl/private_keys/*", "/etc/chef/client.pem", "/etc/chef/validation.pem",
		},
		Why: "every node would be the build's machine to its subscription and its management",
	},
	{
		Name: "installation", Control: "node.hygiene.logs",
		Paths: []string{"/var/cache/debconf/passwords.dat", "~/anaconda-ks.cfg", "~/original-ks.cfg"},
		Why:   "the answers that the installer was given are in it, passwords among them",
	},
	{
		Name: "cloud-init", Control: "node.hygiene.cloud-init", when: last,
		Paths: []string{"/var/lib/cloud/instance", "/var/lib/cloud/instances/*", "/var/lib/cloud/data/*", "/var/lib/cloud/sem/*"},
		Why:   "data of the first boot would not be applied again",
	},
	{
		Name: "leases", Control: "node.hygiene.leases", when: last,
		Paths: []string{
			"/var/lib/dhcp/*.lease*", "/var/lib/dhclient/*.lease*", "/var/lib/dhcpcd/*.lease*", "/var/lib/dhcpcd/duid", "/var/lib/dhcpcd/secret",
			"/var/lib/NetworkManager/*.lease",
		},
		Why: "every node would ask for the same address",
	},
	{
		Name: "network-manager", when: last,
		Paths: []string{"/var/lib/NetworkManager/secret_key", "/var/lib/NetworkManager/seen-bssids", "/var/lib/NetworkManager/timestamps"},
		Why:   "addresses that are made of its secret would be the same on every node",
	},
	{
		Name: "random-seed", Control: "node.hygiene.random-seed", when: last,
		Paths: []string{
			"/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed", "/var/lib/random-seed", "/var/lib/seedrng/seed.*",
			"/boot/loader/random-seed", "/boot/efi/loader/random-seed", "/efi/loader/random-seed",
		},
		Why: "every node would begin with the same random numbers",
	},
	{
		Name: "credential-secret", Paths: []string{"/var/lib/systemd/credential.secret"},
		Why: "it decrypts the credentials of services, on every node the same",
	},
	{
		Name: "shell-history", Control: "node.hygiene.shell-history", when: last,
		Paths: []string{"~/.*_history", "~/.lesshst", "~/.viminfo", "~/.wget-hsts", "~/.local/share/fish/fish_history"},
		Why:   "what was typed may be a token",
	},
	{
		Name: "udev-rules", Paths: []string{"/etc/udev/rules.d/70-persistent-net.rules", "/etc/udev/rules.d/70-persistent-cd.rules"},
		Why: "network interfaces would be named by the cards of the build",
	},
	{
		Name: "journal", Control: "node.hygiene.logs", when: last, Paths: []string{"/var/log/journal/*"},
		Why: "it tells what went on in the build",
	},
	{
		Name: "logs", when: last, do: clear, Paths: []string{"/var/log"},
		except: []string{"/var/log/journal", "/var/log/pods", "/var/log/containers"},
		Why:    "they tell what went on in the build",
	},
	{
		Name: PackageCaches, Asked: true,
		Paths: []string{
			"/var/cache/apt/archives/*.deb", "/var/cache/apt/*.bin", "/var/lib/apt/lists/*_*", "/var/cache/dnf/*", "/var/cache/libdnf5/*", "/var/cache/yum/*",
			"/var/cache/zypp/packages/*", "/var/cache/zypp/raw/*", "/var/cache/zypp/solv/*", "/var/cache/apk/*", "/var/cache/pacman/pkg/*",
		},
		Why: "they take room in every image",
	},
}

// resetItems are what K3s leaves in memory when it is stopped.
var resetItems = []Item{{Name: "runtime", Paths: []string{k3s.RunDir, "/run/flannel"}, Why: "K3s made it and is stopped"}}

// rest is what of K3s must not run while its state is removed (k3s-killall.sh of
// K3s's install.sh): the service, every program in its data directory and what
// these started, and the mounts of pods.
func rest(dataDirs []string, stop bool) *node.Rest {
	r := &node.Rest{
		Services: []string{k3s.Server.ServiceName(), k3s.Agent.ServiceName()},
		Programs: k3s.BinaryPaths(),
		Mounts:   []string{k3s.RunDir + "/", k3s.KubeletDir + "/pods/", k3s.KubeletDir + "/plugins/", "/run/netns/cni-"},
		Stop:     stop,
		Advice:   "K3s's state can be removed only while it is at rest: stop it with k3s-killall.sh before, or set reset = true in seal",
	}
	for _, dir := range dataDirs {
		r.Programs = append(r.Programs, dir+"/data/*/bin/*")
	}
	return r
}
