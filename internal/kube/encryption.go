package kube

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// Encryption is an encryption configuration as the API server understood it.
type Encryption struct {
	// Writes is the provider that encrypts Secrets: aescbc, aesgcm, secretbox,
	// kms or identity; "" where none is given for them.
	Writes string
	// KeyLines are the lines at which keys stand, of any resource.
	KeyLines []int
	// kmsV1Lines are the lines of KMS providers of version v1.
	kmsV1Lines []int
}

const encryptionAdvice = "an EncryptionConfiguration of apiserver.config.k8s.io/v1 has resources, each with resources and providers, of which each is one of aescbc, aesgcm, secretbox, kms and identity"

func encryptionScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(apiserver.AddToScheme(s))
	utilruntime.Must(apiserverv1.AddToScheme(s))
	return s
}

// LoadEncryption reads an encryption configuration (--encryption-provider-config)
// as the API server of release r does. name is used in errors, which never hold
// a key. An error joins *Error values, one for each thing that would make the
// API server exit.
func LoadEncryption(r k3s.Release, name string, data []byte) (*Encryption, error) {
	src, err := newSource(name, data)
	if err != nil {
		return nil, err
	}
	var strict []serializer.CodecFactoryOptionsMutator
	if r.AtLeast(1, 30) { // at the latest: what older ones did with unknown fields is not claimed
		strict = append(strict, serializer.EnableStrict)
	}
	decoded, err := runtime.Decode(serializer.NewCodecFactory(encryptionScheme(), strict...).UniversalDecoder(), data)
	if err != nil {
		return nil, join(src.decodeErrors(err, encryptionAdvice))
	}
	config, ok := decoded.(*apiserver.EncryptionConfiguration)
	if !ok {
		return nil, src.errorf("kind", "got unexpected config type; %s", encryptionAdvice)
	}
	if errs := checkEncryption(config); len(errs) > 0 {
		return nil, join(src.fieldErrors(errs))
	}
	out := &Encryption{}
	for i, resources := range config.Resources {
		for j, provider := range resources.Providers {
			kind, keys := providerOf(provider)
			// The first provider that is given for Secrets writes them.
			if out.Writes == "" && coverSecrets(r, resources.Resources) {
				out.Writes = kind
			}
			if p := provider.KMS; p != nil && p.APIVersion == "v1" {
				out.kmsV1Lines = append(out.kmsV1Lines, src.lines.at(fmt.Sprintf("resources[%d].providers[%d].kms", i, j)))
			}
			for k := range keys {
				out.KeyLines = append(out.KeyLines, src.lines.at(fmt.Sprintf("resources[%d].providers[%d].%s.keys[%d].secret", i, j, kind, k)))
			}
		}
	}
	return out, nil
}

// coverSecrets says whether Secrets are among resources. Before v1.27 patterns
// were names that no resource has (Kubernetes, CHANGELOG-1.27).
func coverSecrets(r k3s.Release, resources []string) bool {
	return slices.ContainsFunc(resources, func(name string) bool {
		return name == "secrets" || r.AtLeast(1, 27) && (name == "*." || name == "*.*")
	})
}

// providerOf is the kind of a provider, and its keys if it has any.
func providerOf(p apiserver.ProviderConfiguration) (kind string, keys []apiserver.Key) {
	switch {
	case p.AESCBC != nil:
		return "aescbc", p.AESCBC.Keys
	case p.AESGCM != nil:
		return "aesgcm", p.AESGCM.Keys
	case p.Secretbox != nil:
		return "secretbox", p.Secretbox.Keys
	case p.KMS != nil:
		return "kms", nil
	}
	return "identity", nil
}

// checkEncryption says what the API server's own validation
// (k8s.io/apiserver/pkg/apis/apiserver/validation) would. That package brings an
// interpreter of CEL, which is a fifth of the plugin and a third of its start.
func checkEncryption(c *apiserver.EncryptionConfiguration) field.ErrorList {
	root := field.NewPath("resources")
	if len(c.Resources) == 0 {
		return field.ErrorList{field.Required(root, "at least one is required; "+encryptionAdvice)}
	}
	var errs field.ErrorList
	kms := map[string]bool{}
	for i, r := range c.Resources {
		resources, providers := root.Index(i).Child("resources"), root.Index(i).Child("providers")
		if len(r.Resources) == 0 {
			errs = append(errs, field.Required(resources, "at least one is required; name secrets"))
		}
		if len(slices.Compact(slices.Sorted(slices.Values(r.Resources)))) < len(r.Resources) {
			errs = append(errs, field.Invalid(resources, "", "the same resource cannot be specified multiple times"))
		}
		if len(r.Providers) == 0 {
			errs = append(errs, field.Required(providers, "at least one is required; "+encryptionAdvice))
		}
		for j, p := range r.Providers {
			errs = append(errs, checkProvider(p, providers.Index(j), kms)...)
		}
	}
	return errs
}

// keySizes are how many bytes a key of a provider has.
var keySizes = map[string][]int{"aescbc": {16, 24, 32}, "aesgcm": {16, 24, 32}, "secretbox": {32}}

// checkProvider judges one provider; kms are the names of those before it.
func checkProvider(p apiserver.ProviderConfiguration, at *field.Path, kms map[string]bool) field.ErrorList {
	given := 0
	for _, set := range []bool{p.AESCBC != nil, p.AESGCM != nil, p.Secretbox != nil, p.KMS != nil, p.Identity != nil} {
		if set {
			given++
		}
	}
	if given != 1 {
		return field.ErrorList{field.Invalid(at, "", fmt.Sprintf("a provider has exactly one kind, found %d; %s", given, encryptionAdvice))}
	}
	if p.KMS != nil {
		return checkKMS(p.KMS, at.Child("kms"), kms)
	}
	kind, keys := providerOf(p)
	sizes, keyed := keySizes[kind]
	at = at.Child(kind, "keys")
	if keyed && len(keys) == 0 {
		return field.ErrorList{field.Required(at, "at least one key is required")}
	}
	var errs field.ErrorList
	for i, k := range keys {
		secret, err := base64.StdEncoding.DecodeString(k.Secret)
		if k.Name == "" {
			errs = append(errs, field.Required(at.Index(i).Child("name"), "name is a mandatory field for a key"))
		}
		switch {
		case k.Secret == "":
			errs = append(errs, field.Required(at.Index(i).Child("secret"), "secret is a mandatory field for a key"))
		case err != nil:
			errs = append(errs, field.Invalid(at.Index(i).Child("secret"), "", "secrets must be base64 encoded"))
		case !slices.Contains(sizes, len(secret)):
			errs = append(errs, field.Invalid(at.Index(i).Child("secret"), "", fmt.Sprintf("secret is not of the expected length, got %d, expected one of %v", len(secret), sizes)))
		}
	}
	return errs
}

func checkKMS(c *apiserver.KMSConfiguration, at *field.Path, before map[string]bool) field.ErrorList {
	var errs field.ErrorList
	wrong := func(child, why string) { errs = append(errs, field.Invalid(at.Child(child), "", why)) }
	if c.APIVersion != "v1" && c.APIVersion != "v2" {
		wrong("apiVersion", "unsupported apiVersion; it is v1 or v2")
	}
	switch {
	case c.Name == "":
		wrong("name", "name is a mandatory field for a provider")
	case c.APIVersion == "v2" && strings.Contains(c.Name, ":"):
		wrong("name", "must not contain ':'")
	case c.APIVersion == "v2" && before[c.Name]:
		wrong("name", "names must be unique")
	}
	before[c.Name] = true
	if u, err := url.Parse(c.Endpoint); err != nil || u.Scheme != "unix" {
		wrong("endpoint", "only sockets are supported; write such as unix:///run/kms.sock")
	}
	if c.Timeout != nil && c.Timeout.Duration <= 0 {
		wrong("timeout", "timeout should be a positive value")
	}
	if c.CacheSize != nil && (c.APIVersion == "v2" || *c.CacheSize == 0) {
		wrong("cachesize", "v2 has none, and that of v1 is positive, or negative for none")
	}
	return errs
}
