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
	settings  = "/etc/launcher"
	dataDir   = "/var/lib/rancher/k3s"
	manifests = dataDir + "/server/manifests"
	datastore = dataDir + "/server/db/state.db-wal"
	ready     = "/run/launcher.ready"
)

func main() {
	if len(os.Args) < 2 {
		os.Exit(2)
	}
	switch os.Args[1] {
	case "--version":
		fmt.Println("k3s version v1.36.3+k3s1 (0000000)")
	case "server":
		serve(os.Args[2:])
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

func serve(words []string) {
	if does("exit") {
		say("Starting k3s v1.36.3+k3s1")
		fmt.Fprintf(os.Stderr, "time=%q level=fatal msg=\"starting kubernetes: token K10aaaa::server:s3cret is of another cluster\"\n", "x")
		os.Exit(1)
	}
	if does("forks") {
		fork()
	}
	if does("host") {
		touchHost()
	}
	must(makeFiles(slices.Contains(words, "--disable-agent")))
	if does("fill") {
		fill()
	}
	if does("hang") {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		forever()
	}
	replay(slices.Contains(words, "--disable-agent"))
	must(os.WriteFile(ready, nil, 0o600))
	say("k3s is up and running")
	if does("dies") {
		os.Exit(3)
	}
	forever()
}

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
	f, err := os.Create(dataDir + "/server/filler")
	must(err)
	block := make([]byte, 1<<20)
	for {
		if _, err := f.Write(block); err != nil {
			say("no space left on device")
			return
		}
	}
}

// makeFiles makes the files of a first start, as the list has them.
func makeFiles(withoutAgent bool) error {
	syscall.Umask(0)
	list, err := os.ReadFile(settings + "/files.txt")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(list)) {
		words := strings.Fields(line)
		if len(words) != 3 || withoutAgent && strings.HasPrefix(words[2], dataDir+"/agent/") {
			continue
		}
		if err := makeFile(words[0], words[2]); err != nil {
			return err
		}
	}
	if does("certificate") {
		return os.Chmod(dataDir+"/server/tls/serving-kube-apiserver.key", 0o666)
	}
	return nil
}

func makeFile(mode, at string) error {
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

// replay logs what K3s logs of its components.
func replay(withoutAgent bool) {
	f, err := os.Open(settings + "/start.log")
	must(err)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		agents := strings.Contains(line, "Running kubelet") || strings.Contains(line, "Running kube-proxy")
		if withoutAgent && agents || strings.Contains(line, "is up and running") {
			continue
		}
		if does("argument") {
			line = strings.Replace(line, "--audit-log-maxage=30", "--audit-log-maxage=3", 1)
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
	f, err := os.OpenFile(datastore, os.O_APPEND|os.O_WRONLY, 0)
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
