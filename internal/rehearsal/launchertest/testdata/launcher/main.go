// Command launcher stands in K3s's place in tests of a first start. It makes the
// files that K3s makes, with their modes, logs its components as K3s does, and
// answers as `k3s kubectl` what a rehearsal asks. What it is to do wrong stands in
// /etc/launcher/misbehave.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	settings    = "/etc/launcher"
	usualDir    = "/var/lib/rancher/k3s"
	manifests   = usualDir + "/server/manifests"
	state       = "/server/db/state.db-wal"
	etcdWAL     = "/server/db/etcd/member/wal/0000000000000000-0000000000000000.wal"
	ready       = "/run/launcher.ready"
	joined      = "/run/launcher.joined"
	serverToken = "/run/launcher.token"
	usualConfig = "/etc/rancher/k3s/config.yaml"
	usualAdmin  = "/etc/rancher/k3s/k3s.yaml"
)

func main() {
	if len(os.Args) < 2 {
		os.Exit(2)
	}
	switch os.Args[1] {
	case "--version":
		fmt.Println("k3s version v1.36.3+k3s1 (0000000)")
	case "server":
		serve(start(os.Args[2:]))
	case "agent":
		join(start(os.Args[2:]))
	case "kubectl":
		os.Exit(kubectl(os.Args[2:]))
	}
}

// forever does nothing, and does not end.
func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

// does says whether the launcher is to misbehave in a way.
func does(what string) bool {
	data, _ := os.ReadFile(settings + "/misbehave")
	return slices.Contains(strings.Fields(string(data)), what)
}

func say(message string) {
	fmt.Fprintf(os.Stderr, "time=%q level=info msg=%s\n", time.Now().UTC().Format(time.RFC3339), strconv.Quote(message))
}

// started is how K3s was started: its configuration file with the command line
// behind it.
type started struct {
	// own is true of the server that a rehearsal starts beside an agent.
	own                                  bool
	withoutAgent, clusterInit            bool
	dataDir, admin                       string
	endpoint, server, token, joinedToken string
}

func start(words []string) started {
	s := started{dataDir: usualDir, admin: usualAdmin}
	file := usualConfig
	for _, w := range words {
		if name, given := strings.CutPrefix(w, "--config="); given {
			file, s.own = name, true
		}
	}
	data, err := os.ReadFile(file)
	if s.own {
		must(err)
	}
	options := map[string]any{}
	must(yaml.Unmarshal(data, &options))
	for _, w := range words {
		name, value, given := strings.Cut(strings.TrimPrefix(w, "--"), "=")
		if !given {
			value = "true"
		}
		options[name] = value
	}
	text := func(name string) string {
		if options[name] == nil {
			return ""
		}
		return fmt.Sprint(options[name])
	}
	s.withoutAgent, _ = strconv.ParseBool(text("disable-agent"))
	s.clusterInit, _ = strconv.ParseBool(text("cluster-init"))
	s.endpoint, s.server, s.token = text("datastore-endpoint"), text("server"), text("token")
	if at := text("token-file"); at != "" {
		content, err := os.ReadFile(at)
		must(err)
		s.token = string(content)
	}
	if dir := text("data-dir"); dir != "" {
		s.dataDir = dir
	}
	if at := text("write-kubeconfig"); at != "" {
		s.admin = at
	}
	return s
}

// etcd says whether K3s keeps its state in an etcd of its own.
func (s started) etcd() bool { return s.clusterInit && s.endpoint == "" }

// exits ends as K3s does that cannot go on.
func exits(message string) {
	say("Starting k3s v1.36.3+k3s1")
	fmt.Fprintf(os.Stderr, "time=%q level=fatal msg=%q\n", "x", message)
	os.Exit(1)
}

// sayRights logs what K3s may do, and how many directories of kernel modules it sees.
func sayRights() {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	modules, _ := os.ReadDir("/lib/modules")
	say(fmt.Sprintf("capabilities %s, modules of %d kernels", strings.Fields(rest)[0], len(modules)))
}

func serve(s started) {
	sayRights()
	switch {
	case does("exit") && !s.own:
		exits("starting kubernetes: token K10aaaa::server:s3cret is of another cluster")
	case does("no-server") && s.own:
		exits("starting kubernetes: listen tcp :16443: bind: address already in use")
	case s.endpoint != "" && !strings.HasPrefix(s.endpoint, "sqlite:"):
		exits("starting kubernetes: preparing server: creating storage endpoint: building kine: dial tcp: lookup db: no such host")
	}
	if does("forks") {
		fork()
	}
	if does("host") {
		touchHost()
	}
	must(s.makeFiles(s.serverFile))
	if does("fill") {
		fill()
	}
	if does("hang") && !s.own {
		hang()
	}
	s.replay(func(component string) bool { return s.withoutAgent && ofAgent(component) })
	must(os.WriteFile(serverToken, []byte(s.token), 0o600))
	must(os.WriteFile(ready, []byte(s.dataDir), 0o600))
	say("k3s is up and running")
	if does("dies") && !s.own {
		os.Exit(3)
	}
	forever()
}

// join is an agent, which needs a server.
func join(s started) {
	if does("exit") {
		exits("token K10aaaa::server:s3cret is of another cluster")
	}
	if s.server == "" || s.token == "" {
		exits("--server and --token are required")
	}
	if does("forks") {
		fork()
	}
	for {
		token, err := os.ReadFile(serverToken)
		if err == nil && string(token) == s.token && strings.HasPrefix(s.server, "https://127.0.0.1:") {
			break
		}
		say("Failed to validate connection to cluster at " + s.server)
		time.Sleep(time.Second)
	}
	must(s.makeFiles(s.agentFile))
	if does("hang") {
		hang()
	}
	s.replay(func(component string) bool { return !ofAgent(component) })
	if !does("no-node") {
		must(os.WriteFile(joined, nil, 0o600))
	}
	if os.Getenv("NOTIFY_SOCKET") != "" {
		say("k3s agent is up and running")
	}
	if does("dies") {
		os.Exit(3)
	}
	forever()
}

func hang() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	forever()
}

func ofAgent(component string) bool { return component == "kubelet" || component == "kube-proxy" }

func must(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "level=fatal msg=%q\n", err)
		os.Exit(1)
	}
}

// fork leaves processes behind that nothing but the end of the namespace ends.
func fork() {
	for range 3 {
		cmd := exec.Command("/proc/self/exe", "server")
		cmd.Env = append(os.Environ(), "LAUNCHER_CHILD=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if os.Getenv("LAUNCHER_CHILD") != "" {
			signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
			forever()
		}
		must(cmd.Start())
	}
}

// touchHost tries what a rehearsal may not let happen.
func touchHost() {
	for name, value := range map[string]string{"/proc/sys/vm/overcommit_memory": "2", "/proc/sys/kernel/panic": "77", "/proc/sysrq-trigger": "h"} {
		if err := os.WriteFile(name, []byte(value), 0o600); err == nil {
			say("wrote " + name)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
		say("could not write ip_forward: " + err.Error())
	}
	if err := syscall.Mount("tmpfs", "/mnt", "tmpfs", 0, ""); err == nil {
		say("mounted")
	}
}

// fill takes all the room that there is.
func fill() {
	f, err := os.Create(usualDir + "/server/filler")
	must(err)
	block := make([]byte, 1<<20)
	for {
		if _, err := f.Write(block); err != nil {
			say("no space left on device")
			return
		}
	}
}

// serverFile says where a server makes a file of the list, and agentFile where an
// agent does; "" for nowhere.
func (s started) serverFile(at string) string {
	below, inDataDir := strings.CutPrefix(at, usualDir)
	switch {
	case at == usualAdmin:
		return s.admin
	case s.withoutAgent && (strings.HasPrefix(below, "/agent/") || strings.HasPrefix(at, "/etc/rancher/node")):
		return ""
	case strings.HasPrefix(below, "/server/db/state.db") && s.etcd():
		return ""
	case inDataDir:
		return s.dataDir + below
	case s.own:
		return ""
	}
	return at
}

func (s started) agentFile(at string) string {
	below, inDataDir := strings.CutPrefix(at, usualDir)
	if inDataDir && strings.HasPrefix(below, "/agent") {
		return s.dataDir + below
	}
	if strings.HasPrefix(at, "/etc/rancher/node") {
		return at
	}
	return ""
}

// makeFiles makes the files of a first start, as the list has them, where place says.
func (s started) makeFiles(place func(string) string) error {
	syscall.Umask(0)
	list, err := os.ReadFile(settings + "/files.txt")
	if err != nil {
		return err
	}
	if s.etcd() {
		more, err := os.ReadFile(settings + "/etcd-files.txt")
		if err != nil {
			return err
		}
		list = append(list, more...)
	}
	for line := range strings.Lines(string(list)) {
		words := strings.Fields(line)
		if len(words) != 3 {
			continue
		}
		if at := place(words[2]); at != "" {
			if err := makeFile(words[0], at, s.dataDir); err != nil {
				return err
			}
		}
	}
	if s.etcd() {
		config := etcdConfig
		if does("etcd-open") {
			config = strings.Replace(config, "client-cert-auth: true", "client-cert-auth: false", 1)
		}
		if err := os.WriteFile(s.dataDir+"/server/db/etcd/config", []byte(config), 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(s.dataDir+etcdWAL, nil, 0o600); err != nil {
			return err
		}
	}
	if kubeconfig := s.dataDir + "/agent/kubelet.kubeconfig"; does("open-kubeconfig") && place(kubeconfig) != "" {
		return os.Chmod(kubeconfig, 0o644)
	}
	if does("certificate") {
		return os.Chmod(s.dataDir+"/server/tls/serving-kube-apiserver.key", 0o666)
	}
	return nil
}

// etcdConfig is what K3s writes for its etcd, as far as controls ask.
const etcdConfig = `client-transport-security:
  cert-file: /var/lib/rancher/k3s/server/tls/etcd/server-client.crt
  client-cert-auth: true
  key-file: /var/lib/rancher/k3s/server/tls/etcd/server-client.key
  trusted-ca-file: /var/lib/rancher/k3s/server/tls/etcd/server-ca.crt
data-dir: /var/lib/rancher/k3s/server/db/etcd
listen-client-urls: https://127.0.0.1:2379,https://10.255.255.1:2379
listen-metrics-urls: http://127.0.0.1:2381
peer-transport-security:
  cert-file: /var/lib/rancher/k3s/server/tls/etcd/peer-server-client.crt
  client-cert-auth: true
  key-file: /var/lib/rancher/k3s/server/tls/etcd/peer-server-client.key
  trusted-ca-file: /var/lib/rancher/k3s/server/tls/etcd/peer-ca.crt
`

func makeFile(mode, at, dataDir string) error {
	var bits fs.FileMode
	for i, c := range mode[1:] {
		if c != '-' {
			bits |= 1 << (8 - i)
		}
	}
	switch mode[0] {
	case 'd':
		if _, err := os.Lstat(at); err == nil {
			return nil
		}
		return os.MkdirAll(at, bits)
	case 'l':
		return os.Symlink(dataDir+"/server/token", at)
	case 's':
		l, err := net.Listen("unix", at)
		if err != nil {
			return err
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		_ = l.Close()
		return os.Chmod(at, bits)
	}
	// What was baked is K3s's to read and not to make.
	if _, err := os.Lstat(at); err == nil || filepath.Dir(at) == "/etc/rancher/k3s" && filepath.Base(at) != "k3s.yaml" || strings.Contains(at, "k3s-cis-") {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	return os.WriteFile(at, nil, bits)
}

// replay logs what K3s logs of its components, but for those that leave says.
func (s started) replay(leave func(component string) bool) {
	f, err := os.Open(settings + "/start.log")
	must(err)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		_, rest, runs := strings.Cut(line, "Running ")
		component, _, _ := strings.Cut(rest, " ")
		if runs && leave(component) || strings.Contains(line, "is up and running") {
			continue
		}
		if does("argument") {
			line = strings.Replace(line, "--audit-log-maxage=30", "--audit-log-maxage=3", 1)
		}
		if does("kubelet-argument") {
			line = strings.Replace(line, "--read-only-port=0", "--read-only-port=10255", 1)
		}
		if s.etcd() {
			tls := s.dataDir + "/server/tls/etcd/"
			line = strings.Replace(line, "--leader-elect=false ", "", 1)
			line = strings.Replace(line, "--etcd-servers=unix://kine.sock", "--etcd-cafile="+tls+"server-ca.crt --etcd-certfile="+tls+"client.crt --etcd-keyfile="+tls+"client.key --etcd-servers=https://127.0.0.1:2379", 1)
		}
		fmt.Fprintln(os.Stderr, line)
	}
	time.Sleep(100 * time.Millisecond)
}

// object is what the answers need of a manifest.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec      json.RawMessage `json:"spec"`
	Automount *bool           `json:"automountServiceAccountToken"`
	addOn     string
}

func deployed() []object {
	var out []object
	_ = filepath.WalkDir(manifests, func(p string, d fs.DirEntry, _ error) error {
		if d == nil || d.IsDir() || filepath.Ext(p) != ".yaml" {
			return nil
		}
		data, err := os.ReadFile(p)
		must(err)
		addOn, _, _ := strings.Cut(filepath.Base(p), ".")
		out = append(out, object{addOn: addOn})
		for _, document := range bytes.Split(data, []byte("\n---")) {
			o := object{addOn: addOn}
			if yaml.Unmarshal(document, &o) == nil && o.Kind != "" {
				if o.Metadata.Namespace == "" {
					o.Metadata.Namespace = "default"
				}
				out = append(out, o)
			}
		}
		return nil
	})
	return out
}

func kubectl(words []string) int {
	if does("silent") {
		fmt.Fprintln(os.Stderr, "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?")
		return 1
	}
	if does("stuck") {
		forever()
	}
	if _, err := os.Stat(ready); err != nil {
		fmt.Fprintln(os.Stderr, "The connection to the server 127.0.0.1:6443 was refused")
		return 1
	}
	all := strings.Join(words, " ")
	switch {
	case strings.Contains(all, "get nodes"):
		if _, err := os.Stat(joined); err == nil {
			fmt.Println("node/rehearsal")
		}
	case strings.Contains(all, "--raw /readyz"):
		fmt.Print("ok")
	case strings.Contains(all, "/proxy/configz"):
		data, err := os.ReadFile(settings + "/configz.json")
		must(err)
		fmt.Print(string(data))
	case strings.Contains(all, "create secret"):
		return createSecret(words)
	case strings.Contains(all, "--dry-run=server"):
		return tryPod(words)
	default:
		return list(all)
	}
	return 0
}

func list(all string) int {
	seen := map[string]bool{}
	accounts := map[string]string{"default": "", "kube-system": "", "kube-public": "", "kube-node-lease": ""}
	for _, o := range deployed() {
		switch {
		case strings.Contains(all, "get addons") && !seen[o.addOn]:
			fmt.Printf("kube-system/%s;\n", o.addOn)
		case strings.Contains(all, "get events") && !seen[o.addOn]:
			if does("unknown-kind") && strings.HasPrefix(o.addOn, "mine") {
				fmt.Printf("%s ApplyManifestFailed Applying manifest at %q failed: no matches for kind \"Widget\" in version \"example.com/v1\"\n", o.addOn, manifests)
				break
			}
			fmt.Printf("%s AppliedManifest Applied manifest at %q\n", o.addOn, manifests)
		case strings.Contains(all, "get networkpolicies") && o.Kind == "NetworkPolicy" && !does("no-policies"):
			fmt.Printf("%s/%s %s\n", o.Metadata.Namespace, o.Metadata.Name, o.Spec)
		case o.Kind == "ServiceAccount" && o.Metadata.Name == "default" && o.Automount != nil && !does("automount"):
			accounts[o.Metadata.Namespace] = strconv.FormatBool(*o.Automount)
		}
		seen[o.addOn] = true
	}
	if strings.Contains(all, "get serviceaccounts") {
		for ns, mounts := range accounts {
			fmt.Printf("%s %s;\n", ns, mounts)
		}
	}
	return 0
}

func createSecret(words []string) int {
	value := ""
	for _, w := range words {
		if v, ok := strings.CutPrefix(w, "value="); ok {
			value = v
		}
	}
	stored := "k8s:enc:" + provider() + ":v1:key:0123456789"
	if does("clear") {
		stored = "k8s\x00" + value
	}
	dir, err := os.ReadFile(ready)
	must(err)
	at := string(dir) + state
	if _, err := os.Stat(at); err != nil {
		at = string(dir) + etcdWAL
	}
	f, err := os.OpenFile(at, os.O_APPEND|os.O_WRONLY, 0)
	must(err)
	_, err = f.WriteString("\x00/registry/secrets/default/k3s-cis-rehearsal\x00" + stored + "\x00")
	must(err)
	fmt.Println("secret/k3s-cis-rehearsal created")
	return 0
}

func provider() string {
	data, err := os.ReadFile(settings + "/provider")
	if err != nil {
		return "aescbc"
	}
	return strings.TrimSpace(string(data))
}

func tryPod(words []string) int {
	ns := words[slices.Index(words, "--namespace")+1]
	data, err := io.ReadAll(os.Stdin)
	must(err)
	switch privileged := bytes.Contains(data, []byte(`"privileged":true`)); {
	case privileged && does("no-account"):
		fmt.Fprintf(os.Stderr, "Error from server (Forbidden): error when creating \"STDIN\": pods \"k3s-cis-rehearsal\" is forbidden: error looking up service account %s/default\n", ns)
	case privileged && !does("admit"):
		fmt.Fprintf(os.Stderr, "Error from server (Forbidden): error when creating \"STDIN\": pods \"k3s-cis-rehearsal\" is forbidden: violates PodSecurity \"restricted:latest\": privileged (container \"c\" must not set securityContext.privileged=true)\n")
	case !privileged && does("refuse"):
		fmt.Fprintf(os.Stderr, "Error from server (Forbidden): pods \"k3s-cis-rehearsal\" is forbidden: violates PodSecurity \"restricted:latest\": x\n")
	default:
		fmt.Println("pod/k3s-cis-rehearsal created (server dry run)")
		return 0
	}
	return 1
}
