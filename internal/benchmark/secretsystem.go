package benchmark

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// What in files of a network's configuration is a key or a password. A value that
// names a file, a credential of systemd's or another store is none.
var (
	wireguardKey = regexp.MustCompile(`(?m)^[ \t]*(?i:PrivateKey|PresharedKey)[ \t]*=[ \t]*[A-Za-z0-9+]`)
	// A public key has the same form.
	bareKey        = regexp.MustCompile(`^\s*[A-Za-z0-9+/]{43}=\s*$`)
	managerKey     = regexp.MustCompile(`(?m)^[ \t]*(psk|sae-password|password|password-raw|private-key|private-key-password|phase2-private-key-password|client-key-password|preshared-key|wep-key\d|leap-password|pin|secret|mka-cak|Xauth password|IPSec secret)[ \t]*=[ \t]*[^\s/]`)
	supplicantKey  = regexp.MustCompile(`(?m)^[ \t]*(psk|password|sae_password|wep_key\d|private_key_passwd|wpa_passphrase|wpa_psk|pin)[ \t]*=[ \t]*(?:[^\se]|e[^x]|ex[^t]|ext[^:])`)
	iwdKey         = regexp.MustCompile(`(?m)^[ \t]*(Passphrase|PreSharedKey|SAE-\S+|EAP-\S*Password|EAP-\S*Passphrase)[ \t]*=[ \t]*\S`)
	networkdKey    = regexp.MustCompile(`(?m)^[ \t]*(?:(?:PrivateKey|PresharedKey)[ \t]*=[ \t]*[A-Za-z0-9+]|Key[ \t]*=[ \t]*[0-9a-fA-F]{32})`)
	tunnelKey      = regexp.MustCompile(`-----BEGIN (?:OpenVPN Static key|[A-Z ]*PRIVATE KEY)`)
	ipsecSecret    = regexp.MustCompile(`(?m)^[^#\n]*:[ \t]*(PSK|EAP|XAUTH|NTLM)[ \t]+\S`)
	swanSecret     = regexp.MustCompile(`(?m)^[ \t]*secret\S*[ \t]*=[ \t]*\S`)
	pppSecret      = regexp.MustCompile(`(?m)^[ \t]*[^#\s]\S*[ \t]+\S+[ \t]+\S`)
	sourcePassword = regexp.MustCompile(`(?m)(?:^[ \t]*machine[ \t].*\bpassword[ \t]+\S|^[ \t]*password[ \t=]+[^\s$]|://[^/\s:@"']*:[^/\s@"'${]+@)`)
	directoryBind  = regexp.MustCompile(`(?m)^[ \t]*(ldap_default_authtok|bindpw|rootpwmodpw)[ \t=]+\S`)
	mailPassword   = regexp.MustCompile(`(?m)^[ \t]*(password[ \t]+|[^#\s]\S*[ \t]+\S+:|[^#:\s]+:[^:\s]+:)\S`)
	cifsPassword   = regexp.MustCompile(`(?m)^(?:[^#\n]*[ \t,](?:password|pass)=[^\s,]|[ \t]*password[ \t]*=[ \t]*\S)`)
	interfacesKey  = regexp.MustCompile(`(?m)^[ \t]*(wpa-psk|wpa-password|wireless-key\d?|wpa-private-key-passwd)[ \t]+[^\s/]`)
	imagerPassword = regexp.MustCompile(`(?m)^[ \t]*password[ \t]*=[ \t]*["']\S`)
	imagerAccount  = regexp.MustCompile(`^[^#\s:]+:\S`)
	cephKey        = regexp.MustCompile(`(?m)^[ \t]*key[ \t]*=[ \t]*\S`)
	anything       = regexp.MustCompile(`\S`)
	agentToken     = regexp.MustCompile(`(?mi)^[ \t]*["']?(?:\w+[_-])?(?:token|auth_token|api_?key|license_key|password|secret(?:_?(?:id|key))?|encrypt|private_?key)["']?[ \t]*[:=][ \t]*["']?[^\s"'$#{/,]`)
	bindKey        = regexp.MustCompile(`(?m)^[^#/\n]*\bsecret[ \t]+"?[A-Za-z0-9+/]{16}`)
	iscsiPassword  = regexp.MustCompile(`(?m)^[ \t]*[\w.]*password(?:_in)?[ \t]*=[ \t]*\S`)
	snmpUser       = regexp.MustCompile(`(?m)^[ \t]*(?:createUser|usmUser)[ \t]+\S+[ \t]+\S+[ \t]+\S`)
	azurePassword  = regexp.MustCompile(`<(?:\w+:)?UserPassword>[^<*]`)
)

// networkFiles are where keys and passwords of networks are. Files of cloud-init and
// netplan are YAML and are searched as such.
var networkFiles = []secretFile{
	{"/etc/wireguard/*.conf", wireguardKey, "a key of WireGuard"},
	{"/etc/wireguard/*", bareKey, "a key of WireGuard"},
	{"/etc/NetworkManager/system-connections/*", managerKey, "a password of a network"},
	{"/usr/lib/NetworkManager/system-connections/*", managerKey, "a password of a network"},
	{"/etc/NetworkManager/conf.d/*.conf", managerKey, "a password of a network"},
	{"/etc/wpa_supplicant/*.conf", supplicantKey, "a password of a network"},
	{"/etc/wpa_supplicant.conf", supplicantKey, "a password of a network"},
	{"/boot/wpa_supplicant.conf", supplicantKey, "a password of a network"},
	{"/boot/firmware/wpa_supplicant.conf", supplicantKey, "a password of a network"},
	{"/etc/hostapd/*.conf", supplicantKey, "a password of a network"},
	{"/var/lib/iwd/*", iwdKey, "a password of a network"},
	{"/etc/systemd/network/*.netdev", networkdKey, "a key of a network"},
	{"/etc/systemd/network/*.d/*.conf", networkdKey, "a key of a network"},
	{"/usr/lib/systemd/network/*.netdev", networkdKey, "a key of a network"},
	{"/etc/network/interfaces", interfacesKey, "a password of a network"},
	{"/etc/network/interfaces.d/*", interfacesKey, "a password of a network"},
	{"/etc/openvpn/*", tunnelKey, "a key of a tunnel"},
	{"/etc/openvpn/*/*", tunnelKey, "a key of a tunnel"},
	{"/etc/ipsec.secrets", ipsecSecret, "a secret of IPsec"},
	{"/etc/ipsec.d/*.secrets", ipsecSecret, "a secret of IPsec"},
	{"/etc/ipsec.d/private/*", tunnelKey, "a key of IPsec"},
	{"/etc/swanctl/swanctl.conf", swanSecret, "a secret of IPsec"},
	{"/etc/swanctl/conf.d/*", swanSecret, "a secret of IPsec"},
	{"/etc/swanctl/private/*", tunnelKey, "a key of IPsec"},
	{"/etc/ppp/chap-secrets", pppSecret, "a password of a line"},
	{"/etc/ppp/pap-secrets", pppSecret, "a password of a line"},
	{"/boot/custom.toml", imagerPassword, "a password of a network or an account"},
	{"/boot/firmware/custom.toml", imagerPassword, "a password of a network or an account"},
	{"/boot/userconf", imagerAccount, "a password of an account"},
	{"/boot/userconf.txt", imagerAccount, "a password of an account"},
	{"/boot/firmware/userconf", imagerAccount, "a password of an account"},
	{"/boot/firmware/userconf.txt", imagerAccount, "a password of an account"},
}

// systemFiles are where package managers, directories, mail and the agents of a
// fleet's management have their credentials.
var systemFiles = []secretFile{
	{"/etc/apt/auth.conf", sourcePassword, "a password of a package source"},
	{"/etc/apt/auth.conf.d/*", sourcePassword, "a password of a package source"},
	{"/etc/apt/sources.list", sourcePassword, "a password of a package source"},
	{"/etc/apt/sources.list.d/*", sourcePassword, "a password of a package source"},
	{"/etc/apt/apt.conf.d/*", sourcePassword, "a password of a proxy"},
	{"/etc/yum.repos.d/*", sourcePassword, "a password of a package source"},
	{"/etc/yum.conf", sourcePassword, "a password of a proxy"},
	{"/etc/dnf/dnf.conf", sourcePassword, "a password of a proxy"},
	{"/etc/zypp/credentials.d/*", sourcePassword, "a password of a package source"},
	{"/etc/apk/repositories", sourcePassword, "a password of a package source"},
	{"/etc/pip.conf", sourcePassword, "a password of a package index"},
	{"/etc/npmrc", npmToken, "a token of a package registry"},
	{"/etc/wgetrc", sourcePassword, "a password of a proxy"},
	{"/etc/pki/consumer/key.pem", privateKey, "the machine's identity at its subscription"},
	{"/etc/pki/entitlement/*-key.pem", privateKey, "a key of a subscription"},
	{"/var/lib/ubuntu-advantage/private/*", anything, "the machine's identity at its subscription"},
	{"/etc/sssd/sssd.conf", directoryBind, "a password of a directory"},
	{"/etc/sssd/conf.d/*", directoryBind, "a password of a directory"},
	{"/etc/nslcd.conf", directoryBind, "a password of a directory"},
	{"/etc/ldap.secret", anything, "a password of a directory"},
	{"/etc/msmtprc", mailPassword, "a password of a mail server"},
	{"/etc/postfix/sasl_passwd", mailPassword, "a password of a mail server"},
	{"/etc/fstab", cifsPassword, "a password of a file server"},
	{"/etc/samba/credentials", cifsPassword, "a password of a file server"},
	{"/etc/salt/pki/minion/minion.pem", privateKey, "the machine's identity at its management"},
	{"/etc/puppetlabs/puppet/ssl/private_keys/*", privateKey, "the machine's identity at its management"},
	{"/etc/chef/*.pem", privateKey, "the machine's identity at its management"},
	{"/etc/kubernetes/*.conf", clusterKey, "a key of a cluster"},
	{"/etc/pve/priv/*", privateKey, "a private key"},
	{"/etc/credstore/*", anything, "a credential for services"},
	{"/etc/cryptsetup-keys.d/*", anything, "the key of a disk"},
	{"/etc/krb5.keytab", anything, "the machine's identity in a directory"},
	{"/etc/munge/munge.key", anything, "the key of a cluster"},
	{"/.docker/config.json", registryPassword, "a registry's password"},
	{"/etc/containers/auth.json", registryPassword, "a registry's password"},
	{"/var/lib/rancher/agent/*.json", anything, "the machine's identity at Rancher"},
	{"/etc/gitlab-runner/config.toml", agentToken, "a token of a runner"},
	{"/opt/actions-runner/.credentials*", anything, "a token of a runner"},
	{"/etc/teleport.yaml", agentToken, "a token of an access proxy"},
	{"/var/lib/zerotier-one/*.secret", anything, "the machine's identity in a VPN"},
	{"/etc/netbird/config.json", agentToken, "the machine's identity in a VPN"},
	{"/var/lib/netbird/*.json", agentToken, "the machine's identity in a VPN"},
	{"/etc/nebula/*.key", privateKey, "the machine's identity in a VPN"},
	{"/etc/datadog-agent/datadog.yaml", agentToken, "a key of a monitoring service"},
	{"/etc/newrelic-infra.yml", agentToken, "a key of a monitoring service"},
	{"/etc/telegraf/telegraf.conf", agentToken, "a password of a monitoring service"},
	{"/etc/telegraf/telegraf.d/*.conf", agentToken, "a password of a monitoring service"},
	{"/etc/filebeat/filebeat.yml", agentToken, "a password of a monitoring service"},
	{"/etc/zabbix/*.psk", anything, "a key of a monitoring service"},
	{"/var/ossec/etc/client.keys", anything, "the machine's identity at its monitoring"},
	{"/etc/crowdsec/*credentials.yaml", agentToken, "a password of a monitoring service"},
	{"/etc/osquery/osquery.secret", anything, "a secret of a monitoring service"},
	{"/opt/orbit/secret.txt", anything, "a secret of a monitoring service"},
	{"/opt/CrowdStrike/falconstore", anything, "the machine's identity at its monitoring"},
	{"/etc/consul.d/*", agentToken, "a key of the fleet's management"},
	{"/etc/nomad.d/*", agentToken, "a token of the fleet's management"},
	{"/etc/vault.d/*", agentToken, "a token of the fleet's management"},
	{"/var/lib/amazon/ssm/Vault/Store/*", anything, "the machine's identity at its management"},
	{"/var/lib/waagent/*.prv", anything, "the machine's identity at its management"},
	{"/var/lib/waagent/ovf-env.xml", azurePassword, "a password of an account"},
	{"/etc/letsencrypt/archive/*/privkey*.pem", privateKey, "the key of a certificate"},
	{"/etc/cloudflared/*.json", anything, "the machine's identity at a tunnel"},
	{"/etc/ddclient.conf", agentToken, "a password of a DNS service"},
	{"/etc/exim4/passwd.client", mailPassword, "a password of a mail server"},
	{"/etc/iscsi/iscsid.conf", iscsiPassword, "a password of a file server"},
	{"/etc/nut/upsd.users", agentToken, "a password of an account"},
	{"/etc/bind/*.key", bindKey, "a key of a DNS server"},
	{"/etc/snmp/snmpd.conf", snmpUser, "a password of an account"},
	{"/var/lib/snmp/snmpd.conf", snmpUser, "a password of an account"},
	{"/root/.ceph/*", cephKey, "a key of a storage cluster"},
	{"/etc/ceph/*.keyring", cephKey, "a key of a storage cluster"},
}

// networkDocuments are files in netplan's form, cloud-init's own among them.
var networkDocuments = []string{
	"/etc/netplan/*.yaml", "/usr/lib/netplan/*.yaml", "/lib/netplan/*.yaml", "/var/lib/cloud/seed/*/network-config", "/boot/firmware/network-config", "/boot/network-config",
}

// networkNames are netplan's keys for secrets; what names a file is none.
var networkNames = []string{"password", "psk", "private", "shared", "private-key", "preshared-key", "client-key-password", "key"}

// logFiles are what an installation, cloud-init and sudo tell of what they did, and
// the answers that the installer was given.
var logFiles = []string{
	"/var/log/cloud-init.log", "/var/log/cloud-init-output.log", "/var/log/installer/*", "/var/log/installer/*/*", "/var/log/anaconda/*", "/var/log/auth.log",
	"/var/log/secure", debconfPasswords, "/root/install.log*", "/var/log/firstboot.log",
}

// debconfPasswords is where debconf keeps answers that are passwords, and nothing else.
const debconfPasswords = "/var/cache/debconf/passwords.dat" //nolint:gosec // a path, no password

// Texts that are secrets in logs.
var (
	madePasswords = regexp.MustCompile(`Set the following 'random' passwords`)
	passwordHash  = regexp.MustCompile(`\$(?:1|2[aby]|5|6|7|y|gy)\$[./A-Za-z0-9$,=]{20,}`)
)

// picksMatching asks for all files that match patterns, with their content.
func picksMatching(patterns []string) node.Query {
	var q node.Query
	for _, p := range patterns {
		dir, depth := patternRoot(p)
		q = append(q, node.Pick{Path: dir, Depth: depth, Content: true})
	}
	return compact(q)
}

// placesMatching asks for all that matches patterns, without its content.
func placesMatching(patterns []string) node.Query {
	q := picksMatching(patterns)
	for i := range q {
		q[i].Content = false
	}
	return q
}

func patternsOf(files []secretFile) []string {
	var out []string
	for _, f := range files {
		out = append(out, f.path)
	}
	return out
}

// filesMatching are the files that match a pattern, with their content.
func (x *examination) filesMatching(pattern string) ([]node.Entry, string) {
	entries, problem := gone{}.entries(x, pattern)
	if problem != "" {
		return nil, problem
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Path)
	}
	return x.files(names...)
}

// secretsIn searches files of a table.
func (x *examination) secretsIn(table []secretFile) ([]Evidence, string) {
	var out []Evidence
	left := allowance(maxSearched)
	for _, row := range table {
		files, problem := x.filesMatching(row.path)
		if problem != "" {
			return nil, problem
		}
		for _, f := range files {
			if problem := left.take(f.Path, len(f.Data), "files that may hold keys and passwords"); problem != "" {
				return nil, problem
			}
			if row.is != bareKey || !strings.Contains(strings.ToLower(path.Base(f.Path)), "pub") {
				out = alsoFound(out, row.finds(f))
			}
		}
	}
	return out, ""
}

func (x *examination) secretsInNetwork() ([]Evidence, string) {
	out, problem := x.secretsIn(networkFiles)
	if problem != "" {
		return nil, problem
	}
	left := allowance(maxSearched)
	for _, pattern := range networkDocuments {
		files, problem := x.filesMatching(pattern)
		if problem != "" {
			return nil, problem
		}
		for _, f := range files {
			if problem := left.take(f.Path, len(f.Data), "networks' documents"); problem != "" {
				return nil, problem
			}
			var doc yaml.Node
			if yaml.Unmarshal(f.Data, &doc) != nil {
				return nil, f.Path + " is not valid YAML, so it cannot be searched"
			}
			out = append(out, networkValues(f.Path, &doc)...)
		}
	}
	return out, ""
}

// networkValues finds netplan's secrets; the key of a tunnel of another kind than
// WireGuard's is a number, and a key may be named by its file.
func networkValues(file string, n *yaml.Node) []Evidence {
	var out []Evidence
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if value.Kind != yaml.ScalarNode || value.Value == "" || value.Tag == "!!null" || path.IsAbs(value.Value) || !slices.Contains(networkNames, strings.ToLower(key.Value)) {
			continue
		}
		if key.Value != "key" || bareKey.MatchString(value.Value) {
			out = append(out, Evidence{Source: file, Line: key.Line, Detail: key.Value + " has a value (not shown)"})
		}
	}
	for _, c := range n.Content {
		out = append(out, networkValues(file, c)...)
	}
	return out
}

func (x *examination) secretsInServices() ([]Evidence, string) { return x.secretsIn(systemFiles) }

func (x *examination) secretsInLogs() ([]Evidence, string) {
	var out []Evidence
	left := allowance(maxSearched)
	for _, pattern := range logFiles {
		files, problem := x.filesMatching(pattern)
		if problem != "" {
			return nil, problem
		}
		for _, f := range files {
			if problem := left.take(f.Path, len(f.Data), "logs"); problem != "" {
				return nil, problem
			}
			if strings.HasSuffix(f.Path, ".dat") {
				out = append(out, debconfValues(f)...)
				continue
			}
			out = alsoFound(out, looksOfSecrets(f.Path, f.Data))
			for _, is := range []secretFile{{is: madePasswords, says: "passwords that cloud-init made up"}, {is: passwordHash, says: "the hash of a password"}} {
				out = alsoFound(out, is.finds(f))
			}
			out = alsoFound(out, assignedSecrets(f.Path, f.Data))
			out = alsoFound(out, credentialURLs(f.Path, f.Data))
		}
	}
	return out, ""
}

// passwordQuestion is the name of a question whose answer is a password.
var passwordQuestion = regexp.MustCompile(`(?i)passw|passphrase|secret|psk|token`)

// debconfValues finds passwords among the answers that an installer or debconf
// keeps: records of a Name, a Template and, where there is an answer, a Value.
func debconfValues(f node.Entry) []Evidence {
	var out []Evidence
	name, line := "", 0
	for text := range strings.Lines(string(f.Data)) {
		line++
		field, value, _ := strings.Cut(text, ":")
		value = strings.TrimSpace(value)
		switch {
		case field == "Name":
			name = value
		case field == "Value" && value != "" && value != "true" && value != "false" && (f.Path == debconfPasswords || passwordQuestion.MatchString(name)):
			out = append(out, Evidence{Source: f.Path, Line: line, Detail: "the answer to a question for a password (not shown)"})
		}
	}
	return out
}
