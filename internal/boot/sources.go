package boot

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// source is one kind of files that say what is run.
type source struct {
	// dirs are directories, or files; depth is how far below them files are.
	dirs  []string
	depth int
	// suffix is how files end; empty means all.
	suffix []string
	// executable means that only executable files are run.
	executable bool
	// starts means that services are read from here, so that a change matters.
	starts bool
	// runParts means that files are read as run-parts(8) and cron(8) do, which pass
	// over what editors and package managers leave beside a file.
	runParts bool
	read     func(*Changes, node.Entry, string)
}

var sources = []source{
	{dirs: []string{"/etc/rc.local", "/etc/rc.d/rc.local"}, executable: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/init.d", "/etc/rc.d/init.d"}, depth: 1, executable: true, starts: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/local.d"}, depth: 1, executable: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly"}, depth: 1, executable: true, runParts: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/periodic"}, depth: 2, executable: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/network", "/etc/networkd-dispatcher", "/etc/NetworkManager/dispatcher.d", "/usr/lib/networkd-dispatcher", "/usr/lib/NetworkManager/dispatcher.d"}, depth: 2, executable: true, read: (*Changes).wholeScript},
	{
		dirs: []string{
			"/etc/systemd/system-generators", "/etc/systemd/system-shutdown", "/etc/systemd/system-sleep", "/usr/local/lib/systemd/system-generators",
			"/usr/lib/systemd/system-shutdown", "/usr/lib/systemd/system-sleep", "/lib/systemd/system-shutdown", "/lib/systemd/system-sleep",
		},
		depth: 1, executable: true, read: (*Changes).wholeScript,
	},
	{dirs: []string{"/var/lib/cloud/scripts"}, depth: 2, executable: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/network/interfaces"}, read: eachCommand(ifupdownCommand)},
	{dirs: []string{"/etc/network/interfaces.d"}, depth: 1, read: eachCommand(ifupdownCommand)},
	{dirs: []string{"/etc/crontab", "/etc/anacrontab"}, read: eachCommand(crontabCommand)},
	{dirs: []string{"/etc/cron.d"}, depth: 1, runParts: true, read: eachCommand(crontabCommand)},
	{dirs: []string{"/var/spool/cron"}, depth: 2, read: eachCommand(userCrontabCommand)},
	{dirs: []string{"/var/spool/cron/atjobs", "/var/spool/at"}, depth: 1, executable: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/crontabs"}, depth: 1, read: eachCommand(userCrontabCommand)},
	{
		dirs: service.UnitDirectories(), depth: 2,
		suffix: []string{".service", ".socket", ".conf"}, starts: true, read: (*Changes).unit,
	},
	// Root has a manager of its own too, at a login or at boot where it lingers.
	{dirs: []string{"/etc/systemd/user", "/root/.config/systemd/user"}, depth: 2, suffix: []string{".service", ".socket", ".conf"}, read: (*Changes).unit},
	{dirs: []string{"/etc/udev/rules.d", "/usr/local/lib/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"}, depth: 1, suffix: []string{".rules"}, read: (*Changes).udev},
	{dirs: []string{"/etc/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"}, depth: 1, suffix: []string{".conf"}, read: eachCommand(modprobeCommand)},
	{dirs: []string{"/etc/cloud/cloud.cfg"}, read: (*Changes).cloudConfig},
	{dirs: []string{"/etc/cloud/cloud.cfg.d"}, depth: 1, suffix: []string{".cfg"}, read: (*Changes).cloudConfig},
	{dirs: []string{"/var/lib/cloud/seed"}, depth: 2, suffix: []string{"/user-data", "/vendor-data"}, read: (*Changes).userData},
	{dirs: []string{"/boot/firmware/user-data", "/boot/user-data"}, read: (*Changes).userData},
	{dirs: []string{"/etc/logrotate.d"}, depth: 1, read: (*Changes).logrotate},
	{dirs: []string{"/etc/dhcp/dhclient-enter-hooks.d", "/etc/dhcp/dhclient-exit-hooks.d", "/lib/dhcpcd/dhcpcd-hooks", "/usr/lib/dhcpcd/dhcpcd-hooks", "/usr/libexec/dhcpcd-hooks"}, depth: 1, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/dhcpcd.enter-hook", "/etc/dhcpcd.exit-hook", "/etc/dhcp/dhclient-enter-hooks", "/etc/dhcp/dhclient-exit-hooks"}, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/udhcpc"}, depth: 2, executable: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/tuned"}, depth: 3, suffix: []string{"tuned.conf"}, read: (*Changes).tuned},
	{dirs: []string{"/etc/ufw/sysctl.conf"}, read: func(c *Changes, e node.Entry, text string) { c.settings(e.Path, 1, text) }},
	{dirs: []string{"/etc/ufw/before.init", "/etc/ufw/after.init"}, executable: true, read: (*Changes).wholeScript},

	// What package managers run, at each of the upgrades that a timer starts.
	{dirs: []string{"/etc/apt/apt.conf"}, read: (*Changes).apt},
	{dirs: []string{"/etc/apt/apt.conf.d"}, depth: 1, read: (*Changes).apt},
	{dirs: []string{"/etc/dpkg/dpkg.cfg"}, read: eachCommand(dpkgHook)},
	{dirs: []string{"/etc/dpkg/dpkg.cfg.d"}, depth: 1, read: eachCommand(dpkgHook)},
	{dirs: []string{"/etc/dnf/plugins/post-transaction-actions.d"}, depth: 1, suffix: []string{".action"}, read: eachCommand(dnfAction)},
	{dirs: []string{"/etc/dnf/libdnf5-plugins/actions.d"}, depth: 1, suffix: []string{".actions"}, read: eachCommand(dnf5Action)},
	{dirs: []string{"/etc/pacman.d/hooks"}, depth: 1, suffix: []string{".hook"}, read: eachCommand(pacmanHook)},
	{dirs: []string{"/etc/apk/commit_hooks.d"}, depth: 1, executable: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/kernel/postinst.d", "/etc/kernel/postrm.d", "/etc/kernel/preinst.d", "/etc/kernel/prerm.d"}, depth: 1, executable: true, read: (*Changes).wholeScript},

	// What root's logins run, and the logins of anybody as root.
	{dirs: []string{"/etc/profile", "/etc/bash.bashrc", "/etc/bashrc", "/root/.profile", "/root/.bash_profile", "/root/.bash_login", "/root/.bashrc", "/root/.ssh/rc", "/etc/ssh/sshrc"}, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/profile.d"}, depth: 1, suffix: []string{".sh"}, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/update-motd.d"}, depth: 1, executable: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/pam.d"}, depth: 1, read: eachCommand(pamProgram)},

	// What daemons of the network run when something changes.
	{dirs: []string{"/etc/wireguard"}, depth: 1, suffix: []string{".conf"}, read: eachCommand(wireguardHook)},
	{dirs: []string{"/etc/openvpn"}, depth: 2, suffix: []string{".conf"}, read: eachCommand(openvpnScript)},
	{dirs: []string{"/etc/ppp/ip-up.d", "/etc/ppp/ip-down.d"}, depth: 1, executable: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/keepalived/keepalived.conf"}, read: eachCommand(keepalivedScript)},
	{dirs: []string{"/sbin/ifup-local", "/sbin/ifup-pre-local", "/sbin/ifdown-local"}, executable: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/tinc"}, depth: 3, executable: true, read: (*Changes).wholeScript},

	// What daemons that watch the machine run.
	{dirs: []string{"/etc/monitrc", "/etc/monit/monitrc"}, read: eachCommand(monitProgram)},
	{dirs: []string{"/etc/monit.d", "/etc/monit/conf.d", "/etc/monit/conf-enabled"}, depth: 1, read: eachCommand(monitProgram)},
	{dirs: []string{"/etc/acpi/events"}, depth: 1, read: eachCommand(acpiAction)},
	{dirs: []string{"/etc/incron.d", "/var/spool/incron"}, depth: 1, read: eachCommand(incronCommand)},
	{dirs: []string{"/etc/mdadm.conf", "/etc/mdadm/mdadm.conf"}, read: eachCommand(mdadmProgram)},
	{dirs: []string{"/etc/smartd.conf"}, read: eachCommand(smartdProgram)},
	{dirs: []string{"/etc/nut/upsmon.conf"}, read: eachCommand(upsCommand)},
	{dirs: []string{"/etc/rsyslog.conf"}, read: eachCommand(rsyslogProgram)},
	{dirs: []string{"/etc/rsyslog.d"}, depth: 1, suffix: []string{".conf"}, read: eachCommand(rsyslogProgram)},

	// What init runs where it is not systemd, and what OpenRC's services read first.
	{dirs: []string{"/etc/inittab"}, starts: true, read: eachCommand(inittabProcess)},
	{dirs: []string{"/etc/rc.conf"}, starts: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/conf.d"}, depth: 1, starts: true, read: (*Changes).wholeScript},

	// What else starts programs: runit, supervisord, the cloud-init of Kairos.
	{dirs: []string{"/etc/runit"}, depth: 2, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/sv", "/etc/service"}, depth: 2, executable: true, read: (*Changes).wholeScript},
	{dirs: []string{"/etc/supervisord.conf"}, read: eachCommand(supervisedCommand)},
	{dirs: []string{"/etc/supervisor", "/etc/supervisord.d"}, depth: 2, read: eachCommand(supervisedCommand)},
	{dirs: []string{"/oem", "/system/oem", "/usr/local/cloud-config"}, depth: 1, suffix: []string{".yaml", ".yml"}, read: (*Changes).stages},

	// What the first file system does to the one that it leaves for.
	{dirs: []string{"/etc/initramfs-tools/scripts"}, depth: 2, executable: true, read: (*Changes).wholeScript},

	// What Raspberry Pi's imager has the first boot run.
	{dirs: []string{"/boot/firstrun.sh", "/boot/firmware/firstrun.sh"}, read: (*Changes).wholeScript},
}

// What a line has to be like to be a command in the files of sources; the command is
// the group.
const (
	// Of ifupdown (interfaces(5)).
	ifupdownCommand = `^\s*(?:pre-up|up|post-up|down|pre-down|post-down)\s+(.*)$`
	// A table of cron that names users.
	crontabCommand = `^\s*(?:@[a-z]+\s+|(?:[\d*]\S*\s+){5}|@?\w+\s+\d+\s+)\S+\s+(.*)$`
	// A table of one user.
	userCrontabCommand = `^\s*(?:@[a-z]+|(?:\S+\s+){4}\S+)\s+(.*)$`
	// What is run in the place of loading a module.
	modprobeCommand = `^\s*(?:install|remove)\s+\S+\s+(.*)$`
	// What dpkg runs before and after its own.
	dpkgHook = `^\s*(?:pre-invoke|post-invoke|status-logger)(?:\s*=\s*|\s+)["']?(.*?)["']?\s*$`
	// Behind dnf's transactions: package, state, command.
	dnfAction = `^(?:[^:]*:){2}(.*)$`
	// Behind those of dnf5: hook, package, direction, options, command.
	dnf5Action = `^(?:[^:]*:){4}(.*)$`
	// A hook of pacman's.
	pacmanHook = `^\s*Exec\s*=\s*(.*)$`
	// A program that logins run as root.
	pamProgram = `\bpam_exec\.so\s+(?:[^\s/]\S*\s+)*(/.*)$`
	// Before and behind what wg-quick does.
	wireguardHook = `^\s*(?i:pre|post)(?i:up|down)\s*=\s*(.*)$`
	// A script of a tunnel.
	openvpnScript = `^\s*(?:up|down|route-up|route-pre-down|ipchange|tls-verify|client-connect|client-disconnect|learn-address)\s+["']?(.*?)["']?\s*$`
	// A script that tells of a change, or looks for one.
	keepalivedScript = `^\s*(?:script|notify(?:_\w+)?)\s+["']?(.*?)["']?\s*$`
	// What monit runs for a service, or when something of one changes.
	monitProgram = `\b(?:exec|start(?:\s+program)?|stop(?:\s+program)?|restart(?:\s+program)?|with\s+path)\s*=?\s*["']([^"']+)["']`
	// What an event of ACPI does.
	acpiAction = `^\s*action\s*=\s*(.*)$`
	// A table of incron: path, events, command.
	incronCommand = `^\S+\s+\S+\s+(.*)$`
	// What mdadm tells of a failing disk.
	mdadmProgram = `^\s*PROGRAM\s+(.*)$`
	// What smartd tells of one.
	smartdProgram = `\s-M\s+exec\s+(\S+)`
	// What is run when the power goes.
	upsCommand = `^\s*(?:NOTIFYCMD|SHUTDOWNCMD)\s+["']?(.*?)["']?\s*$`
	// What is given lines of the log.
	rsyslogProgram = `(?:\bbinary\s*=\s*["']|\s\^)([^"';]+)`
	// A program that supervisord starts.
	supervisedCommand = `^\s*command\s*=\s*(.*)$`
	// A process of init: id, levels, action, command.
	inittabProcess = `^[^:]*:[^:]*:(?:sysinit|boot|bootwait|wait|once|respawn|askfirst|shutdown|ctrlaltdel):-?(.*)$`
)

// eachCommand reads the commands that a pattern finds in lines.
func eachCommand(pattern string) func(*Changes, node.Entry, string) {
	command := regexp.MustCompile(pattern)
	return func(c *Changes, e node.Entry, text string) { c.lines(e, text, command) }
}

// Query returns what Read wants to know of a node; the scripts that are run
// from elsewhere come on top (see Changes.Missing).
func Query() node.Query {
	q := node.Query{{Path: fstab, Content: true}}
	for _, dir := range ownPrograms {
		q = append(q, node.Pick{Path: dir, Depth: 1})
	}
	for _, dir := range tmpfilesDirs {
		q = append(q, node.Pick{Path: dir, Depth: 1, Content: true})
	}
	for _, s := range sources {
		for _, dir := range s.dirs {
			q = append(q, node.Pick{Path: dir, Depth: s.depth, Content: true})
		}
	}
	return q
}

// Read reads what is done at boot from a node's files. A file that could not be
// read is an error of the changes: what it does is not known.
func Read(n *node.Node) *Changes {
	c := &Changes{node: n, kernel: map[string][]KernelSetting{}, calls: map[string][]Call{}, seen: map[string]bool{}, left: maxText}
	c.problem = c.tmpfiles()
	for _, s := range sources {
		files := map[string]node.Entry{}
		for _, dir := range s.dirs {
			c.source(s, dir, files)
		}
	}
	return c
}

// source reads what lies in dir. Files that an earlier directory of the source
// has, too, are by their names in it: /lib is /usr/lib on most machines, and what
// is the same under both names is read once.
func (c *Changes) source(s source, dir string, files map[string]node.Entry) {
	e, presence := c.node.Lookup(dir)
	switch {
	case presence == node.Unknown && c.problem == nil:
		c.problem = &node.UnknownPathError{Path: dir, How: c.node.Undone(dir)}
	case presence == node.Present && s.depth == 0:
		c.file(s, e)
	}
	for _, e := range c.node.Below(dir) {
		name := e.Path[len(dir):]
		if s.depth == 0 || strings.Count(name, "/") > s.depth {
			continue
		}
		same, has := files[name]
		if has && e.Data != nil && same.Mode == e.Mode && bytes.Equal(same.Data, e.Data) {
			continue
		}
		files[name] = e
		c.file(s, e)
	}
}

func (c *Changes) file(s source, e node.Entry) {
	suffix := len(s.suffix) == 0 || slices.ContainsFunc(s.suffix, func(end string) bool { return strings.HasSuffix(e.Path, end) })
	switch {
	case e.Kind != node.KindFile || !suffix || s.executable && e.Mode&0o111 == 0 || s.runParts && leftOver.MatchString(e.Path):
	case e.Data == nil:
		if c.problem == nil {
			c.problem = fmt.Errorf("what is done at boot is not known: %s could not be read: %s", e.Path, cmp.Or(e.Unread, "its content was not looked at"))
		}
	case c.fits(e):
		s.read(c, e, string(e.Data))
	}
}

// leftOver are the names of what editors and package managers leave beside a file.
var leftOver = regexp.MustCompile(`(?:~|\.(?:rpmsave|rpmorig|rpmnew|dpkg-\w+|cfsaved|swp))$`)

// shellLine is how a script begins that a shell reads.
var shellLine = regexp.MustCompile(`^#! *\S*/(env +)?(openrc-run|runscript|(ba|da|a|k|z)?sh)\b`)

// wholeScript reads a file that is run.
func (c *Changes) wholeScript(e node.Entry, text string) {
	if c.seen[e.Path] || bytes.IndexByte(e.Data, 0) >= 0 {
		return
	}
	c.seen[e.Path] = true
	if strings.HasPrefix(text, "#!") && !shellLine.MatchString(text) {
		c.search(e.Path, 1, text)
		return
	}
	c.run(e.Path, 1, text)
}

// script reads a script that something runs, or asks for it.
func (c *Changes) script(file string) {
	e, presence := c.node.Lookup(file)
	switch {
	case presence == node.Present && e.Kind == node.KindFile && bytes.IndexByte(e.Data, 0) >= 0: // a program
	case presence == node.Present && e.Kind == node.KindFile && e.Data != nil:
		if !c.seen[e.Path] && c.fits(e) {
			c.wholeScript(e, string(e.Data))
		}
	case presence == node.Present && e.Kind == node.KindFile && e.Unread != "" && e.Unread != node.UnreadLarge: // which no script is
		if c.problem == nil {
			c.problem = fmt.Errorf("what is done at boot is not known: %s, which is run then, could not be read: %s", file, e.Unread)
		}
	case presence == node.Unknown && c.node.Undone(file) == "" && c.node.Hidden(file) == "" && len(c.missing) < maxScripts,
		presence == node.Present && e.Kind == node.KindFile && e.Unread == "" && len(c.missing) < maxScripts:
		c.missing = append(c.missing, node.Pick{Path: file, Content: true})
	}
}

// maxScripts is how many scripts outside the usual places are read.
const maxScripts = 200

// apt reads the commands among apt's settings. Of its directory apt reads files
// without a suffix and those of .conf (apt.conf(5)).
func (c *Changes) apt(e node.Entry, text string) {
	if !slices.Contains([]string{"", ".conf"}, path.Ext(e.Path)) {
		return
	}
	for _, s := range aptStrings(text) {
		if aptCommand.MatchString(s.name) {
			c.run(e.Path, s.line, s.text)
		}
	}
}

// lines runs what the pattern's group finds in each line that is no comment.
func (c *Changes) lines(e node.Entry, text string, pattern *regexp.Regexp) {
	for i, line := range strings.Split(text, "\n") {
		if m := pattern.FindStringSubmatch(line); m != nil && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			c.run(e.Path, i+1, m[1])
		}
	}
}

// udev reads the programs and parameters of rules.
func (c *Changes) udev(e node.Entry, text string) {
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		at := Place{e.Path, i + 1}
		for _, m := range udevSysctl.FindAllStringSubmatch(line, -1) {
			c.set(at, parameterPath(m[1]), m[2], !strings.ContainsAny(m[2], "$%"), false)
		}
		for _, m := range udevRun.FindAllStringSubmatch(line, -1) {
			c.run(e.Path, i+1, strings.ReplaceAll(m[1], `\"`, `"`))
		}
	}
}

var (
	udevSysctl = regexp.MustCompile(`SYSCTL\{([^}]+)\}\s*=\s*"([^"]*)"`)
	udevRun    = regexp.MustCompile(`(?:RUN(?:\{program\})?\s*\+?:?=|PROGRAM\s*=?=|IMPORT\{program\}\s*=?=)\s*e?"((?:[^"\\]|\\.)*)"`)
)

// unit reads the commands of a unit, whether or not something starts it.
func (c *Changes) unit(e node.Entry, text string) {
	if service.Masked(e) {
		return
	}
	for _, d := range service.OwnDirectories(text) {
		f := fileChange{Place: Place{e.Path, d.Line}, action: permits, pattern: d.Path, uid: -1, gid: -1}
		mode, known := modeChange(d.Mode)
		if f.mode = mode; !known || !slices.Contains([]string{"", "root", "0"}, d.User) {
			f.action, f.deep = covers, true
		}
		c.change(f)
	}
	for _, run := range service.Commands(text) {
		s := &shell{changes: c, file: e.Path, first: run.Line}
		words := make([]word, len(run.Words))
		for i, text := range run.Words {
			words[i] = word{text, true}
		}
		s.call(Place{e.Path, run.Line}, words, "", false)
	}
}

// cloudConfig reads the commands and files of cloud-init's own configuration.
func (c *Changes) cloudConfig(e node.Entry, text string) {
	var doc struct {
		Boot  []yaml.Node `yaml:"bootcmd"`
		Run   []yaml.Node `yaml:"runcmd"`
		Files []struct {
			Path    yaml.Node `yaml:"path"`
			Content string    `yaml:"content"`
		} `yaml:"write_files"`
		Mounts []yaml.Node `yaml:"mounts"`
	}
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		c.search(e.Path, 1, text)
		return
	}
	for _, n := range append(doc.Boot, doc.Run...) {
		switch n.Kind {
		case yaml.ScalarNode:
			c.run(e.Path, n.Line, n.Value)
		case yaml.SequenceNode:
			s := &shell{changes: c, file: e.Path, first: n.Line}
			var words []word
			for _, w := range n.Content {
				words = append(words, word{w.Value, true})
			}
			s.call(Place{e.Path, n.Line}, words, "", false)
		}
	}
	for _, m := range doc.Mounts {
		if m.Kind == yaml.SequenceNode && len(m.Content) > 1 && path.Clean(m.Content[1].Value) != "/" {
			f := asItIs
			f.Place, f.action, f.deep, f.pattern = Place{e.Path, m.Line}, covers, true, m.Content[1].Value
			c.change(f)
		}
	}
	for _, f := range doc.Files {
		if path.IsAbs(f.Path.Value) {
			s := &shell{changes: c}
			s.written(Place{e.Path, f.Path.Line}, word{f.Path.Value, true}, f.Content, true)
		}
	}
}

// userData reads what cloud-init finds beside an image.
func (c *Changes) userData(e node.Entry, _ string) {
	for _, p := range UserData(e.Data) {
		switch {
		case !c.fits(node.Entry{Path: e.Path, Data: []byte(p.Text)}):
			return
		case p.Script:
			c.run(e.Path, p.Line, p.Text)
		case p.CloudConfig:
			c.cloudConfig(e, strings.Repeat("\n", p.Line-1)+p.Text)
		}
	}
}

// logrotate reads the scripts that run before and after logs are rotated.
func (c *Changes) logrotate(e node.Entry, text string) {
	first, script := 0, []string(nil)
	for i, line := range strings.Split(text, "\n") {
		switch word := strings.TrimSpace(line); {
		case slices.Contains([]string{"prerotate", "postrotate", "firstaction", "lastaction", "preremove"}, word):
			first, script = i+2, nil
		case word == "endscript" && first > 0:
			c.run(e.Path, first, strings.Join(script, "\n"))
			first = 0
		case first > 0:
			script = append(script, line)
		}
	}
}

// tuned reads the parameters and the scripts of a profile of one's own.
func (c *Changes) tuned(e node.Entry, text string) {
	section := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, assigns := strings.Cut(line, "=")
		switch {
		case !assigns || strings.HasPrefix(line, "#"):
		case section == "script" && strings.TrimSpace(key) == "script":
			for _, name := range strings.Split(value, ",") {
				c.script(path.Clean(strings.ReplaceAll(strings.TrimSpace(name), "${i:PROFILE_DIR}", path.Dir(e.Path))))
			}
		case section == "sysctl":
			c.set(Place{e.Path, i + 1}, parameterPath(strings.TrimSpace(key)), strings.TrimSpace(strings.TrimLeft(value, "><")), !strings.ContainsAny(value, "$<>"), false)
		}
	}
}

// loads notes what sysctl reads from a file of settings; those that are read at
// boot anyway are known elsewhere.
func (c *Changes) loads(file string) {
	if !path.IsAbs(file) || file == "/etc/sysctl.conf" || path.Base(path.Dir(file)) == "sysctl.d" {
		return
	}
	e, presence := c.node.Lookup(path.Clean(file))
	if presence == node.Unknown || presence == node.Present && e.Data == nil && e.Unread == "" {
		c.missing = append(c.missing, node.Pick{Path: path.Clean(file), Content: true})
	}
	c.settings(file, 1, string(e.Data))
}

// settings notes the parameters of a text in sysctl's syntax.
func (c *Changes) settings(file string, first int, text string) {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimLeft(strings.TrimSpace(line), "-")
		if key, value, assigns := strings.Cut(line, "="); assigns && line[0] != '#' && line[0] != ';' {
			c.set(Place{file, first + i}, parameterPath(strings.TrimSpace(key)), value, true, false)
		}
	}
}
