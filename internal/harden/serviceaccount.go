package harden

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// accountNamespaces are those that exist at first boot.
var accountNamespaces = []string{"default", "kube-public", "kube-node-lease", kubeSystem}

// serviceAccounts plans the default ServiceAccounts without a token (CIS
// 5.1.5). They have a manifest of their own: an object that is taken out of a
// manifest is deleted from the cluster, and these must not go with others.
func serviceAccounts(c *choices) (node.Entry, error) {
	no := false
	var accounts []corev1.ServiceAccount
	for _, ns := range accountNamespaces {
		accounts = append(accounts, corev1.ServiceAccount{
			TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
			ObjectMeta:                   metav1.ObjectMeta{Name: "default", Namespace: ns},
			AutomountServiceAccountToken: &no,
		})
	}
	data, err := manifest(`# K3s CIS hardening guide, control 5.1.5: pods that name no service account get no
# token. K3s sets this one field of the accounts that exist already.`, accounts)
	return file(c.manifest(accountsManifest), 0o600, data), err
}
