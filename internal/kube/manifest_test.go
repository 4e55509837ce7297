package kube

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
)

// Document is a manifest of one object, which LoadManifest and the real API
// server must agree on.
type Document struct {
	Name, Text string
	// Refused is what LoadManifest says; empty when it is accepted.
	Refused string
	// Line is where it says so.
	Line int
}

func networkPolicy(spec string) string {
	return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n  namespace: default\nspec:\n  podSelector: {}\n" + spec
}

// Documents are judged by TestDocuments and, for real, by TestAccDocuments.
var Documents = []Document{
	{Name: "service account", Text: "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: default}\nautomountServiceAccountToken: false\n"},
	{
		Name: "service account with a misspelt field", Text: "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default}\nautomountServiceAccountTokens: false\n",
		Refused: `unknown field "automountServiceAccountTokens"; see the fields of v1 ServiceAccount`, Line: 4,
	},
	{
		Name: "service account with a word for a boolean", Text: "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default}\nautomountServiceAccountToken: \"false\"\n",
		Refused: "cannot unmarshal string into Go struct field ServiceAccount.automountServiceAccountToken of type bool", Line: 1,
	},
	{Name: "capitals in a name", Text: "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: Default\n", Refused: "metadata.name: Invalid value: a lowercase", Line: 4},
	{Name: "space in a label", Text: "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  labels: {a: b c}\n", Refused: "metadata.labels: Invalid value: a valid label", Line: 5},
	{Name: "namespace with a dot", Text: "apiVersion: v1\nkind: Namespace\nmetadata: {name: a.b}\n", Refused: "metadata.name: Invalid value: must not contain dots", Line: 3},
	{Name: "role named with a colon", Text: "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'psp:restricted'}\nrules: []\n"},
	{Name: "role named with a slash", Text: "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: psp/restricted}\nrules: []\n", Refused: `metadata.name: Invalid value: may not be`, Line: 3},
	{Name: "dot in front of a namespace's name", Text: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: .b}\n", Refused: "metadata.namespace: Invalid value: a lowercase", Line: 3},
	{Name: "policy", Text: networkPolicy("  policyTypes: [Ingress]\n  ingress:\n  - from: [{podSelector: {}}]\n    ports: [{port: 53, protocol: UDP}, {port: https}, {port: 8000, endPort: 8080}]\n")},
	{Name: "policy by address", Text: networkPolicy("  ingress:\n  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]\n")},
	{Name: "policy of namespaces by label", Text: networkPolicy("  ingress:\n  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]\n")},
	{Name: "policy with a misspelt field", Text: networkPolicy("  policyType: [Ingress]\n"), Refused: `unknown field "spec.policyType"`, Line: 8},
	{Name: "policy of no type", Text: networkPolicy("  policyTypes: [Inbound]\n"), Refused: "spec.policyTypes[0]: Unsupported value: supported values", Line: 8},
	{Name: "policy of three types", Text: networkPolicy("  policyTypes: [Ingress, Egress, Ingress]\n"), Refused: "spec.policyTypes: Too many", Line: 8},
	{Name: "port too high", Text: networkPolicy("  ingress:\n  - ports: [{port: 99999}]\n"), Refused: "spec.ingress[0].ports[0].port: Invalid value: must be between 1 and 65535", Line: 9},
	{Name: "port name too long", Text: networkPolicy("  ingress:\n  - ports: [{port: sixteen-letters-x}]\n"), Refused: "spec.ingress[0].ports[0].port", Line: 9},
	{Name: "port of no protocol", Text: networkPolicy("  ingress:\n  - ports: [{port: 1, protocol: tcp}]\n"), Refused: "protocol: Unsupported value: supported values", Line: 9},
	{Name: "range of ports backwards", Text: networkPolicy("  ingress:\n  - ports: [{port: 9, endPort: 8}]\n"), Refused: "endPort: Invalid value: 8: must not be below port", Line: 9},
	{Name: "range of ports without a start", Text: networkPolicy("  ingress:\n  - ports: [{endPort: 8}]\n"), Refused: "endPort: Invalid value: 8: needs a port that is a number", Line: 9},
	{Name: "range of ports too high", Text: networkPolicy("  egress:\n  - ports: [{port: 9, endPort: 70000}]\n"), Refused: "spec.egress[0].ports[0].endPort: Invalid value: 70000", Line: 9},
	{Name: "empty peer", Text: networkPolicy("  ingress:\n  - from: [{}]\n"), Refused: "spec.ingress[0].from[0]: Required value", Line: 9},
	{Name: "peer of both kinds", Text: networkPolicy("  egress:\n  - to: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]\n"), Refused: "spec.egress[0].to[0]: Forbidden", Line: 9},
	{Name: "network that is none", Text: networkPolicy("  ingress:\n  - from: [{ipBlock: {cidr: 10.0.0.0}}]\n"), Refused: "ipBlock.cidr: Invalid value", Line: 9},
	{Name: "hole outside the network", Text: networkPolicy("  ingress:\n  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]\n"), Refused: "ipBlock.except[0]: Invalid value", Line: 9},
	{Name: "hole as large as the network", Text: networkPolicy("  ingress:\n  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]\n"), Refused: "must lie within cidr and be smaller", Line: 9},
	{Name: "hole that is no network", Text: networkPolicy("  ingress:\n  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [x]}}]\n"), Refused: "ipBlock.except[0]: Invalid value", Line: 9},
	{Name: "selector of no operator", Text: networkPolicy("  ingress:\n  - from: [{podSelector: {matchExpressions: [{key: a, operator: Is}]}}]\n"), Refused: "not a valid selector operator", Line: 9},
	{Name: "selector with a bad key", Text: networkPolicy("  ingress:\n  - from: [{namespaceSelector: {matchLabels: {'a b': c}}}]\n"), Refused: "namespaceSelector.matchLabels", Line: 9},
}

func TestDocuments(t *testing.T) {
	for _, d := range Documents {
		t.Run(d.Name, func(t *testing.T) {
			objects, err := LoadManifest("m.yaml", []byte(d.Text))
			if d.Refused == "" {
				require.NoError(t, err)
				require.Len(t, objects, 1)
				assert.NotNil(t, objects[0].Typed)
				return
			}
			found := Errors(err)
			require.Len(t, found, 1)
			assert.Contains(t, found[0].Text, d.Refused)
			assert.Equal(t, d.Line, found[0].Line)
			assert.Equal(t, "m.yaml", found[0].File)
		})
	}
}

// TestLoadManifest reads files as K3s's deploy controller does.
func TestLoadManifest(t *testing.T) {
	const account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a, namespace: ns}\n"
	for _, test := range []struct {
		name, text string
		want       []string // object@line
		refused    string   // what the error says, with its line
	}{
		{name: "nothing"},
		{name: "comments and separators", text: "---\n# a\n---\n\n---\n"},
		{name: "two documents", text: "# first\n" + account + "---\n# second\n" + account, want: []string{"ServiceAccount ns/a@2", "ServiceAccount ns/a@7"}},
		{name: "separator with a comment", text: "--- # one\n" + account + "--- # two\n" + account + "---\n", want: []string{"ServiceAccount ns/a@2", "ServiceAccount ns/a@6"}},
		{name: "equal documents", text: account + "---\n" + account + "---\n" + account, want: []string{"ServiceAccount ns/a@1", "ServiceAccount ns/a@5", "ServiceAccount ns/a@9"}},
		{name: "carriage returns", text: strings.ReplaceAll(account+"---\n"+account, "\n", "\r\n"), want: []string{"ServiceAccount ns/a@1", "ServiceAccount ns/a@5"}},
		{name: "no newline at the end", text: strings.TrimSpace(account), want: []string{"ServiceAccount ns/a@1"}},
		{name: "JSON", text: "{\"apiVersion\": \"v1\",\n \"kind\": \"ServiceAccount\", \"metadata\": {\"name\": \"a\"}}", want: []string{"ServiceAccount a@1"}},
		{name: "list", text: "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: b}}\n", want: []string{"Namespace a@4", "Namespace b@5"}},
		{name: "kind of K3s", text: "apiVersion: helm.cattle.io/v1\nkind: HelmChartConfig\nmetadata: {name: traefik, namespace: kube-system}\nspec: {valuesContent: x, any: [thing]}\n", want: []string{"HelmChartConfig kube-system/traefik@1"}},
		{name: "error in the second document", text: account + "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\nsecret: []\n", refused: `m.yaml:8: unknown field "secret"`},
		{name: "error in a list", text: "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: a, labells: {}}\n", refused: `m.yaml:6: unknown field "metadata.labells"`},
		{name: "two errors", text: "kind: A\n---\nkind: B\n", refused: "m.yaml:1: Object 'apiVersion' is missing in this A; write it, such as apiVersion: v1\nm.yaml:1: metadata.name is missing"},
		{name: "namespace that YAML reads as no", text: "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: n}\n", refused: "m.yaml:3: cannot unmarshal bool into Go struct field (hidden).metadata.namespace of type string"},
		{name: "no kind", text: "apiVersion: v1\nmetadata: {name: a}\n", refused: "m.yaml:1: Object 'Kind' is missing"},
		{name: "no name", text: "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", refused: "m.yaml:3: metadata.name is missing in this Pod: K3s needs it to create the object and to find it again; generateName does not do"},
		{name: "key twice", text: account + "kind: ServiceAccount\n", refused: "m.yaml:4: a key that is there twice"},
		{name: "not YAML", text: account + "---\na: [\n", refused: "m.yaml:5: did not find expected node content"},
		{name: "text after a separator", text: "---x\n" + account, refused: "m.yaml:1: in the document that begins here: a separator that is none"},
		{name: "a word", text: "hello\n", refused: "m.yaml:1: "},
		{name: "too large", text: strings.Repeat("#", maxFileSize+1), refused: "m.yaml: the file has 4194305 bytes: no more than 4194304 are read"},
		{name: "too many", text: strings.Repeat(account+"---\n", maxObjects+1), refused: "m.yaml: the manifest has more than 10000 objects"},
		{name: "bomb", text: bomb(), refused: "aliases that expand without bound"},
	} {
		t.Run(test.name, func(t *testing.T) {
			objects, err := LoadManifest("m.yaml", []byte(test.text))
			if test.refused != "" {
				require.ErrorContains(t, err, test.refused)
				assert.Empty(t, objects)
				return
			}
			require.NoError(t, err)
			var got []string
			for _, o := range objects {
				assert.Equal(t, "m.yaml", o.File)
				got = append(got, fmt.Sprintf("%s@%d", o, o.Line))
			}
			assert.Equal(t, test.want, got)
		})
	}
}

// bomb is a few lines that would grow to ten thousand million.
func bomb() string {
	var text strings.Builder
	text.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 10; i++ {
		alias := fmt.Sprintf("*a%d", i-1)
		fmt.Fprintf(&text, "a%d: &a%d [%s]\n", i, i, strings.Join([]string{alias, alias, alias, alias, alias, alias, alias, alias, alias, alias}, ", "))
	}
	return text.String()
}

func TestLoadManifestTyped(t *testing.T) {
	objects, err := LoadManifest("m.yaml", []byte(networkPolicy("  policyTypes: [Ingress]\n")))
	require.NoError(t, err)
	got, ok := objects[0].Typed.(*networkingv1.NetworkPolicy)
	require.True(t, ok)
	assert.Equal(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, got.Spec.PolicyTypes)
	assert.JSONEq(t, `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"p","namespace":"default"},"spec":{"podSelector":{},"policyTypes":["Ingress"]}}`, string(objects[0].Raw))
}
