package rehearsal

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// DefaultTimeout is how long a rehearsal may take where nobody says.
const DefaultTimeout = 3 * time.Minute

const (
	// HostName is the name of the machine in a rehearsal.
	HostName = "rehearsal"
	// Address is the one that K3s finds there, without a network behind it.
	Address = "10.255.255.1"
	// ScratchSize is how much memory the files of a rehearsal may take, in bytes: unpacks some 200 MB, and its state is some 50 MB.
	ScratchSize = 2 << 30
	// NeededMemory is how much memory must be available, in bytes: K3s takes some
	// 475 MB, and what it unpacks lies in memory too.
	NeededMemory = 700 << 20
	// NeededBeside is how much the server takes besides that an agent joins.
	NeededBeside = 600 << 20
)

// What stands in for what the node has elsewhere.
const (
	AgainstSQLite = "with SQLite in the place of the datastore elsewhere"
	OnOwnServer   = "with a server of the rehearsal's own in the place of the cluster's"
)

// The server that an agent joins is on ports that no agent takes by itself, and its
// files are where no node has some.
const (
	serverDir  = "/.rehearsal-server"
	serverPort = "16443"
)

// Request is what is to be done in one rehearsal.
type Request struct {
	// Command is what is started, the program first.
	Command []string
	// Environment are the variables of the command, NAME=value.
	Environment []string
	// Directory is where the command is started.
	Directory string
	// Added are the words of the command that are not the node's own: what the
	// rehearsal leaves out or replaces.
	Added []string
	// StandIn says what stood in for what the node has elsewhere; "" where nothing
	// did.
	StandIn string
	// Server is what has to be up before the command is started; nil for nothing.
	Server *ServerBeside
	// Up is what the command logs when it has started, one of these.
	Up []string
	// Over are directories that have to be a file system of their own.
	Over []string
	// Asks are put to K3s in their order once it is up.
	Asks []Ask
	// Secret is looked for in the datastore after the asks.
	Secret Secret
	// Files are looked at after the asks: modes and owners, and of what is asked
	// with its content that too.
	Files node.Query
	// Traces are directories in which a rehearsal may leave nothing.
	Traces []string
	// Scratch is how much memory the files may take, and Memory how much must be
	// available, in bytes.
	Scratch, Memory int64
	// Timeout is how long K3s may take to be up and to answer.
	Timeout time.Duration
	// Settle is how long one ask is repeated.
	Settle time.Duration
	// Agent is true where the agent's components start too.
	Agent bool
}

// ServerBeside is the server that an agent joins in its rehearsal.
type ServerBeside struct {
	// Directory is made for it, with the files of Files by their names there.
	Directory string
	Files     map[string]string
	// Command is what is started, the program first, with nothing but Environment.
	Command     []string
	Environment []string
	// Up is what it logs when it has started.
	Up string
}

// Ask is one question.
type Ask struct {
	Name string
	// Words are the command, the program first.
	Words []string
	// Input goes to its standard input.
	Input string
	// Until are texts that are awaited, all of them, in the answer.
	Until []string
	// Enough are texts of which one ends the waiting too.
	Enough []string
}

// Secret is what is looked for in the datastore.
type Secret struct {
	// Directory holds the datastore's files.
	Directory string
	// Key is under what name the datastore keeps the Secret.
	Key string
	// Clear are forms of its value that must not be there.
	Clear []string
	// Marker begins what is encrypted, before the name of the provider.
	Marker string
}

// Subject is what the controls want to know of a first start.
type Subject struct {
	// AddOns are the names of the manifests that are not K3s's own.
	AddOns []string
	// Policies are the NetworkPolicies of the manifests, as namespace/name.
	Policies []string
	// Accounts are the namespaces whose ServiceAccount default is baked.
	Accounts []string
	// Namespaces are those in which a pod is tried.
	Namespaces []string
	// Files are looked at afterwards.
	Files node.Query
}

// The names of asks.
const (
	AskReady    = "ready"
	AskSecret   = "secret"
	AskAddOns   = "addons"
	AskEvents   = "events"
	AskPolicies = "policies"
	AskAccounts = "accounts"
	AskKubelet  = "kubelet"
	// AskAfterStart has a number behind it: what the service runs after the start.
	AskAfterStart = "after-start-"
	// AskPrivileged and AskRestricted have the namespace behind them.
	AskPrivileged = "privileged-"
	AskRestricted = "restricted-"
)

// rehearsed is what a rehearsal makes is called: a Secret in its own datastore, and
// pods that are only tried.
const rehearsed = "k3s-cis-rehearsal"

// patience is how long kubectl waits for one answer.
const patience = "10s"

// Impossible says why a node cannot be rehearsed, whatever the environment.
type Impossible struct{ Reason string }

func (i *Impossible) Error() string { return i.Reason }

// MadeByKernel are the types of file systems that hold nothing of a node's disk.
func MadeByKernel() []string {
	return []string{
		"autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs", "fusectl", "hugetlbfs",
		"mqueue", "nsfs", "proc", "pstore", "ramfs", "rpc_pipefs", "securityfs", "sysfs", "tmpfs", "tracefs",
	}
}

// Writes says whether K3s writes at, above or below p of the node when it starts.
// Where it does not, p need not be writable.
func (r *Request) Writes(p string) bool {
	return slices.ContainsFunc(r.Traces, func(dir string) bool { return node.Within(dir, p) || node.Within(p, dir) })
}

// New makes the request for a node that runs as e says, whose K3s is program.
func New(e *k3s.Effective, program string, s Subject, timeout time.Duration, agent bool) (*Request, error) {
	if err := possible(e, program); err != nil {
		return nil, err
	}
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	agent = agent && !e.Bool("disable-agent")
	if agent && (e.Bool("docker") || e.Text("container-runtime-endpoint") != "") {
		return nil, &Unavailable{Lacks: []string{"K3s's own containerd: the kubelet's container runtime is another (docker, container-runtime-endpoint), which a rehearsal does not start"}, OfAgent: true}
	}
	layout := k3s.LayoutOf(e.DataDir)
	r := &Request{
		Command: command(e, program), Environment: environment(e), Directory: "/", Up: []string{k3s.UpMessage},
		Over:    []string{"/run", k3s.KubeletDir, layout.Agent() + "/containerd"},
		Files:   s.Files,
		Traces:  []string{layout.Root(), k3s.ConfigDir, k3s.NodeDir, k3s.KubeletDir, "/var/lib/cni"},
		Scratch: ScratchSize, Memory: NeededMemory, Timeout: timeout, Settle: min(time.Minute, timeout/2),
		Agent: agent,
	}
	if d := e.Service; d != nil && path.IsAbs(d.Directory) {
		r.Directory = d.Directory
	}
	ask := asker{program: program, kubeconfig: kubeconfig(e), request: r}
	if e.Role == k3s.Agent {
		r.joinOwnServer(program)
		ask.kubeconfig = r.Server.Directory + "/k3s.yaml"
		ask.ofAgent(e)
	} else {
		r.Secret = secret(layout)
		if !agent && !e.Bool("disable-agent") {
			r.Added = append(r.Added, "--disable-agent")
		}
		if e.Datastore == k3s.External {
			r.Added, r.StandIn = append(r.Added, "--datastore-endpoint=sqlite://"), AgainstSQLite
		}
		if e.Datastore == k3s.EtcdStore {
			r.Files = append(slices.Clone(r.Files), node.Pick{Path: layout.Etcd() + "/config", Content: true})
		}
		ask.everything(e, s, agent)
	}
	r.Command = append(r.Command, r.Added...)
	return r, nil
}

// joinOwnServer puts a server of the same program in the place of the cluster's: the
// control plane alone, with K3s's defaults but for a network, which is the cluster's
// matter. What of its settings gets to agents is what a cluster has by default.
func (r *Request) joinOwnServer(program string) {
	var raw [24]byte
	_, _ = rand.Read(raw[:]) // never fails
	token := serverDir + "/token"
	r.Server = &ServerBeside{
		Directory: serverDir, Files: map[string]string{"token": hex.EncodeToString(raw[:]), "config.yaml": ""},
		Command: []string{
			program, "server", "--disable-agent", "--config=" + serverDir + "/config.yaml", "--data-dir=" + serverDir + "/data", "--token-file=" + token,
			"--write-kubeconfig=" + serverDir + "/k3s.yaml", "--https-listen-port=" + serverPort, "--flannel-backend=none", "--disable-network-policy",
			"--disable=coredns,local-storage,metrics-server,traefik",
		},
		Environment: plainEnvironment(), Up: k3s.UpMessage,
	}
	r.Added, r.StandIn = []string{"--server=https://127.0.0.1:" + serverPort, "--token-file=" + token}, OnOwnServer
	r.Memory += NeededBeside
	r.Up = append(r.Up, k3s.RegisteredMessage)
	r.Environment = append(r.Environment, k3s.NotifySocket+"="+serverDir+"/nobody")
}

// possible says why K3s cannot be started by itself, or nil.
func possible(e *k3s.Effective, program string) error {
	switch {
	case program == "":
		return &Unavailable{Lacks: []string{"K3s in the image: install { } puts it there"}}
	case e.Service == nil || len(e.Service.Start) == 0:
		return &Impossible{"no service says how K3s is to be started"}
	case e.Wrapper.Source != "":
		return &Impossible{fmt.Sprintf("the service starts K3s through a program of its own (%s), which may do more than that", e.Wrapper)}
	case e.Program == "" && path.IsAbs(e.Service.Start[0].Text) && (e.Role == k3s.Agent || e.Datastore == k3s.External):
		return &Impossible{fmt.Sprintf("the service starts K3s through a program of its own (%s), to which nothing can be said of what stands in for the cluster", e.Service.Start[0].Text)}
	case e.Text("vpn-auth") != "" || e.Text("vpn-auth-file") != "":
		return &Impossible{"the node joins a VPN (vpn-auth), which a rehearsal cannot reach"}
	case e.Role == k3s.Agent:
		return nil
	case e.Text("server") != "":
		return &Impossible{"the node joins a server (server), which a rehearsal cannot reach"}
	case e.Bool("disable-apiserver"):
		return &Impossible{"the node runs no API server that could be asked (disable-apiserver)"}
	}
	return nil
}

func command(e *k3s.Effective, program string) []string {
	var words []string
	for _, w := range e.Service.Start {
		words = append(words, k3s.StandIn(w.Text, w.Open))
	}
	if !path.IsAbs(words[0]) {
		words[0] = program
	}
	return words
}

func plainEnvironment() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
}

func environment(e *k3s.Effective) []string {
	out := plainEnvironment()
	for _, v := range e.Service.Environment {
		out = append(out, v.Name+"="+k3s.StandIn(v.Value, v.Open))
	}
	return out
}

// kubeconfig is where K3s writes what its administrator uses.
func kubeconfig(e *k3s.Effective) string {
	if written := e.Text("write-kubeconfig"); path.IsAbs(written) {
		return written
	}
	return k3s.Kubeconfig
}

func secret(l k3s.Layout) Secret {
	var raw [24]byte
	_, _ = rand.Read(raw[:]) // never fails
	value := "rehearsed-" + hex.EncodeToString(raw[:])
	return Secret{
		Directory: l.DB(), Key: "/registry/secrets/default/" + rehearsed, Marker: "k8s:enc:",
		// Kubernetes keeps a Secret's bytes as they are, a manifest of it in base64.
		Clear: []string{value, base64Of(value)},
	}
}

// asker makes the asks of a request.
type asker struct {
	program, kubeconfig string
	request             *Request
}

func (a asker) kubectl(ask Ask, words ...string) {
	ask.Words = append([]string{a.program, "kubectl", "--kubeconfig", a.kubeconfig, "--request-timeout", patience}, words...)
	a.request.Asks = append(a.request.Asks, ask)
}

// afterStart asks what the service manager runs at that moment.
func (a asker) afterStart(e *k3s.Effective) {
	for i, words := range e.Service.AfterStart {
		ask := Ask{Name: AskAfterStart + strconv.Itoa(i)}
		for _, w := range words {
			ask.Words = append(ask.Words, w.Text)
		}
		a.request.Asks = append(a.request.Asks, ask)
	}
}

// ofAgent asks the server beside it of an agent. Its node may have a number behind
// its name (with-node-id).
func (a asker) ofAgent(e *k3s.Effective) {
	a.kubectl(Ask{Name: AskReady, Until: []string{"node/" + nodeName(e)}}, "get", "nodes", "-o", "name")
	a.afterStart(e)
	a.kubelet(e)
}

// kubelet asks what the kubelet says of its configuration.
func (a asker) kubelet(e *k3s.Effective) {
	if !e.Bool("with-node-id") {
		a.kubectl(Ask{Name: AskKubelet, Until: []string{"kubeletconfig"}}, "get", "--raw", "/api/v1/nodes/"+nodeName(e)+"/proxy/configz")
	}
}

func (a asker) everything(e *k3s.Effective, s Subject, agent bool) {
	a.kubectl(Ask{Name: AskReady, Until: []string{"ok"}}, "get", "--raw", "/readyz")
	a.afterStart(e)
	if len(s.AddOns) > 0 {
		a.kubectl(Ask{Name: AskAddOns, Until: eachLine(s.AddOns, "kube-system/%s;")}, "get", "addons.k3s.cattle.io", "--all-namespaces", "-o", `jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name};{"\n"}{end}`)
		a.kubectl(Ask{Name: AskEvents, Until: eachLine(s.AddOns, "%s AppliedManifest")}, "get", "events", "--namespace", "kube-system", "-o", `jsonpath={range .items[*]}{.involvedObject.name} {.reason} {.message}{"\n"}{end}`)
	}
	if len(s.Policies) > 0 {
		a.kubectl(Ask{Name: AskPolicies, Until: eachLine(s.Policies, "%s {")}, "get", "networkpolicies", "--all-namespaces", "-o", `jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {.spec}{"\n"}{end}`)
	}
	// A pod needs the account of its namespace, which comes some seconds later.
	a.kubectl(Ask{Name: AskAccounts, Until: append(eachLine(s.Namespaces, "%s "), eachLine(s.Accounts, "%s false;")...)}, "get", "serviceaccounts", "--all-namespaces", "--field-selector", "metadata.name=default", "-o", `jsonpath={range .items[*]}{.metadata.namespace} {.automountServiceAccountToken};{"\n"}{end}`)
	a.kubectl(Ask{Name: AskSecret, Until: []string{rehearsed + " created"}}, "create", "secret", "generic", rehearsed, "--namespace", "default", "--from-literal", "value="+a.request.Secret.Clear[0])
	for _, ns := range s.Namespaces {
		a.kubectl(Ask{Name: AskPrivileged + ns, Input: pod(true), Enough: []string{Refusal, policyRefusal, Admission}}, "create", "--namespace", ns, "--dry-run=server", "-f", "-")
		a.kubectl(Ask{Name: AskRestricted + ns, Input: pod(false), Enough: []string{Refusal, policyRefusal, Admission}}, "create", "--namespace", ns, "--dry-run=server", "-f", "-")
	}
	if agent {
		a.kubelet(e)
	}
}

// What kubectl says of a pod: refused by Pod Security or, before v1.25, by a
// policy; or let in, as far as a trial goes.
const (
	Refusal       = "violates PodSecurity"
	policyRefusal = "unable to validate against any pod security policy"
	Admission     = "created (server dry run)"
)

// Refused says whether an answer is that of a pod that was refused for what it
// does, and not for another reason.
func (a Answer) Refused() bool {
	text := a.Text()
	return a.Status != 0 && (strings.Contains(text, Refusal) || strings.Contains(text, policyRefusal))
}

// Admitted says whether an answer is that of a pod that was let in.
func (a Answer) Admitted() bool { return a.Status == 0 && strings.Contains(a.Text(), Admission) }

func eachLine(all []string, format string) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = fmt.Sprintf(format, s)
	}
	return out
}

func nodeName(e *k3s.Effective) string {
	if names := e.Settings["node-name"].Values; len(names) > 0 && names[0].Text != "" {
		return strings.ToLower(k3s.StandIn(names[0].Text, names[0].Open))
	}
	return HostName
}

// pod is one that Pod Security refuses at the level restricted, or lets run.
func pod(privileged bool) string {
	container := map[string]any{
		"name": "c", "image": "rehearsal.invalid/none:1",
		"securityContext": map[string]any{"allowPrivilegeEscalation": false, "capabilities": map[string]any{"drop": []string{"ALL"}}},
	}
	spec := map[string]any{
		"containers": []any{container}, "automountServiceAccountToken": false,
		"securityContext": map[string]any{"runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": map[string]any{"type": "RuntimeDefault"}},
	}
	if privileged {
		container["securityContext"] = map[string]any{"privileged": true}
	}
	text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": rehearsed}, "spec": spec})
	if err != nil {
		panic(err) // it is made of text alone
	}
	return string(text)
}

// Check says what of a request no program could do.
func (r *Request) Check() error {
	var errs []error
	if len(r.Command) == 0 || !path.IsAbs(r.Command[0]) {
		errs = append(errs, errors.New("the program of K3s is not named by its whole path"))
	}
	if len(r.Up) == 0 {
		errs = append(errs, errors.New("nothing says when K3s is up"))
	}
	names := map[string]bool{}
	for _, a := range r.Asks {
		if names[a.Name] || a.Name == "" || strings.ContainsAny(a.Name, " \n") {
			errs = append(errs, fmt.Errorf("ask %q: the name is taken, or none", a.Name))
		}
		names[a.Name] = true
	}
	return errors.Join(append(errs, r.Files.Check())...)
}
