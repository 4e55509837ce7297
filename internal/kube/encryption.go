package kube

import (
	"encoding/base64"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// Encryption is an encryption configuration as the API server understood it.
type Encryption struct {
	// Writes is the provider that encrypts Secrets: aescbc, aesgcm, secretbox,
	// kms or identity; "" where none is given for them.
	Writes string
	// KeyLines are the lines at which keys stand, of any resource.
	KeyLines []int
}

const encryptionAdvice = "an EncryptionConfiguration of apiserver.config.k8s.io/v1 has resources, each with resources and providers, of which each is one of aescbc, aesgcm, secretbox, kms and identity"

type encryptionConfiguration struct {
	metav1.TypeMeta `json:",inline"`
	Resources       []encryptedResources `json:"resources"`
}

type encryptedResources struct {
	Resources []string             `json:"resources"`
	Providers []encryptionProvider `json:"providers"`
}

type encryptionProvider struct {
	AESGCM    *encryptionKeys `json:"aesgcm,omitempty"`
	AESCBC    *encryptionKeys `json:"aescbc,omitempty"`
	Secretbox *encryptionKeys `json:"secretbox,omitempty"`
	Identity  *struct{}       `json:"identity,omitempty"`
	KMS       *encryptionKMS  `json:"kms,omitempty"`
}

type encryptionKeys struct {
	Keys []struct {
		Name   string `json:"name"`
		Secret string `json:"secret"`
	} `json:"keys"`
}

type encryptionKMS struct {
	APIVersion string           `json:"apiVersion"`
	Name       string           `json:"name"`
	CacheSize  *int32           `json:"cachesize,omitempty"`
	Endpoint   string           `json:"endpoint"`
	Timeout    *metav1.Duration `json:"timeout,omitempty"`
}

// DeepCopyObject is what makes the type a runtime.Object; nothing below the
// list is ever changed.
func (c *encryptionConfiguration) DeepCopyObject() runtime.Object {
	out := *c
	out.Resources = slices.Clone(c.Resources)
	return &out
}

func encryptionScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	gv := schema.GroupVersion{Group: "apiserver.config.k8s.io", Version: "v1"}
	s.AddKnownTypeWithName(gv.WithKind("EncryptionConfiguration"), &encryptionConfiguration{})
	return s
}

// LoadEncryption reads an encryption configuration (--encryption-provider-config)
// as the API server of release r does. name is used in errors, which never hold a key. An
// error joins *Error values, one for each thing that would make the API server
// exit.
func LoadEncryption(r k3s.Release, name string, data []byte) (*Encryption, error) {
	src, err := newSource(name, data)
	if err != nil {
		return nil, err
	}
	var strict []serializer.CodecFactoryOptionsMutator
	if r.AtLeast(1, 30) { // at the latest: what older ones did with unknown fields is not claimed
		strict = append(strict, serializer.EnableStrict)
	}
	decoded, _, err := serializer.NewCodecFactory(encryptionScheme(), strict...).UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return nil, join(src.decodeErrors(err, encryptionAdvice))
	}
	config, ok := decoded.(*encryptionConfiguration)
	if !ok {
		return nil, src.errorf("kind", "got unexpected config type; %s", encryptionAdvice)
	}
	if len(config.Resources) == 0 {
		return nil, src.errorf("resources", "resources: Required value: at least one is required; %s", encryptionAdvice)
	}
	out := &Encryption{}
	var errs []*Error
	for i, r := range config.Resources {
		errs = append(errs, out.add(r, src.below(fmt.Sprintf("resources[%d]", i)))...)
	}
	return out, join(errs)
}

// add judges the providers of some resources. The first that is given for
// Secrets, and of those the first named, writes them.
func (e *Encryption) add(r encryptedResources, src source) []*Error {
	var errs []*Error
	if len(r.Resources) == 0 {
		errs = append(errs, src.errorf("resources", "resources: Required value: at least one is required; name secrets"))
	}
	if len(r.Providers) == 0 {
		errs = append(errs, src.errorf("providers", "providers: Required value: at least one is required; %s", encryptionAdvice))
	}
	for i, p := range r.Providers {
		at := src.below(fmt.Sprintf("providers[%d]", i))
		kinds := p.kinds()
		if len(kinds) != 1 {
			errs = append(errs, at.errorf("", "a provider has exactly one kind, found %d; %s", len(kinds), encryptionAdvice))
			continue
		}
		if e.Writes == "" && slices.ContainsFunc(r.Resources, coversSecrets) {
			e.Writes = kinds[0]
		}
		errs = append(errs, e.keys(p, at)...)
		if k := p.KMS; k != nil && (k.Name == "" || k.Endpoint == "") {
			errs = append(errs, at.errorf("kms", "kms: Required value: name and endpoint are mandatory"))
		}
	}
	return errs
}

func coversSecrets(resource string) bool {
	return slices.Contains([]string{"secrets", "*.", "*.*"}, resource)
}

func (p encryptionProvider) kinds() []string {
	var out []string
	for _, k := range []struct {
		name string
		set  bool
	}{{"aescbc", p.AESCBC != nil}, {"aesgcm", p.AESGCM != nil}, {"secretbox", p.Secretbox != nil}, {"kms", p.KMS != nil}, {"identity", p.Identity != nil}} {
		if k.set {
			out = append(out, k.name)
		}
	}
	return out
}

// keySizes are how many bytes a key of a provider has.
var keySizes = map[string][]int{"aescbc": {16, 24, 32}, "aesgcm": {16, 24, 32}, "secretbox": {32}}

// keys judges the keys of a provider and notes where they stand.
func (e *Encryption) keys(p encryptionProvider, at source) []*Error {
	var errs []*Error
	for kind, given := range map[string]*encryptionKeys{"aescbc": p.AESCBC, "aesgcm": p.AESGCM, "secretbox": p.Secretbox} {
		if given == nil {
			continue
		}
		if len(given.Keys) == 0 {
			errs = append(errs, at.errorf(kind, "%s.keys: Required value: at least one key is required", kind))
		}
		for i, k := range given.Keys {
			field := fmt.Sprintf("%s.keys[%d]", kind, i)
			secret, err := base64.StdEncoding.DecodeString(k.Secret)
			switch {
			case k.Name == "":
				errs = append(errs, at.errorf(field, "%s.name: Required value: name is a mandatory field for a key", field))
			case k.Secret == "":
				errs = append(errs, at.errorf(field, "%s.secret: Required value: secret is a mandatory field for a key", field))
			case err != nil:
				errs = append(errs, at.errorf(field+".secret", "%s.secret: Invalid value: secrets must be base64 encoded", field))
			case !slices.Contains(keySizes[kind], len(secret)):
				errs = append(errs, at.errorf(field+".secret", "%s.secret: Invalid value: secret is not of the expected length, got %d, expected one of %v", field, len(secret), keySizes[kind]))
			}
			if k.Secret != "" {
				e.KeyLines = append(e.KeyLines, at.lines.at(at.path(field+".secret")))
			}
		}
	}
	return errs
}
