package k3s_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

func given(e *k3s.Effective, c k3s.Component, flag string) string {
	value, from, set := e.Flag(c, flag)
	if !set {
		return "unset"
	}
	var origins []string
	for _, a := range from {
		origins = append(origins, base(a.Origin))
	}
	return value + "@" + strings.Join(origins, ",")
}

// TestComponentArguments checks how K3s merges arguments with its defaults,
// and which of several the component takes.
func TestComponentArguments(t *testing.T) {
	const six = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"
	for name, c := range map[string]struct {
		component k3s.Component
		args      string // a YAML list
		version   string
		flag      string
		want      string
		problem   string
	}{
		"the default":                            {k3s.APIServer, "[]", "v1.36", "anonymous-auth", "false@default", ""},
		"a user's value drops the default":       {k3s.APIServer, "[anonymous-auth=true]", "v1.36", "anonymous-auth", "true@config.yaml:1", ""},
		"leading dashes are cut":                 {k3s.APIServer, "[--anonymous-auth=true]", "v1.36", "anonymous-auth", "true@config.yaml:1", ""},
		"no value means true":                    {k3s.APIServer, "[anonymous-auth]", "v1.36", "anonymous-auth", "true@config.yaml:1", ""},
		"commas are not split":                   {k3s.APIServer, `["audit-log-path=a,profiling=true"]`, "v1.36", "profiling", "false@default", ""},
		"the last of two scalars counts":         {k3s.APIServer, "[profiling=true, profiling=false]", "v1.36", "profiling", "false@config.yaml:1", "profiling of kube-apiserver is set to true here and to false"},
		"two list values add up":                 {k3s.APIServer, "[enable-admission-plugins=A, enable-admission-plugins=B]", "v1.36", "enable-admission-plugins", "A,B@config.yaml:1,config.yaml:1", ""},
		"+= keeps the default":                   {k3s.APIServer, "[enable-admission-plugins+=A]", "v1.36", "enable-admission-plugins", "NodeRestriction,A@default,config.yaml:1", ""},
		"-= puts it before":                      {k3s.APIServer, "[enable-admission-plugins-=A]", "v1.36", "enable-admission-plugins", "A,NodeRestriction@config.yaml:1,default", ""},
		"+= after = has no default left":         {k3s.APIServer, "[enable-admission-plugins=A, enable-admission-plugins+=B]", "v1.36", "enable-admission-plugins", "A,B@config.yaml:1,config.yaml:1", ""},
		"= after += keeps what was there":        {k3s.APIServer, "[enable-admission-plugins+=A, enable-admission-plugins=B]", "v1.36", "enable-admission-plugins", "NodeRestriction,A,B@default,config.yaml:1,config.yaml:1", ""},
		"+= on a flag without default":           {k3s.APIServer, "[disable-admission-plugins+=A]", "v1.36", "disable-admission-plugins", "A@config.yaml:1", ""},
		"-= on a scalar lets the default win":    {k3s.APIServer, "[anonymous-auth-=true]", "v1.36", "anonymous-auth", "false@default", ""},
		"an underscore is a dash":                {k3s.APIServer, "[anonymous_auth=true]", "v1.36", "anonymous-auth", "true@config.yaml:1", ""},
		"v1.23 keeps only the last":              {k3s.APIServer, "[enable-admission-plugins=A, enable-admission-plugins=B]", "v1.23", "enable-admission-plugins", "B@config.yaml:1", "enable-admission-plugins of kube-apiserver is set to (hidden) here and to (hidden) at"},
		"v1.23 does not know +=":                 {k3s.APIServer, "[enable-admission-plugins+=A]", "v1.23", "enable-admission-plugins", "NodeRestriction@default", "does not know enable-admission-plugins+="},
		"v1.24 does":                             {k3s.APIServer, "[enable-admission-plugins+=A]", "v1.24", "enable-admission-plugins", "NodeRestriction,A@default,config.yaml:1", ""},
		"an argument without a name":             {k3s.APIServer, "['=x']", "v1.36", "x", "unset", "names no flag"},
		"six cipher suites":                      {k3s.APIServer, "[]", "v1.36", "tls-cipher-suites", six + "@default", ""},
		"a user's cipher suites":                 {k3s.APIServer, "[tls-cipher-suites=A]", "v1.36", "tls-cipher-suites", "A@config.yaml:1", ""},
		"an empty first list of suites":          {k3s.APIServer, "[tls-cipher-suites=]", "v1.36", "tls-cipher-suites", "," + six + "@config.yaml:1,default", ""},
		"+= is not that name":                    {k3s.APIServer, "[tls-cipher-suites+=A]", "v1.36", "tls-cipher-suites", "A," + six + "@config.yaml:1,default", ""},
		"suites without a value crash K3s":       {k3s.APIServer, "[tls-cipher-suites]", "v1.36", "tls-min-version", "unset", "K3s crashes on it"},
		"authorization-config drops the mode":    {k3s.APIServer, "[authorization-config=/a]", "v1.36", "authorization-mode", "unset", ""},
		"authorization-config before April 2025": {k3s.APIServer, "[authorization-config=/a]", "v1.32", "authorization-mode", "Node,RBAC@default", ""},
		"authentication-config drops anonymous":  {k3s.APIServer, "[authentication-config=/a]", "v1.36", "anonymous-auth", "unset", ""},
		"authentication-config leaves the mode":  {k3s.APIServer, "[authentication-config=/a]", "v1.36", "authorization-mode", "Node,RBAC@default", ""},
		"the controller manager's own":           {k3s.ControllerManager, "[terminated-pod-gc-threshold=10]", "v1.36", "terminated-pod-gc-threshold", "10@config.yaml:1", ""},
		"a kubelet flag beats K3s's file":        {k3s.Kubelet, "[streaming-connection-idle-timeout=5m]", "v1.36", "streaming-connection-idle-timeout", "5m@config.yaml:1", ""},
		"K3s's file where no flag says it":       {k3s.Kubelet, "[]", "v1.36", "streaming-connection-idle-timeout", "4h0m0s@default", ""},
		"no such file before v1.32":              {k3s.Kubelet, "[]", "v1.31", "streaming-connection-idle-timeout", "unset", ""},
		"+= on what K3s's file says only sets":   {k3s.Kubelet, "[eviction-hard+=a<1]", "v1.36", "eviction-hard", "a<1@config.yaml:1", ""},
		"kube-proxy":                             {k3s.KubeProxy, "[metrics-bind-address=0.0.0.0]", "v1.36", "metrics-bind-address", "0.0.0.0@config.yaml:1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := resolve(t, c.version, k3s.Server, map[string]string{mainFile: k3s.ArgumentKey(c.component) + ": " + c.args + "\n"})
			assert.Equal(t, c.want, given(e, c.component, c.flag))
			if c.problem == "" {
				assert.Empty(t, problems(e))
			} else {
				assert.Contains(t, problems(e), c.problem)
			}
		})
	}
}

func TestArgumentsFromTwoPlaces(t *testing.T) {
	e := resolve(t, "v1.36", k3s.Server, map[string]string{
		mainFile: "kube-apiserver-arg: [audit-log-maxage=30, profiling=false]\n",
		unitFile: unit("--kube-apiserver-arg audit-log-maxage=7 '--kube-apiserver-arg=profiling=false'"),
	})
	assert.Equal(t, "7@k3s.service:5", given(e, k3s.APIServer, "audit-log-maxage"))
	assert.Equal(t, "noted config.yaml:1: audit-log-maxage of kube-apiserver is set to 30 here and to 7 at /etc/systemd/system/k3s.service:5, which counts; remove one of them", problems(e))
}

// TestDefaultsBecauseOfASetting: what K3s passes on by itself because of a
// setting is found where that setting stands, and remains K3s's own doing.
func TestDefaultsBecauseOfASetting(t *testing.T) {
	e := resolve(t, "v1.36", k3s.Server, map[string]string{
		mainFile: "token: x\nprotect-kernel-defaults: true\nsecrets-encryption: true\nresolv-conf: /etc/r.conf\n",
	})
	for flag, c := range map[string]struct {
		component k3s.Component
		line      int
	}{
		"protect-kernel-defaults":    {k3s.Kubelet, 2},
		"encryption-provider-config": {k3s.APIServer, 3},
		"resolv-conf":                {k3s.Kubelet, 4},
	} {
		_, from, set := e.Flag(c.component, flag)
		if assert.True(t, set, flag) {
			assert.Equal(t, k3s.Origin{Source: mainFile, Line: c.line, Default: true}, from[0].Origin, flag)
		}
	}
	_, from, _ := e.Flag(k3s.APIServer, "anonymous-auth")
	assert.Equal(t, k3s.Origin{Source: "K3s v1.36 default", Default: true}, from[0].Origin)
}

func TestComponentsThatDoNotRun(t *testing.T) {
	e := resolve(t, "v1.36", k3s.Server, map[string]string{mainFile: "disable-agent: true\ndisable-scheduler: true\ndisable-apiserver: true\n"})
	var names []string
	for c := range e.Args {
		names = append(names, string(c))
	}
	assert.Equal(t, []string{"kube-controller-manager"}, names)
	_, _, set := e.Flag(k3s.Kubelet, "anonymous-auth")
	assert.False(t, set)
}

const kubeletHeader = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

// TestKubeletFiles checks the kubelet's configuration directory (v1.32 on).
func TestKubeletFiles(t *testing.T) {
	const dir = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/"
	for name, c := range map[string]struct {
		files   map[string]string
		version string
		flag    string
		want    string
		problem string
	}{
		"a drop-in beats K3s's defaults":      {map[string]string{dir + "50-cis.conf": kubeletHeader + "streamingConnectionIdleTimeout: 5m\n"}, "v1.36", "streaming-connection-idle-timeout", "5m@50-cis.conf:3", ""},
		"one that sorts before does not":      {map[string]string{dir + "00-a.conf": kubeletHeader + "streamingConnectionIdleTimeout: 5m\n"}, "v1.36", "streaming-connection-idle-timeout", "4h0m0s@default", ""},
		"a later one beats an earlier one":    {map[string]string{dir + "50.conf": kubeletHeader + "podPidsLimit: 1\n", dir + "60.conf": kubeletHeader + "podPidsLimit: 2\n"}, "v1.36", "pod-max-pids", "2@60.conf:3", ""},
		"a flag beats every file":             {map[string]string{dir + "50.conf": kubeletHeader + "podPidsLimit: 1\n", mainFile: "kubelet-arg: [pod-max-pids=9]\n"}, "v1.36", "pod-max-pids", "9@config.yaml:1", ""},
		"K3s's own flag beats a file":         {map[string]string{dir + "50.conf": kubeletHeader + "readOnlyPort: 10255\n"}, "v1.36", "read-only-port", "0@default", ""},
		"lists replace":                       {map[string]string{dir + "50.conf": kubeletHeader + "tlsCipherSuites: [A, B]\n", dir + "60.conf": kubeletHeader + "tlsCipherSuites: [C]\n"}, "v1.36", "tls-cipher-suites", "C@60.conf:3", ""},
		"maps merge":                          {map[string]string{dir + "50.conf": kubeletHeader + "evictionHard:\n  memory.available: 1Gi\n  nodefs.available: 9%\n"}, "v1.36", "eviction-hard", "imagefs.available<5%,memory.available<1Gi,nodefs.available<9%@default,50.conf:4,50.conf:5", ""},
		"null removes":                        {map[string]string{dir + "50.conf": kubeletHeader + "streamingConnectionIdleTimeout: null\n"}, "v1.36", "streaming-connection-idle-timeout", "unset", ""},
		"a nested field":                      {map[string]string{dir + "50.conf": kubeletHeader + "authentication:\n  anonymous:\n    enabled: yes\n"}, "v1.36", "anonymous-auth", "true@50.conf:5", ""},
		"K3s writes its own file anew":        {map[string]string{dir + "00-k3s-defaults.conf": kubeletHeader + "podPidsLimit: 1\n"}, "v1.36", "pod-max-pids", "unset", ""},
		"other endings are not read":          {map[string]string{dir + "50.yaml": kubeletHeader + "podPidsLimit: 1\n"}, "v1.36", "pod-max-pids", "unset", ""},
		"sub-directories are":                 {map[string]string{dir + "50/a.conf": kubeletHeader + "podPidsLimit: 1\n"}, "v1.36", "pod-max-pids", "1@a.conf:3", ""},
		"not before v1.32":                    {map[string]string{dir + "50.conf": kubeletHeader + "podPidsLimit: 1\n"}, "v1.31", "pod-max-pids", "unset", ""},
		"config= is copied in as 10-":         {map[string]string{dir + "05.conf": kubeletHeader + "podPidsLimit: 1\n", dir + "x.txt": kubeletHeader + "podPidsLimit: 2\n", mainFile: "kubelet-arg: [config=" + mainFile + ".d/k.txt]\n", dropIns + "k.txt": kubeletHeader + "podPidsLimit: 3\n"}, "v1.36", "pod-max-pids", "3@k.txt:3", "only files ending in .yaml"},
		"a later drop-in beats config=":       {map[string]string{dir + "50.conf": kubeletHeader + "podPidsLimit: 1\n", mainFile: "kubelet-arg: [config=" + mainFile + ".d/k.txt]\n", dropIns + "k.txt": kubeletHeader + "podPidsLimit: 3\n"}, "v1.36", "pod-max-pids", "1@50.conf:3", "only files ending in .yaml"},
		"config= before v1.32":                {map[string]string{mainFile: "kubelet-arg: [config=" + mainFile + ".d/k.txt]\n", dropIns + "k.txt": kubeletHeader + "podPidsLimit: 3\nreadOnlyPort: 1\n"}, "v1.28", "pod-max-pids", "3@k.txt:3", "only files ending in .yaml"},
		"config= names nothing":               {map[string]string{mainFile: "kubelet-arg: [config=" + mainFile + ".d/k.txt]\n"}, "v1.36", "pod-max-pids", "unset", "does not exist, and K3s exits"},
		"config= elsewhere":                   {map[string]string{mainFile: "kubelet-arg: [config=/opt/k.conf]\n"}, "v1.36", "pod-max-pids", "unset", "was not looked at"},
		"left by config= of an earlier run":   {map[string]string{dir + "10-cli-config.conf": kubeletHeader + "podPidsLimit: 1\n"}, "v1.36", "pod-max-pids", "1@10-cli-config.conf:3", ""},
		"config= writes over what was left":   {map[string]string{dir + "10-cli-config.conf": kubeletHeader + "podPidsLimit: 1\n", mainFile: "kubelet-arg: [config=" + mainFile + ".d/k.txt]\n", dropIns + "k.txt": kubeletHeader + "readOnlyPort: 0\n"}, "v1.36", "pod-max-pids", "unset", "only files ending in .yaml"},
		"an item without = drops the next":    {map[string]string{mainFile: "kubelet-arg:\n- seccomp-default\n- pod-max-pids=9\n"}, "v1.36", "pod-max-pids", "unset", "drops this item of kubelet-arg, since it takes it for the value of seccomp-default before it: write seccomp-default=true there"},
		"and is itself passed on":             {map[string]string{mainFile: "kubelet-arg: [--seccomp-default, pod-max-pids=9]\n"}, "v1.36", "seccomp-default", "true@config.yaml:1", "drops this item"},
		"as the last one it drops nothing":    {map[string]string{mainFile: "kubelet-arg: [pod-max-pids=9, seccomp-default]\n"}, "v1.36", "pod-max-pids", "9@config.yaml:1", ""},
		"what is dropped drops nothing":       {map[string]string{mainFile: "kubelet-arg: [seccomp-default, v, pod-max-pids=9]\n"}, "v1.36", "pod-max-pids", "9@config.yaml:1", "drops this item"},
		"nothing is dropped before v1.32":     {map[string]string{mainFile: "kubelet-arg: [seccomp-default, pod-max-pids=9]\n"}, "v1.31", "pod-max-pids", "9@config.yaml:1", ""},
		"across drop-ins":                     {map[string]string{mainFile: "kubelet-arg: [seccomp-default]\n", dropIns + "a.yaml": "kubelet-arg+: [pod-max-pids=9]\n"}, "v1.36", "pod-max-pids", "unset", "drops this item"},
		"a file without kind":                 {map[string]string{dir + "50.conf": "podPidsLimit: 1\n"}, "v1.36", "pod-max-pids", "1@50.conf:1", "has no kind: KubeletConfiguration"},
		"a file that is no YAML":              {map[string]string{dir + "50.conf": "a: ["}, "v1.36", "pod-max-pids", "unset", "cannot parse it"},
		"protect-kernel-defaults in the file": {map[string]string{mainFile: "protect-kernel-defaults: true\n"}, "v1.36", "protect-kernel-defaults", "true@default", ""},
		"protect-kernel-defaults as a flag":   {map[string]string{mainFile: "protect-kernel-defaults: true\n"}, "v1.31", "protect-kernel-defaults", "true@default", ""},
		"a drop-in takes it back":             {map[string]string{mainFile: "protect-kernel-defaults: true\n", dir + "50.conf": kubeletHeader + "protectKernelDefaults: false\n"}, "v1.36", "protect-kernel-defaults", "false@50.conf:3", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := resolve(t, c.version, k3s.Server, c.files)
			assert.Equal(t, c.want, given(e, k3s.Kubelet, c.flag))
			if c.problem == "" {
				assert.Empty(t, problems(e))
			} else {
				assert.Contains(t, problems(e), c.problem)
			}
		})
	}
}
