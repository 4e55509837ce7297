package boot_test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/boot"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

const (
	config   = "/etc/rancher/k3s/config.yaml"
	dropIn   = "/etc/rancher/k3s/config.yaml.d/99-x.yaml"
	manifest = "/var/lib/rancher/k3s/server/manifests/policy.yaml"
)

// judged are what the trees of the tests have to be changed.
func judged() []node.Entry {
	out := []node.Entry{
		{Path: config, Kind: node.KindFile, Mode: 0o600, Data: []byte("x: y\n")},
		{Path: manifest, Kind: node.KindFile, Mode: 0o600, Data: []byte("kind: x\n")},
		{Path: "/etc/passwd", Kind: node.KindFile, Mode: 0o644, Data: []byte("root:x:0:0::/root:/bin/sh\n")},
	}
	for _, dir := range []string{"/etc", "/etc/rancher", "/etc/rancher/k3s", "/var/lib/rancher/k3s", "/var/lib/rancher/k3s/server", "/var/lib/rancher/k3s/server/manifests"} {
		out = append(out, node.Entry{Path: dir, Kind: node.KindDirectory, Mode: 0o700})
	}
	return out
}

// read reads a tree in which one more file is.
func read(file string, mode fs.FileMode, text string, more ...node.Entry) (*node.Node, *boot.Changes) {
	q := append(boot.Query(), node.Query{
		{Path: "/etc/rancher", Depth: node.Deep, Content: true},
		{Path: "/var/lib/rancher", Depth: node.Deep, Content: true},
		{Path: "/etc"},
		{Path: "/etc/passwd", Content: true},
		{Path: "/usr/local/sbin/tune", Content: true},
	}...)
	entries := append(judged(), node.Entry{Path: file, Kind: node.KindFile, Mode: mode, Data: []byte(text), Size: int64(len(text))})
	n := node.New(q, append(entries, more...))
	return n, boot.Read(n)
}

// kernel is the only parameter of the tests.
const kernel = "vm.overcommit_memory"

func TestParametersWrittenAtBoot(t *testing.T) {
	for _, c := range []struct {
		file string
		mode fs.FileMode
		text string
		// want is the value written, "?" one that is not known, "" none.
		want string
	}{
		{"/etc/tmpfiles.d/x.conf", 0o644, "w /proc/sys/vm/overcommit_memory - - - - 0\n", "0"},
		{"/etc/tmpfiles.d/x.conf", 0o644, "w! /proc/sys/vm/overcommit_memory - - - - 0\n", "0"},
		{"/etc/tmpfiles.d/x.conf", 0o644, "w+ /proc/sys/vm/overcommit_memory - - - - 2\\n\n", "2"},
		{"/etc/tmpfiles.d/x.conf", 0o644, "w /proc/sys/vm/{overcommit_memory,panic_on_oom} - - - - 0\n", "0"},
		{"/etc/tmpfiles.d/x.conf", 0o644, "w /proc/sys/vm/overcommit_* - - - - 0\n", "0"},
		{"/etc/tmpfiles.d/x.conf", 0o644, "w \"/proc/sys//vm/./overcommit_memory\" - - - - 0\n", "0"},
		{"/usr/lib/tmpfiles.d/x.conf", 0o644, "f+ /proc/sys/vm/overcommit_memory - - - - 0\n", "0"},
		{"/etc/tmpfiles.d/x.txt", 0o644, "w /proc/sys/vm/overcommit_memory - - - - 0\n", ""},
		{"/etc/tmpfiles.d/x.conf", 0o644, "# w /proc/sys/vm/overcommit_memory - - - - 0\n", ""},
		{"/etc/tmpfiles.d/x.conf", 0o644, "w /proc/sys/vm/swappiness - - - - 0\n", ""},
		{"/etc/rc.local", 0o755, "#!/bin/sh\nsysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/rc.local", 0o755, "#!/bin/sh\n/sbin/sysctl -qe vm/overcommit_memory=0 kernel.panic=10\n", "0"},
		{"/etc/rc.local", 0o644, "#!/bin/sh\nsysctl -w vm.overcommit_memory=0\n", ""},
		{"/etc/rc.local", 0o755, "#!/bin/sh\n# sysctl -w vm.overcommit_memory=0\nsysctl -n vm.overcommit_memory\ncat /proc/sys/vm/overcommit_memory\n", ""},
		{"/etc/rc.local", 0o755, "#!/bin/sh\nV=0\nsudo -n sysctl -w vm.overcommit_memory=$V\n", "0"},
		{"/etc/rc.local", 0o755, "#!/bin/sh\nsysctl -w vm.overcommit_memory=$(cat /x)\n", "?"},
		{"/etc/rc.local", 0o755, "#!/bin/sh\nif true; then\n echo 0 > /proc/sys/vm/overcommit_memory\nfi\n", "0"},
		{"/etc/rc.local", 0o755, "#!/bin/sh\necho 0 | tee /proc/sys/vm/overcommit_memory >/dev/null\n", "0"},
		{"/etc/rc.local", 0o755, "#!/bin/sh\nprintf '%s\\n' 0 >/proc/sys/vm/overcommit_memory\n", "0"},
		{"/etc/rc.local", 0o755, "#!/bin/sh\ncat /x > /proc/sys/vm/overcommit_memory\n", "?"},
		{"/etc/rc.local", 0o755, "#!/bin/sh\ncd /proc/sys/vm && echo 1 > overcommit_memory\n", "1"},
		{"/etc/rc.local", 0o755, "#!/bin/bash\necho vm.overcommit_memory = 0 | sysctl -p -\n", "0"},
		{"/etc/rc.local", 0o755, "#!/bin/sh\nset_it() { sysctl -w \"$1=$2\"; }\nset_it vm.overcommit_memory 0\n", "0"},
		{"/etc/rc.local", 0o755, "#!/bin/sh\nfor kv in vm.overcommit_memory=0 kernel.panic=0; do sysctl -w $kv; done\n", "0"},
		{"/etc/rc.local", 0o755, "#!/bin/sh\nsh <<EOF\nsysctl -w vm.overcommit_memory=0\nEOF\n", "0"},
		{"/etc/rc.local", 0o755, "#!/bin/sh\nf() { f; sysctl -w vm.overcommit_memory=0; }\nf\n", "0"},
		{"/etc/rc.local", 0o755, "#!/usr/bin/python3\nopen('/proc/sys/vm/overcommit_memory', 'w').write('0')\n", "?"},
		{"/etc/rc.local", 0o755, "#!/bin/sh\nsh -c 'sysctl -w vm.overcommit_memory=0'\n", "0"},
		{"/etc/rc.local", 0o755, "#!/bin/sh\n(((\nsysctl -w vm.overcommit_memory=0\n", "?"},
		{"/etc/local.d/x.start", 0o755, "sysctl vm.overcommit_memory=0\n", "0"},
		{"/etc/init.d/tune", 0o755, "#!/sbin/openrc-run\nstart() {\n\tsysctl -w vm.overcommit_memory=0\n}\n", "0"},
		{"/etc/crontab", 0o644, "@reboot root sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/cron.d/x", 0o644, "*/5 * * * * root /sbin/sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/cron.d/x", 0o644, "# @reboot root sysctl -w vm.overcommit_memory=0\nMAILTO=root\n", ""},
		{"/var/spool/cron/crontabs/root", 0o600, "@reboot sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/var/spool/at/a0001", 0o700, "#!/bin/sh\nsysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/crontabs/root", 0o600, "0 0 * * * sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/cron.daily/x", 0o755, "#!/bin/sh\nsysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/udev/rules.d/9.rules", 0o644, "ACTION==\"add\", RUN+=\"/sbin/sysctl -w vm.overcommit_memory=0\"\n", "0"},
		{"/etc/udev/rules.d/9.rules", 0o644, "ACTION==\"add\", RUN+=\"/bin/sh -c 'echo 0 > /proc/sys/vm/overcommit_memory'\"\n", "0"},
		{"/etc/udev/rules.d/9.rules", 0o644, "KERNEL==\"*\", SYSCTL{vm/overcommit_memory}=\"0\"\n", "0"},
		{"/etc/udev/rules.d/9.rules", 0o644, "KERNEL==\"*\", SYSCTL{vm/overcommit_memory}==\"0\"\n", ""},
		{"/etc/modprobe.d/x.conf", 0o644, "install br_netfilter /sbin/modprobe --ignore-install br_netfilter; /sbin/sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/systemd/system/x.service", 0o644, "[Service]\nExecStart=/sbin/sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/systemd/system/x.service", 0o644, "[Service]\nExecStart=-/bin/sh -c 'V=0; echo $$V > /proc/sys/vm/overcommit_memory'\n", "0"},
		{"/etc/systemd/system/k3s.service.d/9.conf", 0o644, "[Service]\nExecStartPre=/sbin/sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/systemd/system/x.service", 0o644, "[Unit]\nExecStart=/sbin/sysctl -w vm.overcommit_memory=0\n", ""},
		{"/etc/cloud/cloud.cfg.d/9.cfg", 0o644, "bootcmd:\n- [sysctl, -w, vm.overcommit_memory=0]\n", "0"},
		{"/etc/cloud/cloud.cfg.d/9.cfg", 0o644, "runcmd:\n- sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/tuned/x/tuned.conf", 0o644, "[main]\nsummary=x\n[sysctl]\nvm.overcommit_memory = 0\n", "0"},
		{"/etc/tuned/x/tuned.conf", 0o644, "[sysctl]\nvm.swappiness = 0\n", ""},
		{"/etc/network/if-up.d/x", 0o755, "#!/bin/sh\nsysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/network/interfaces", 0o644, "iface eth0 inet dhcp\n  post-up sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/var/lib/cloud/scripts/per-boot/x.sh", 0o755, "#!/bin/sh\nsysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/apt/apt.conf.d/99x", 0o644, "DPkg::Post-Invoke {\"sysctl -w vm.overcommit_memory=0\"; };\n", "0"},
		{"/etc/apt/apt.conf.d/99x", 0o644, "// first\n/* a\n \"b\" */\nAPT { Update { Pre-Invoke { \"true\";\n  \"sysctl -w vm.overcommit_memory=0 || true\"; }; }; };\n", "0"},
		{"/etc/apt/apt.conf.d/99x.conf", 0o644, "APT::Update::Post-Invoke-Success:: \"sh -c \\\"sysctl -w vm.overcommit_memory=0\\\"\";\n", "0"},
		{"/etc/apt/apt.conf", 0o644, "dpkg::pre-install-pkgs {\"sysctl -w vm.overcommit_memory=0\"};\n", "0"},
		{"/etc/apt/apt.conf.d/99x", 0o644, "# DPkg::Post-Invoke {\"sysctl -w vm.overcommit_memory=0\"; };\n// DPkg::Post-Invoke {\"sysctl -w vm.overcommit_memory=0\"; };\n", ""},
		{"/etc/apt/apt.conf.d/99x", 0o644, "Acquire::http::User-Agent \"sysctl -w vm.overcommit_memory=0\";\nDPkg::Post-Invoke {\"true\"; };\nDPkg::Options {\"sysctl -w vm.overcommit_memory=0\"; };\n", ""},
		{"/etc/apt/apt.conf.d/99x.dpkg-old", 0o644, "DPkg::Post-Invoke {\"sysctl -w vm.overcommit_memory=0\"; };\n", ""},
		{"/etc/dpkg/dpkg.cfg.d/x", 0o644, "post-invoke=\"sysctl -w vm.overcommit_memory=0\"\n", "0"},
		{"/etc/dpkg/dpkg.cfg.d/x", 0o644, "#post-invoke=\"sysctl -w vm.overcommit_memory=0\"\nforce-unsafe-io\n", ""},
		{"/etc/dnf/plugins/post-transaction-actions.d/x.action", 0o644, "*:any:sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/dnf/libdnf5-plugins/actions.d/x.actions", 0o644, "post_transaction:*::enabled=host-only:/usr/sbin/sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/pacman.d/hooks/x.hook", 0o644, "[Trigger]\nOperation = Upgrade\n[Action]\nExec = /usr/bin/sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/apk/commit_hooks.d/x", 0o755, "#!/bin/sh\nsysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/kernel/postinst.d/x", 0o755, "#!/bin/sh\nsysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/profile.d/x.sh", 0o644, "sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/profile.d/x.csh", 0o644, "sysctl -w vm.overcommit_memory=0\n", ""},
		{"/root/.bashrc", 0o644, "[ -z \"$PS1\" ] && return\nsysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/update-motd.d/99-x", 0o755, "#!/bin/sh\nsysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/update-motd.d/99-x", 0o644, "#!/bin/sh\nsysctl -w vm.overcommit_memory=0\n", ""},
		{"/etc/pam.d/sshd", 0o644, "session optional pam_exec.so quiet log=/x /sbin/sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/pam.d/sshd", 0o644, "#session optional pam_exec.so /sbin/sysctl -w vm.overcommit_memory=0\nsession required pam_limits.so\n", ""},
		{"/etc/wireguard/wg0.conf", 0o600, "[Interface]\nPostUp = sysctl -w vm.overcommit_memory=0; iptables -A FORWARD -i %i\n", "0"},
		{"/etc/openvpn/server/x.conf", 0o600, "script-security 2\nup \"/bin/sh -c 'sysctl -w vm.overcommit_memory=0'\"\n", "0"},
		{"/etc/keepalived/keepalived.conf", 0o600, "vrrp_instance k {\n  notify_master \"/sbin/sysctl -w vm.overcommit_memory=0\"\n}\n", "0"},
		{"/etc/inittab", 0o644, "::sysinit:/sbin/openrc sysinit\n::once:/sbin/sysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/inittab", 0o644, "::sysinit:/sbin/openrc sysinit\ntty1::respawn:/sbin/getty 38400 tty1\n", ""},
		{"/etc/conf.d/x", 0o644, "rc_need=net\nsysctl -w vm.overcommit_memory=0\n", "0"},
		{"/etc/rc.conf", 0o644, "rc_parallel=NO\nstart_pre() { sysctl -w vm.overcommit_memory=0; }\n", "0"},
		{"/boot/firmware/firstrun.sh", 0o755, "#!/bin/bash\nset +e\nsysctl -w vm.overcommit_memory=0\n", "0"},
	} {
		t.Run(c.file+" "+c.text, func(t *testing.T) {
			_, changes := read(c.file, c.mode, c.text)
			require.NoError(t, changes.Err())
			got := changes.Kernel(kernel)
			if c.want == "" {
				assert.Empty(t, got)
				return
			}
			require.NotEmpty(t, got)
			value := "?"
			if got[0].Known {
				value = got[0].Value
			}
			assert.Equal(t, c.want, value)
			assert.Equal(t, c.file, got[0].Path)
			assert.Regexp(t, "overcommit_|sysctl|<<", strings.Split(c.text, "\n")[got[0].Line-1], "line %d", got[0].Line)
		})
	}
}

func TestFilesChangedAtBoot(t *testing.T) {
	for _, c := range []struct {
		file string
		text string
		// path is what changes, want its mode in octal, a number of its owner, or
		// a part of how it is undone; "" for not at all.
		path, want string
	}{
		{"/etc/tmpfiles.d/x.conf", "z /etc/rancher/k3s/config.yaml 0644 - - -", config, "0644"},
		{"/etc/tmpfiles.d/x.conf", "z /etc/rancher/k3s/*.yaml 0644", config, "0644"},
		{"/etc/tmpfiles.d/x.conf", "Z /etc/rancher 0755", config, "0755"},
		{"/etc/tmpfiles.d/x.conf", "m /etc/rancher/k3s/config.yaml 0644", config, ""},
		{"/etc/tmpfiles.d/x.conf", "z /etc/rancher/k3s/config.yaml 0600 root root", config, ""},
		{"/etc/tmpfiles.d/x.conf", "z /etc/rancher/k3s/config.yaml - 1000 -", config, "1000"},
		{"/etc/tmpfiles.d/x.conf", "d /var/lib/rancher/k3s/server 0755 root root -", "/var/lib/rancher/k3s/server", "0755"},
		{"/etc/tmpfiles.d/x.conf", "d %S/rancher/k3s/server 0755", "/var/lib/rancher/k3s/server", "0755"},
		{"/etc/tmpfiles.d/x.conf", "d /var/lib/rancher/k3s/server :0755 :root", "/var/lib/rancher/k3s/server", ""},
		{"/etc/tmpfiles.d/x.conf", "d /var/lib/rancher/k3s 0755 root root 10d", manifest, "removed"},
		{"/etc/tmpfiles.d/x.conf", "R /var/lib/rancher/k3s/server", manifest, "removed"},
		{"/etc/tmpfiles.d/x.conf", "D /var/lib/rancher/k3s/server 0700", manifest, "removed"},
		{"/etc/tmpfiles.d/x.conf", "r! /etc/rancher/k3s/config.yaml", config, "removed"},
		{"/etc/tmpfiles.d/x.conf", "f+ /etc/rancher/k3s/config.yaml 0600 - - - token: x", config, "written"},
		{"/etc/tmpfiles.d/x.conf", "f /etc/rancher/k3s/config.yaml 0600 - - - token: x", config, ""},
		{"/etc/tmpfiles.d/x.conf", "f " + dropIn + " 0600 - - - disable: []", dropIn, "made"},
		{"/etc/tmpfiles.d/x.conf", "L+ /etc/rancher/k3s/config.yaml - - - - /x", config, "changed"},
		{"/etc/tmpfiles.d/x.conf", "C /etc/rancher/k3s/config.yaml - - - - /x", config, ""},
		{"/etc/tmpfiles.d/x.conf", "a /etc/rancher/k3s/config.yaml - - - - u:nobody:r", config, "changed"},
		{"/etc/rc.local", "chmod 644 /etc/rancher/k3s/config.yaml", config, "0644"},
		{"/etc/rc.local", "chmod go+r /etc/rancher/k3s/config.yaml", config, "0644"},
		{"/etc/rc.local", "chmod -R a+rX /etc/rancher", config, "0644"},
		{"/etc/rc.local", "chmod 600 /etc/rancher/k3s/config.yaml; chmod go-rwx /etc/rancher/k3s/*", config, ""},
		{"/etc/rc.local", "chmod $MODE /etc/rancher/k3s/config.yaml", config, "changed"},
		{"/etc/rc.local", "F=/etc/rancher/k3s; chmod 644 \"$F/config.yaml\"", config, "0644"},
		{"/etc/rc.local", "for f in a b; do chmod 644 /etc/rancher/k3s/{config,x}.yaml; done", config, "0644"},
		{"/etc/rc.local", "chown -R 1000:1000 /etc/rancher/", config, "1000"},
		{"/etc/rc.local", "chown root:root /etc/rancher/k3s/config.yaml", config, ""},
		{"/etc/rc.local", "rm -rf /var/lib/rancher/k3s/server/manifests/*", manifest, "removed"},
		{"/etc/rc.local", "rm -f /var/lib/rancher/k3s/server/manifests", manifest, "removed"},
		{"/etc/rc.local", "find /var/lib/rancher -name '*.yaml' -delete", manifest, "removed"},
		{"/etc/rc.local", "find /etc/rancher -type f -exec chmod 644 {} +", config, "0644"},
		{"/etc/rc.local", "find /etc/rancher -name '*.yaml' -exec chmod 644 {} +", config, "0644"},
		{"/etc/rc.local", "find /etc/rancher/k3s/config.yaml -name '*.yaml' -exec sudo chmod 644 {} +", config, "0644"},
		{"/etc/rc.local", "find /etc/rancher -iname '*.YAML' -exec chmod 644 {} +", config, "0644"},
		{"/etc/rc.local", "find /etc/rancher ! -name '*.crt' -exec chmod 644 {} +", config, "0644"},
		{"/etc/rc.local", "find /etc/rancher -name '*.crt' -o -name '*.yaml' -exec chmod 644 {} +", config, "0644"},
		{"/etc/rc.local", "find /etc/rancher -name '*.crt' -exec chmod 644 {} +", config, ""},
		{"/etc/rc.local", "find /var/lib/rancher -name '*.log' -mtime +30 -delete", manifest, ""},
		{"/etc/rc.local", "find /etc/rancher -type f -print0 | xargs -0 chmod 644", config, "0644"},
		{"/etc/rc.local", "echo /etc/rancher/k3s/config.yaml | xargs rm", config, "removed"},
		{"/etc/rc.local", "for f in /etc/rancher/k3s/*.yaml; do chmod 644 \"$f\"; done", config, "0644"},
		{"/etc/rc.local", "sed -i s/x/y/ /etc/rancher/k3s/config.yaml", config, "written"},
		{"/etc/rc.local", "sed -n p /etc/rancher/k3s/config.yaml", config, ""},
		{"/etc/rc.local", "echo 'token: x' >> /etc/rancher/k3s/config.yaml", config, "written"},
		{"/etc/rc.local", "cat > /etc/rancher/k3s/config.yaml <<EOF\ntoken: x\nEOF", config, "written"},
		{"/etc/rc.local", "cp /root/config.yaml /etc/rancher/k3s/", config, "written"},
		{"/etc/rc.local", "cp /etc/rancher/k3s/config.yaml /root/", config, ""},
		{"/etc/rc.local", "mv /etc/rancher/k3s/config.yaml /root/", config, "removed"},
		{"/etc/rc.local", "mount --bind /data /var/lib/rancher/k3s", manifest, "may be changed"},
		{"/etc/rc.local", "mount -n -o remount,rw /; mount /; mount -a", config, ""},
		{"/etc/rc.local", "curl -sfo /etc/rancher/k3s/config.yaml https://x/", config, "written"},
		{"/etc/rc.local", "test -f /etc/rancher/k3s/config.yaml && grep x /etc/rancher/k3s/config.yaml", config, ""},
		{"/etc/rc.local", "printf 'disable: []' > " + dropIn, dropIn, "made"},
		{"/etc/rc.local", "echo \"node-ip: 10.0.0.1\" > " + dropIn, dropIn, ""},
		{"/etc/rc.local", "/usr/local/bin/k3s server --config /etc/rancher/k3s/config.yaml", config, ""},
		{"/etc/rc.local", "echo root:x >> /etc/passwd", "/etc/passwd", ""},
	} {
		t.Run(c.text, func(t *testing.T) {
			text := c.text + "\n"
			if c.file == "/etc/rc.local" {
				text = "#!/bin/bash\n" + text
			}
			n, changes := read(c.file, 0o755, text)
			require.NoError(t, changes.Err())
			after := changes.After()
			was, _ := n.Lookup(c.path)
			now, presence := after.Lookup(c.path)
			how := after.Undone(c.path)
			switch {
			case c.want == "":
				assert.Empty(t, how)
				assert.Equal(t, was, now)
			case strings.HasPrefix(c.want, "0"):
				assert.Equal(t, c.want, "0"+octal(now.Mode))
				assert.Contains(t, now.Note, c.file)
			case c.want == "1000":
				assert.Equal(t, 1000, now.UID)
			default:
				assert.Equal(t, node.Unknown, presence)
				assert.Contains(t, how, c.want)
				assert.Contains(t, how, c.file)
			}
			original, _ := after.WithoutHidden().Lookup(c.path)
			assert.Equal(t, was, original, "what the image holds")
		})
	}
}

func octal(m fs.FileMode) string {
	const digits = "01234567"
	return string([]byte{digits[m>>6&7], digits[m>>3&7], digits[m&7]})
}

func TestScriptsAreFollowed(t *testing.T) {
	const unit = "/etc/systemd/system/tune.service"
	text := "[Service]\nExecStart=/usr/local/sbin/tune\n"
	_, changes := read(unit, 0o644, text, node.Entry{Path: "/usr/local/sbin/tune", Kind: node.KindFile, Mode: 0o755, Size: 9})
	assert.Equal(t, node.Query{{Path: "/usr/local/sbin/tune", Content: true}}, changes.Missing())
	assert.ErrorContains(t, changes.Err(), "/usr/local/sbin/tune, which is run then, was not looked at")
	_, changes = read(unit, 0o644, text, node.Entry{Path: "/usr/local/sbin/tune", Kind: node.KindFile, Mode: 0o755, Data: []byte("#!/bin/sh\nsysctl -w vm.overcommit_memory=0\n")})
	assert.Empty(t, changes.Missing())
	assert.Equal(t, []boot.KernelSetting{{Place: boot.Place{Path: "/usr/local/sbin/tune", Line: 2}, Value: "0", Known: true}}, changes.Kernel(kernel))
}

func TestScriptsThatCannotBeRead(t *testing.T) {
	const unit = "/etc/systemd/system/tune.service"
	text := "[Service]\nExecStart=/usr/local/sbin/tune\n"
	for unread, want := range map[string]string{"input/output error": "/usr/local/sbin/tune, which is run then, could not be read: input/output error", node.UnreadLarge: ""} {
		_, changes := read(unit, 0o644, text, node.Entry{Path: "/usr/local/sbin/tune", Kind: node.KindFile, Mode: 0o755, Size: 9, Unread: unread})
		if err := changes.Err(); want == "" {
			assert.NoError(t, err, "no script is that large")
		} else {
			assert.ErrorContains(t, err, want)
		}
		assert.Empty(t, changes.Missing())
	}
}

// TestMountsToCome: on a running machine, what boot mounts over what was read
// and is not mounted now hides it; what is mounted already was read itself.
func TestMountsToCome(t *testing.T) {
	const line = "UUID=1 /var/lib/rancher/k3s ext4 defaults 0 2\n"
	for _, c := range []struct {
		file, text string
		mounts     []string
		covered    bool
	}{
		{"/etc/fstab", line, []string{"/"}, true},
		{"/etc/fstab", line, []string{"/", "/var/lib/rancher/k3s"}, false},
		{"/etc/fstab", line, nil, false},
		{"/etc/fstab", "#" + line, []string{"/"}, false},
		{"/etc/fstab", strings.Replace(line, "defaults", "noauto", 1), []string{"/"}, false},
		{"/etc/fstab", strings.Replace(line, "defaults", "noauto,x-systemd.automount", 1), []string{"/"}, true},
		{"/etc/fstab", "UUID=1 /var/lib/rancher ext4 nofail 0 2\n", []string{"/"}, true},
		{"/etc/fstab", "UUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\nUUID=3 /boot/efi vfat umask=0077 0 1\n", []string{"/"}, false},
		{"/etc/systemd/system/local-fs.target.wants/var-lib-rancher-k3s.mount", "[Mount]\nWhat=/dev/vdb\nWhere=/var/lib/rancher/k3s\n", []string{"/"}, true},
		{"/etc/systemd/system/var-lib-rancher-k3s.mount", "[Mount]\nWhat=/dev/vdb\nWhere=/var/lib/rancher/k3s\n", []string{"/"}, false},
	} {
		n, _ := read(c.file, 0o644, c.text)
		n.Kernel, n.Mounts = map[string]string{}, c.mounts
		after := boot.Read(n).After()
		_, presence := after.Lookup(manifest)
		assert.Equal(t, c.covered, presence == node.Unknown, "%s %v", c.text, c.mounts)
		if c.covered {
			assert.Contains(t, after.Undone(manifest), c.file+":")
		}
		n.Kernel = nil
		assert.Empty(t, boot.Read(n).After().Undone(manifest), "a tree")
	}
}

func TestNothingIsKnownOfWhatWasNotCollected(t *testing.T) {
	assert.Error(t, boot.Read(node.New(nil, nil)).Err())
}

func TestDeepScripts(t *testing.T) {
	_, changes := read("/etc/rc.local", 0o755, "#!/bin/sh\n"+strings.Repeat("(", 60_000)+"sysctl -w vm.overcommit_memory=0")
	assert.NotEmpty(t, changes.Kernel(kernel))
	_, changes = read("/etc/rc.local", 0o755, "#!/bin/sh\n"+strings.Repeat("( ", 15_000)+"sysctl -w vm.overcommit_memory=0"+strings.Repeat(" )", 15_000))
	assert.NotEmpty(t, changes.Kernel(kernel))
}

func TestScriptsThatGrow(t *testing.T) {
	_, changes := read("/etc/rc.local", 0o755, "#!/bin/sh\na=xx\n"+strings.Repeat("a=$a$a\n", 100)+"echo {1..9}{1..9999}{1..9999}\nsysctl -w vm.overcommit_memory=0\n")
	assert.NotEmpty(t, changes.Kernel(kernel))
}

func FuzzScripts(f *testing.F) {
	f.Add("#!/bin/sh\nfor f in a b; do chmod 644 /etc/rancher/k3s/{config,x}.yaml; done\n")
	f.Add("sysctl -w vm.overcommit_memory=$(cat /x) >/proc/sys/vm/overcommit_memory <<EOF\nx\nEOF\n")
	f.Add("z %S/rancher \"0644\" ~root - - a\\x20b")
	f.Fuzz(func(_ *testing.T, text string) {
		for _, file := range []string{"/etc/rc.local", "/etc/tmpfiles.d/x.conf", "/etc/cron.d/x", "/etc/udev/rules.d/x.rules", "/etc/systemd/system/x.service", "/etc/cloud/cloud.cfg"} {
			_, changes := read(file, 0o755, text)
			changes.After()
		}
	})
}

// What is made to exhaust is not read to its end, and nothing is known then.
func TestBoundedText(t *testing.T) {
	const unit = "/etc/systemd/system/a.service"
	text := strings.Repeat("\n", 3<<20)
	_, changes := read(unit, 0o644, text)
	require.NoError(t, changes.Err())
	_, changes = read(unit, 0o644, text, node.Entry{Path: "/etc/systemd/system/b.service", Kind: node.KindFile, Mode: 0o644, Data: []byte(text)})
	require.EqualError(t, changes.Err(), "what is done at boot is not known: there is more than 4 MiB of it, and /etc/systemd/system/b.service was not read")
}

// A file that says what is run and could not be read may say anything.
func TestUnreadText(t *testing.T) {
	for name, mode := range map[string]fs.FileMode{"/etc/rc.local": 0o755, "/etc/systemd/system/a.service": 0o644} {
		_, changes := read("/etc/crontab", 0o644, "", node.Entry{Path: name, Kind: node.KindFile, Mode: mode, Unread: "it is too large"})
		require.EqualError(t, changes.Err(), "what is done at boot is not known: "+name+" could not be read: it is too large")
	}
	_, changes := read("/etc/crontab", 0o644, "", node.Entry{Path: "/etc/rc.local", Kind: node.KindFile, Mode: 0o644, Unread: "it is too large"})
	require.NoError(t, changes.Err(), "nothing runs it")
}
