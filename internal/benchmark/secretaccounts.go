package benchmark

import (
	"bytes"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// secretFile is a kind of files that hold credentials only sometimes, and what in
// them is one.
type secretFile struct {
	// path is a pattern of path.Match, below a home directory or absolute.
	path string
	is   *regexp.Regexp
	says string
}

// finds is the line of the first credential in a file.
func (s secretFile) finds(f node.Entry) []Evidence {
	at := s.is.FindIndex(f.Data)
	if at == nil {
		return nil
	}
	first := at[0]
	for first < at[1] && strings.IndexByte(" \t\r\n", f.Data[first]) >= 0 { // blank lines before it
		first++
	}
	line := 1 + bytes.Count(f.Data[:first], []byte("\n"))
	return []Evidence{{Source: f.Path, Line: line, Detail: s.says + " (not shown)"}}
}

// What in files of accounts is a credential.
var (
	npmToken         = regexp.MustCompile(`(?m)(_authToken|_auth|_password)[ \t]*=[ \t]*[^\s$]`)
	clusterKey       = regexp.MustCompile(`(?m)^[\s-]*["']?client-key-data["']?\s*:\s*["']?[A-Za-z0-9+/]`)
	registryPassword = regexp.MustCompile(`"(auth|identitytoken|password|registrytoken)"\s*:\s*"[^"]+"`)
	kickstart        = regexp.MustCompile(`(?m)^\s*(rootpw\s+(--iscrypted\s+|--plaintext\s+)*[^\s-]|user\s.*--password=\S)`)
	tokenSetting     = regexp.MustCompile(`(?m)^\s*(access-|oauth_|auth_)?token\s*[=:]\s*["']?[^\s"'$]`)
	cloudSecret      = regexp.MustCompile(`(?m)^\s*(aws_secret_access_key|aws_session_token|gs_secret_access_key|gs_oauth2_refresh_token|secret_key|secret_access_key|access_token|client_secret)\s*=\s*[^\s$]`)
	passwordSetting  = regexp.MustCompile(`(?m)^\s*password\s*[:=]\s*[^\s$]`)
)

var accountFiles = []secretFile{
	{".docker/config.json", registryPassword, "a registry's password"},
	{".config/containers/auth.json", registryPassword, "a registry's password"},
	{".npmrc", npmToken, "a token of a package registry"},
	{".config/pip/pip.conf", credentialURL, "a password of a package index"},
	{".pip/pip.conf", credentialURL, "a password of a package index"},
	{"anaconda-ks.cfg", kickstart, "a password of the installation"},
	{"original-ks.cfg", kickstart, "a password of the installation"},
	{".pypirc", passwordSetting, "a password of a package index"},
	{".cargo/credentials*", tokenSetting, "a token of a package registry"},
	{".m2/settings.xml", regexp.MustCompile(`<(password|passphrase)>\s*[^<$\s{]`), "a password of a package registry"},
	{".aws/config", cloudSecret, "a secret of a cloud account"},
	{".s3cfg", cloudSecret, "a secret of a cloud account"},
	{".boto", cloudSecret, "a secret of a cloud account"},
	{".config/rclone/rclone.conf", regexp.MustCompile(`(?m)^\s*(secret_access_key|pass|password|token|client_secret|key)\s*=\s*\S`), "a secret of a cloud account"},
	{".oci/*.pem", privateKey, "a private key of a cloud account"},
	{".config/hcloud/cli.toml", tokenSetting, "a token of a cloud account"},
	{".config/doctl/config.yaml", tokenSetting, "a token of a cloud account"},
	{".config/glab-cli/config.yml", tokenSetting, "a token of a forge"},
	{".config/hub", tokenSetting, "a token of a forge"},
	{".terraformrc", tokenSetting, "a token of a registry of modules"},
	{"*.json", regexp.MustCompile(`"private_key"\s*:\s*"-----BEGIN`), "a private key of a service account"},
	{"*.pem", privateKey, "a private key"},
	{"*key*", privateKey, "a private key"},
	{"id_*", privateKey, "a private key"},
	{"*.ppk", regexp.MustCompile(`^PuTTY-User-Key-File`), "a private key"},
	{"*.y*ml", clusterKey, "a key of a cluster"},
	{"*kubeconfig", regexp.MustCompile(`(?m)^[\s-]*["']?(client-key-data|token)["']?\s*:\s*["']?[A-Za-z0-9+/]`), "a key of a cluster"},
	{".my.cnf", passwordSetting, "a password of a database"},
	{".pgpass", regexp.MustCompile(`(?m)^[^#\s:][^:\n]*:[^:\n]*:[^:\n]*:[^:\n]*:\S`), "a password of a database"},
	{".vault_pass*", regexp.MustCompile(`(?m)^[^#\s]`), "a password of a vault"},
}

// shellFiles are what shells read at the logins of an account, or beside a program.
var shellFiles = []string{".env", ".profile", ".bash_profile", ".bashrc", ".zshrc", ".zshenv", ".pam_environment"}

// maxAccountFile is how large a file may be that a pattern alone brings up for a
// credential, in bytes; none is as large.
const maxAccountFile = 1 << 20

// skeleton is what the home directory of a new account is made of.
const skeleton = "/etc/skel"

// fromSkeleton says whether a file of a home directory that was not read is as long as
// the one that it was made from, which is judged in its place: a secret that was added
// makes it longer. Nearly every account has such files, and another command would be
// needed to read them.
func (x *examination) fromSkeleton(e node.Entry) bool {
	s, presence := x.node().Lookup(path.Join(skeleton, path.Base(e.Path)))
	return e.Data == nil && path.Dir(e.Path) != skeleton && presence == node.Present && s.Kind == node.KindFile && s.Unread == "" && s.Size == e.Size
}

// sshKeyFiles are all that may be a private key of an account.
const sshKeyFiles = ".ssh/*"

// usualHomes are the directories that people and builds have files in.
var usualHomes = []string{"/root", "/home/*"}

// homes are those, and the directories of accounts that live elsewhere.
func (x *examination) homes() []string { return slices.Concat(usualHomes, x.otherHomes()) }

// otherHomes are the directories of accounts that can log in and live elsewhere.
func (x *examination) otherHomes() []string {
	var out []string
	files, _ := x.files(accountFile) // without it, a control of its own is an error
	for _, f := range files {
		for text := range strings.Lines(string(f.Data)) {
			fields := strings.Split(strings.TrimSpace(text), ":")
			if len(fields) != 7 {
				continue
			}
			home, shell := fields[5], path.Base(fields[6])
			usual := home == "/root" || path.Dir(home) == "/home"
			if !usual && strings.Count(home, "/") > 1 && path.IsAbs(home) && path.Clean(home) == home && !strings.ContainsAny(home, `*?[\`) && !slices.Contains([]string{"nologin", "false", "sync", "halt", "shutdown"}, shell) {
				out = append(out, home)
			}
		}
	}
	return out
}

// elsewhere asks for the files of accounts that do not live in the usual place.
func (x *examination) elsewhere() node.Query {
	var q node.Query
	for _, home := range x.otherHomes() {
		q = append(q, node.Pick{Path: home, Depth: 1}, node.Pick{Path: path.Join(home, ".ssh"), Depth: 1})
		for _, f := range accountFiles {
			if dir := path.Dir(f.path); dir != "." {
				q = append(q, node.Pick{Path: path.Join(home, dir), Depth: 1})
			}
		}
	}
	return q
}

// accounts lists the files of accounts that are there and may hold credentials.
func (x *examination) accounts() []string {
	var out []string
	patterns := slices.Concat([]string{sshKeyFiles}, shellFiles, patternsOf(accountFiles))
	for _, home := range append(x.homes(), skeleton) {
		dir, _ := patternRoot(home)
		for _, e := range x.node().Below(dir) {
			if e.Kind != node.KindFile || x.fromSkeleton(e) {
				continue
			}
			if slices.ContainsFunc(patterns, func(name string) bool {
				ok, _ := path.Match(path.Join(home, name), e.Path)
				large := e.Size > maxAccountFile || e.Unread == node.UnreadLarge
				return ok && (!large || !strings.Contains(name, "*"))
			}) {
				out = append(out, e.Path)
			}
		}
	}
	return out
}

func (x *examination) secretsInAccounts() ([]Evidence, string) {
	for _, p := range x.elsewhere() { // /root and /home are asked for without an account
		if _, presence := x.node().Lookup(p.Path); presence == node.Unknown && x.node().Hidden(p.Path) == "" {
			return nil, x.unseen(p.Path)
		}
	}
	files, problem := x.files(x.accounts()...)
	if problem != "" {
		return nil, problem
	}
	var out []Evidence
	homes, left := append(x.homes(), skeleton), allowance(maxSearched)
	for _, f := range files {
		if problem := left.take(f.Path, len(f.Data), "accounts' files"); problem != "" {
			return nil, problem
		}
		for _, home := range homes {
			is := func(pattern string) bool {
				ok, _ := path.Match(path.Join(home, pattern), f.Path)
				return ok
			}
			if is(sshKeyFiles) && privateKey.Match(f.Data) {
				out = append(out, Evidence{Source: f.Path, Line: 1, Detail: "a private key (not shown)"})
			}
			if slices.ContainsFunc(shellFiles, is) {
				out = alsoFound(out, assignedSecrets(f.Path, f.Data))
			}
			for _, a := range accountFiles {
				if is(a.path) {
					out = alsoFound(out, a.finds(f))
				}
			}
		}
	}
	for _, search := range []func() ([]Evidence, string){x.passwords, x.sudoWithoutPassword, x.doasWithoutPassword, x.keysThatLogIn} {
		found, problem := search()
		if problem != "" {
			return nil, problem
		}
		out = append(out, found...)
	}
	return out, ""
}

// Where sshd is configured.
var sshdConfigurations = []node.Pick{
	{Path: "/etc/ssh/sshd_config", Content: true},
	{Path: "/etc/ssh/sshd_config.d", Depth: 1, Content: true},
	{Path: "/usr/etc/ssh/sshd_config", Content: true},
	{Path: "/usr/etc/ssh/sshd_config.d", Depth: 1, Content: true},
}

// keyFiles are patterns of files outside the usual one of each account that
// distributions and builds have sshd take keys from.
var keyFiles = []string{
	"/etc/ssh/authorized_keys", "/etc/ssh/authorized_keys/*", "/etc/ssh/authorized_keys.d/*", "/etc/dropbear/authorized_keys",
	"/root/.ssh/authorized_keys.d/*", "/home/*/.ssh/authorized_keys.d/*",
}

// keysFile is the setting that names such files (sshd_config(5)).
var keysFile = regexp.MustCompile(`(?im)^[ \t]*AuthorizedKeysFile(?:[ \t]*=[ \t]*|[ \t]+)([^\n#]+)`)

// keyPatterns are the files of keys that let somebody log in: the known ones, those
// of accounts elsewhere, and what sshd's own configuration names.
func (x *examination) keyPatterns() ([]string, string) {
	out := slices.Clone(keyFiles)
	for _, home := range x.otherHomes() {
		out = append(out, path.Join(home, ".ssh/authorized_keys"), path.Join(home, ".ssh/authorized_keys2"))
	}
	files, problem := x.filesOf(sshdConfigurations)
	if problem != "" {
		return nil, problem
	}
	for _, f := range files {
		for _, m := range keysFile.FindAllSubmatch(f.Data, -1) {
			for _, name := range strings.Fields(string(m[1])) {
				patterns, problem := x.keyPattern(strings.Trim(name, `"`))
				if problem != "" {
					return nil, f.Path + ": " + problem
				}
				out = append(out, patterns...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), ""
}

// keyPattern are the patterns of one value of AuthorizedKeysFile, in which %u is the
// account's name, %U its number and %h its home directory. That each account's usual
// file is empty is another expectation.
func (x *examination) keyPattern(name string) (patterns []string, problem string) {
	if base := strings.TrimPrefix(name, "%h/"); name == "none" || base == ".ssh/authorized_keys" || base == ".ssh/authorized_keys2" {
		return nil, ""
	}
	name = strings.NewReplacer("%u", "*", "%U", "*", "%%", "%").Replace(name)
	home, below := strings.CutPrefix(name, "%h")
	if !below && path.IsAbs(name) {
		if dir, _ := patternRoot(name); dir == "/" {
			return nil, "AuthorizedKeysFile names files all over the node, which are not searched: have them below one directory"
		}
		return []string{path.Clean(name)}, ""
	}
	for _, dir := range x.homes() {
		patterns = append(patterns, path.Join(dir, home))
	}
	return patterns, ""
}

// keyQuery asks for the files of keys that sshd's configuration names.
func (x *examination) keyQuery() node.Query {
	patterns, _ := x.keyPatterns() // where that is not known, the control says so
	var q node.Query
	for _, p := range patterns {
		dir, depth := patternRoot(p)
		q = append(q, node.Pick{Path: dir, Depth: depth})
	}
	return q
}

// keysThatLogIn finds keys for logging in outside the accounts' own directories.
func (x *examination) keysThatLogIn() ([]Evidence, string) {
	patterns, problem := x.keyPatterns()
	if problem != "" {
		return nil, problem
	}
	var out []Evidence
	for _, p := range patterns {
		entries, problem := gone{}.entries(x, p)
		if problem != "" {
			return nil, problem
		}
		for _, e := range entries {
			if e.Kind == node.KindDirectory || e.Kind == node.KindFile && e.Size == 0 {
				continue
			}
			out = alsoFound(out, []Evidence{{Source: e.Path, Line: 1, Detail: "has keys that " + safetext.Name(path.Base(e.Path)) + " or others can log in with"}})
		}
	}
	return out, ""
}
