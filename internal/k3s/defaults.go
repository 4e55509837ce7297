package k3s

// A condition of a default: what of the configuration it depends on.
const (
	ifEtcd              = "embedded etcd"
	ifSQLite            = "sqlite"
	ifExternal          = "external datastore"
	ifExternalCA        = "datastore-cafile"
	ifExternalCert      = "datastore-certfile"
	ifExternalKey       = "datastore-keyfile"
	ifEncryption        = "secrets-encryption"
	ifEgress            = "egress-selector-mode is not disabled"
	ifInternalFirst     = "flannel-external-ip is off"
	ifExternalFirst     = "flannel-external-ip"
	ifCloudController   = "disable-cloud-controller is off"
	ifNoCloudController = "disable-cloud-controller"
	ifAdvertised        = "an address is given"
	ifServiceLB         = "servicelb is not disabled"
	ifProtectKernel     = "protect-kernel-defaults"
	ifNoAuthzConfig     = "no authorization-config"
	ifNoAuthnConfig     = "no authentication-config"
	ifNodeName          = "node-name"
	ifResolvConf        = "resolv-conf"
	ifNoExposure        = "etcd-expose-metrics is off"
)

// fallback is one argument that K3s passes to a component by itself. In value,
// {server}, {agent} and {root} stand for the directories of Layout, {key:x}
// for the setting x. Since and Until are minors; 0 means all.
type fallback struct {
	flag, value  string
	when         string
	since, until int
	// file marks what K3s puts into the kubelet's configuration file instead
	// of its command line, from v1.32.
	file bool
}

// K3s's own arguments, without those that follow from the machine (addresses,
// cgroups, container runtime) (pkg/daemons/control/server.go, pkg/daemons/agent,
// pkg/cli/server/server.go, pkg/etcd/etcd.go).
var fallbacks = map[Component][]fallback{
	APIServer: {
		{flag: "advertise-address", value: "{advertised}", when: ifAdvertised},
		{flag: "advertise-port", value: "{key:https-listen-port}"},
		{flag: "allow-privileged", value: "true"},
		{flag: "anonymous-auth", value: "false", when: ifNoAuthnConfig},
		{flag: "api-audiences", value: "https://kubernetes.default.svc.{key:cluster-domain},k3s", since: 20},
		{flag: "authorization-mode", value: "Node,RBAC", when: ifNoAuthzConfig},
		{flag: "bind-address", value: "127.0.0.1"},
		{flag: "cert-dir", value: "{server}/tls/temporary-certs"},
		{flag: "client-ca-file", value: "{server}/tls/client-ca.crt"},
		{flag: "egress-selector-config-file", value: "{server}/etc/egress-selector-config.yaml", when: ifEgress, since: 22},
		{flag: "enable-admission-plugins", value: "NodeRestriction"},
		{flag: "enable-aggregator-routing", value: "true", when: ifEgress, since: 22},
		{flag: "enable-bootstrap-token-auth", value: "true", since: 26},
		{flag: "encryption-provider-config", value: "{server}/cred/encryption-config.json", when: ifEncryption},
		{flag: "encryption-provider-config-automatic-reload", value: "true", when: ifEncryption, since: 27},
		{flag: "etcd-cafile", value: "{server}/tls/etcd/server-ca.crt", when: ifEtcd},
		{flag: "etcd-certfile", value: "{server}/tls/etcd/client.crt", when: ifEtcd},
		{flag: "etcd-keyfile", value: "{server}/tls/etcd/client.key", when: ifEtcd},
		{flag: "etcd-servers", value: "https://127.0.0.1:2379", when: ifEtcd},
		{flag: "etcd-servers", value: "unix://kine.sock", when: ifSQLite},
		{flag: "etcd-servers", value: "{key:datastore-endpoint}", when: ifExternal},
		{flag: "etcd-cafile", value: "{key:datastore-cafile}", when: ifExternalCA},
		{flag: "etcd-certfile", value: "{key:datastore-certfile}", when: ifExternalCert},
		{flag: "etcd-keyfile", value: "{key:datastore-keyfile}", when: ifExternalKey},
		{flag: "insecure-port", value: "0", until: 21},
		{flag: "kubelet-certificate-authority", value: "{server}/tls/server-ca.crt"},
		{flag: "kubelet-client-certificate", value: "{server}/tls/client-kube-apiserver.crt"},
		{flag: "kubelet-client-key", value: "{server}/tls/client-kube-apiserver.key"},
		{flag: "kubelet-preferred-address-types", value: "InternalIP,ExternalIP,Hostname", when: ifInternalFirst, since: 25},
		{flag: "kubelet-preferred-address-types", value: "ExternalIP,InternalIP,Hostname", when: ifExternalFirst, since: 25},
		{flag: "profiling", value: "false"},
		{flag: "proxy-client-cert-file", value: "{server}/tls/client-auth-proxy.crt"},
		{flag: "proxy-client-key-file", value: "{server}/tls/client-auth-proxy.key"},
		{flag: "requestheader-allowed-names", value: "system:auth-proxy"},
		{flag: "requestheader-client-ca-file", value: "{server}/tls/request-header-ca.crt"},
		{flag: "requestheader-extra-headers-prefix", value: "X-Remote-Extra-"},
		{flag: "requestheader-group-headers", value: "X-Remote-Group"},
		{flag: "requestheader-username-headers", value: "X-Remote-User"},
		{flag: "secure-port", value: "{api-port}"},
		{flag: "service-account-issuer", value: "https://kubernetes.default.svc.{key:cluster-domain}", since: 20},
		{flag: "service-account-key-file", value: "{server}/tls/service.key"},
		{flag: "service-account-signing-key-file", value: "{server}/tls/service.key", until: 25},
		{flag: "service-account-signing-key-file", value: "{server}/tls/service.current.key", since: 26},
		{flag: "service-cluster-ip-range", value: "{key:service-cidr}"},
		{flag: "service-node-port-range", value: "{key:service-node-port-range}"},
		{flag: "storage-backend", value: "etcd3"},
		{flag: "tls-cert-file", value: "{server}/tls/serving-kube-apiserver.crt"},
		{flag: "tls-private-key-file", value: "{server}/tls/serving-kube-apiserver.key"},
	},
	ControllerManager: {
		{flag: "address", value: "127.0.0.1", until: 21},
		{flag: "allocate-node-cidrs", value: "true"},
		{flag: "authentication-kubeconfig", value: "{server}/cred/controller.kubeconfig", since: 22},
		{flag: "authorization-kubeconfig", value: "{server}/cred/controller.kubeconfig", since: 22},
		{flag: "bind-address", value: "127.0.0.1"},
		{flag: "cluster-cidr", value: "{key:cluster-cidr}"},
		{flag: "cluster-signing-kube-apiserver-client-cert-file", value: "{server}/tls/client-ca.crt", until: 25},
		{flag: "cluster-signing-kube-apiserver-client-cert-file", value: "{server}/tls/client-ca.nochain.crt", since: 26},
		{flag: "cluster-signing-kube-apiserver-client-key-file", value: "{server}/tls/client-ca.key"},
		{flag: "cluster-signing-kubelet-client-cert-file", value: "{server}/tls/client-ca.crt", until: 25},
		{flag: "cluster-signing-kubelet-client-cert-file", value: "{server}/tls/client-ca.nochain.crt", since: 26},
		{flag: "cluster-signing-kubelet-client-key-file", value: "{server}/tls/client-ca.key"},
		{flag: "cluster-signing-kubelet-serving-cert-file", value: "{server}/tls/server-ca.crt", until: 25},
		{flag: "cluster-signing-kubelet-serving-cert-file", value: "{server}/tls/server-ca.nochain.crt", since: 26},
		{flag: "cluster-signing-kubelet-serving-key-file", value: "{server}/tls/server-ca.key"},
		{flag: "cluster-signing-legacy-unknown-cert-file", value: "{server}/tls/client-ca.crt", until: 25},
		{flag: "cluster-signing-legacy-unknown-cert-file", value: "{server}/tls/server-ca.nochain.crt", since: 26},
		{flag: "cluster-signing-legacy-unknown-key-file", value: "{server}/tls/client-ca.key", until: 25},
		{flag: "cluster-signing-legacy-unknown-key-file", value: "{server}/tls/server-ca.key", since: 26},
		{flag: "configure-cloud-routes", value: "false", when: ifCloudController},
		{flag: "controllers", value: "*,-service,-route,-cloud-node-lifecycle", when: ifCloudController, until: 21},
		{flag: "controllers", value: "*,tokencleaner,-service,-route,-cloud-node-lifecycle", when: ifCloudController, since: 22},
		{flag: "controllers", value: "*,tokencleaner", when: ifNoCloudController, since: 22},
		{flag: "kubeconfig", value: "{server}/cred/controller.kubeconfig"},
		{flag: "leader-elect", value: "false", when: ifSQLite},
		{flag: "port", value: "10252", until: 21},
		{flag: "profiling", value: "false"},
		{flag: "root-ca-file", value: "{server}/tls/server-ca.crt"},
		{flag: "secure-port", value: "0", until: 21},
		{flag: "secure-port", value: "10257", since: 22},
		{flag: "service-account-private-key-file", value: "{server}/tls/service.key", until: 25},
		{flag: "service-account-private-key-file", value: "{server}/tls/service.current.key", since: 26},
		{flag: "service-cluster-ip-range", value: "{key:service-cidr}", since: 22},
		{flag: "tls-cert-file", value: "{server}/tls/kube-controller-manager/kube-controller-manager.crt", since: 33},
		{flag: "tls-private-key-file", value: "{server}/tls/kube-controller-manager/kube-controller-manager.key", since: 33},
		{flag: "use-service-account-credentials", value: "true"},
	},
	Scheduler: {
		{flag: "address", value: "127.0.0.1", until: 21},
		{flag: "authentication-kubeconfig", value: "{server}/cred/scheduler.kubeconfig", since: 22},
		{flag: "authorization-kubeconfig", value: "{server}/cred/scheduler.kubeconfig", since: 22},
		{flag: "bind-address", value: "127.0.0.1"},
		{flag: "kubeconfig", value: "{server}/cred/scheduler.kubeconfig"},
		{flag: "leader-elect", value: "false", when: ifSQLite},
		{flag: "port", value: "10251", until: 21},
		{flag: "profiling", value: "false"},
		{flag: "secure-port", value: "0", until: 21},
		{flag: "secure-port", value: "10259", since: 22},
		{flag: "tls-cert-file", value: "{server}/tls/kube-scheduler/kube-scheduler.crt", since: 33},
		{flag: "tls-private-key-file", value: "{server}/tls/kube-scheduler/kube-scheduler.key", since: 33},
	},
	Etcd: {
		{flag: "cert-file", value: "{server}/tls/etcd/server-client.crt"},
		{flag: "client-cert-auth", value: "true"},
		{flag: "data-dir", value: "{server}/db/etcd"},
		{flag: "key-file", value: "{server}/tls/etcd/server-client.key"},
		{flag: "listen-metrics-urls", value: "http://127.0.0.1:2381", when: ifNoExposure},
		{flag: "peer-cert-file", value: "{server}/tls/etcd/peer-server-client.crt"},
		{flag: "peer-client-cert-auth", value: "true"},
		{flag: "peer-key-file", value: "{server}/tls/etcd/peer-server-client.key"},
		{flag: "peer-trusted-ca-file", value: "{server}/tls/etcd/peer-ca.crt"},
		{flag: "trusted-ca-file", value: "{server}/tls/etcd/server-ca.crt"},
	},
	Kubelet: {
		{flag: "address", value: "{key:bind-address}", file: true},
		{flag: "allowed-unsafe-sysctls", value: "net.ipv4.ip_forward,net.ipv6.conf.all.forwarding", when: ifServiceLB, since: 26, file: true},
		{flag: "anonymous-auth", value: "false", file: true},
		{flag: "authentication-token-webhook", value: "true", file: true},
		{flag: "authorization-mode", value: "Webhook", file: true},
		{flag: "client-ca-file", value: "{agent}/client-ca.crt", file: true},
		{flag: "cloud-provider", value: "external", when: ifCloudController},
		{flag: "cluster-domain", value: "{key:cluster-domain}", file: true},
		{flag: "config-dir", value: "{agent}/etc/kubelet.conf.d", since: 32},
		{flag: "eviction-hard", value: "imagefs.available<5%,nodefs.available<5%", file: true},
		{flag: "eviction-minimum-reclaim", value: "imagefs.available=10%,nodefs.available=10%", file: true},
		{flag: "fail-swap-on", value: "false", file: true},
		{flag: "healthz-bind-address", value: "127.0.0.1", file: true},
		{flag: "hostname-override", value: "{key:node-name}", when: ifNodeName},
		{flag: "kubeconfig", value: "{agent}/kubelet.kubeconfig"},
		{flag: "pod-manifest-path", value: "{agent}/pod-manifests", file: true},
		{flag: "protect-kernel-defaults", value: "true", when: ifProtectKernel, file: true},
		{flag: "read-only-port", value: "0"},
		{flag: "resolv-conf", value: "{key:resolv-conf}", when: ifResolvConf, file: true},
		{flag: "streaming-connection-idle-timeout", value: "4h0m0s", since: 32, file: true},
		{flag: "tls-cert-file", value: "{agent}/serving-kubelet.crt", file: true},
		{flag: "tls-private-key-file", value: "{agent}/serving-kubelet.key", file: true},
	},
	KubeProxy: {
		{flag: "cluster-cidr", value: "{key:cluster-cidr}"},
		{flag: "conntrack-max-per-core", value: "0"},
		{flag: "conntrack-tcp-timeout-close-wait", value: "0s"},
		{flag: "conntrack-tcp-timeout-established", value: "0s"},
		{flag: "healthz-bind-address", value: "127.0.0.1"},
		{flag: "hostname-override", value: "{key:node-name}", when: ifNodeName},
		{flag: "kubeconfig", value: "{agent}/kubeproxy.kubeconfig"},
		{flag: "proxy-mode", value: "iptables"},
	},
}

// settingDefaults are the values of K3s keys that appear in defaults above.
var settingDefaults = map[string]string{
	"bind-address":            "0.0.0.0",
	"cluster-cidr":            "10.42.0.0/16",
	"service-cidr":            "10.43.0.0/16",
	"cluster-domain":          "cluster.local",
	"https-listen-port":       "6443",
	"service-node-port-range": "30000-32767",
	"egress-selector-mode":    "agent",
}
