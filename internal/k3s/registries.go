package k3s

import (
	"errors"
	"fmt"

	yamlv2 "go.yaml.in/yaml/v2"
)

// registries is what K3s reads of RegistriesFile (wharfie, pkg/registries).
type registries struct {
	Mirrors map[string]struct {
		Endpoint []string          `yaml:"endpoint"`
		Rewrite  map[string]string `yaml:"rewrite"`
	} `yaml:"mirrors"`
	Configs map[string]struct {
		Auth *struct {
			Username      string `yaml:"username"`
			Password      string `yaml:"password"`
			Auth          string `yaml:"auth"`
			IdentityToken string `yaml:"identity_token"`
		} `yaml:"auth"`
		TLS *struct {
			CAFile             string `yaml:"ca_file"`
			CertFile           string `yaml:"cert_file"`
			KeyFile            string `yaml:"key_file"`
			InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
		} `yaml:"tls"`
	} `yaml:"configs"`
	Auths map[string]any `yaml:"auths"`
}

// CheckRegistries says what K3s would not take of a registries' file, or pass over
// without a word.
func CheckRegistries(data []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	if len(data) > MaxConfigSize {
		return fmt.Errorf("it has more than %d KiB", MaxConfigSize>>10)
	}
	var r registries
	if err := yamlv2.UnmarshalStrict(data, &r); err != nil {
		return fmt.Errorf("K3s does not read it as it is written: %w", err)
	}
	if len(r.Mirrors)+len(r.Configs)+len(r.Auths) == 0 {
		return errors.New("it says nothing: write mirrors or configs")
	}
	return nil
}
