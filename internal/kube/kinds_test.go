package kube

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1beta1 "k8s.io/api/admissionregistration/v1beta1"
	appsv1beta1 "k8s.io/api/apps/v1beta1"
	appsv1beta2 "k8s.io/api/apps/v1beta2"
	batchv1beta1 "k8s.io/api/batch/v1beta1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	coordinationv1beta1 "k8s.io/api/coordination/v1beta1"
	discoveryv1beta1 "k8s.io/api/discovery/v1beta1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	flowcontrolv1beta1 "k8s.io/api/flowcontrol/v1beta1"
	flowcontrolv1beta2 "k8s.io/api/flowcontrol/v1beta2"
	flowcontrolv1beta3 "k8s.io/api/flowcontrol/v1beta3"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	nodev1beta1 "k8s.io/api/node/v1beta1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	storagev1beta1 "k8s.io/api/storage/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestLifecycles compares the table to what Kubernetes's types say themselves.
func TestLifecycles(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		admissionv1beta1.AddToScheme, appsv1beta1.AddToScheme, appsv1beta2.AddToScheme, batchv1beta1.AddToScheme,
		certificatesv1beta1.AddToScheme, coordinationv1beta1.AddToScheme, discoveryv1beta1.AddToScheme,
		extensionsv1beta1.AddToScheme, flowcontrolv1beta1.AddToScheme, flowcontrolv1beta2.AddToScheme,
		flowcontrolv1beta3.AddToScheme, networkingv1beta1.AddToScheme, nodev1beta1.AddToScheme, policyv1beta1.AddToScheme,
		rbacv1beta1.AddToScheme, schedulingv1beta1.AddToScheme, storagev1beta1.AddToScheme,
	} {
		require.NoError(t, add(scheme))
	}
	compared := 0
	for gvk := range scheme.AllKnownTypes() {
		object, err := scheme.New(gvk)
		require.NoError(t, err)
		mortal, ok := object.(interface{ APILifecycleRemoved() (int, int) })
		if !ok || strings.HasSuffix(gvk.Kind, "List") {
			continue
		}
		version := gvk.GroupVersion().String()
		l, listed := lifecycles[version+" "+gvk.Kind]
		if !listed {
			l, listed = lifecycles[version]
		}
		if listed {
			_, removed := mortal.APILifecycleRemoved()
			assert.Equal(t, removed, l.span.until, "%s", gvk)
			compared++
		}
	}
	assert.Greater(t, compared, 30)
}
