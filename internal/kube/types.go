package kube

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The types below have the fields of Kubernetes's own. Those stand in packages
// that would bring a metrics client and a tracing library into the plugin, or
// in k8s.io/kubernetes, which is not made to be imported.

// admissionConfiguration is AdmissionConfiguration, the same in all versions.
type admissionConfiguration struct {
	metav1.TypeMeta `json:",inline"`
	Plugins         []admissionPlugin `json:"plugins"`
}

type admissionPlugin struct {
	Name          string           `json:"name"`
	Path          string           `json:"path"`
	Configuration *runtime.Unknown `json:"configuration"`
}

// DeepCopyObject is what makes the type a runtime.Object.
func (c *admissionConfiguration) DeepCopyObject() runtime.Object {
	out := *c
	out.Plugins = slices.Clone(c.Plugins)
	for i, p := range out.Plugins {
		out.Plugins[i].Configuration = p.Configuration.DeepCopy()
	}
	return &out
}

func admissionScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, gv := range []schema.GroupVersion{
		{Group: "apiserver.config.k8s.io", Version: "v1"},
		{Group: "apiserver.k8s.io", Version: "v1alpha1"},
	} {
		s.AddKnownTypeWithName(gv.WithKind("AdmissionConfiguration"), &admissionConfiguration{})
	}
	return s
}

// rateLimitConfiguration is the Configuration of the EventRateLimit plugin.
type rateLimitConfiguration struct {
	metav1.TypeMeta `json:",inline"`
	Limits          []rateLimit `json:"limits"`
}

type rateLimit struct {
	Type      string `json:"type"`
	QPS       int32  `json:"qps"`
	Burst     int32  `json:"burst"`
	CacheSize int32  `json:"cacheSize,omitempty"`
}

// DeepCopyObject is what makes the type a runtime.Object.
func (c *rateLimitConfiguration) DeepCopyObject() runtime.Object {
	out := *c
	out.Limits = slices.Clone(c.Limits)
	return &out
}

func rateLimitScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	gv := schema.GroupVersion{Group: "eventratelimit.admission.k8s.io", Version: "v1alpha1"}
	s.AddKnownTypeWithName(gv.WithKind("Configuration"), &rateLimitConfiguration{})
	return s
}
