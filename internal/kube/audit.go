package kube

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/apis/audit/validation"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// AuditPolicy is an audit policy as the API server understood it.
type AuditPolicy struct {
	// Policy has at least one rule, all valid.
	Policy *audit.Policy
	// Ignored tells of fields that the API server drops with no more than a
	// line in its log, each with the file and line.
	Ignored []*Error
}

const auditAdvice = "a Policy of audit.k8s.io/v1 has rules, each with a level and perhaps users, verbs, resources, namespaces, nonResourceURLs, omitStages"

// auditBetas are the versions from before audit.k8s.io/v1, whose Policy has
// the same fields; Kubernetes v1.24 removed them.
var auditBetas = []schema.GroupVersion{
	{Group: audit.GroupName, Version: "v1beta1"},
	{Group: audit.GroupName, Version: "v1alpha1"},
}

func auditScheme(betas bool) *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(auditv1.AddToScheme(s))
	if betas {
		for _, gv := range auditBetas {
			s.AddKnownTypeWithName(gv.WithKind("Policy"), &auditv1.Policy{})
		}
	}
	return s
}

// LoadAuditPolicy reads an audit policy file (--audit-policy-file) as the API
// server of release r does. name is used in errors. An error joins *Error
// values, one for each thing that would make the API server exit.
func LoadAuditPolicy(r k3s.Release, name string, data []byte) (*AuditPolicy, error) {
	src, err := newSource(name, data)
	if err != nil {
		return nil, err
	}
	scheme := auditScheme(!r.AtLeast(1, 24))
	out := &AuditPolicy{Policy: &audit.Policy{}}
	decoded, _, err := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer().Decode(data, nil, nil)
	if runtime.IsStrictDecodingError(err) {
		out.Ignored = src.decodeErrors(err, auditAdvice)
		decoded, _, err = serializer.NewCodecFactory(scheme).UniversalDeserializer().Decode(data, nil, nil)
	}
	if err != nil {
		return nil, join(src.decodeErrors(fmt.Errorf("failed decoding: %w", err), auditAdvice))
	}
	policy, ok := decoded.(*auditv1.Policy)
	if !ok {
		return nil, src.errorf("kind", "failed decoding: the file holds a %T; %s", decoded, auditAdvice)
	}
	if err := auditv1.Convert_v1_Policy_To_audit_Policy(policy, out.Policy, nil); err != nil {
		return nil, src.errorf("", "failed decoding: %v", err)
	}
	if errs := validation.ValidatePolicy(out.Policy); len(errs) > 0 {
		return nil, join(src.fieldErrors(errs))
	}
	if len(out.Policy.Rules) == 0 {
		return nil, src.errorf("rules", "loaded illegal policy with 0 rules; %s", auditAdvice)
	}
	return out, nil
}
