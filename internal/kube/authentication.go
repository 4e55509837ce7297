package kube

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// authenticationConfiguration is what of the file of --authentication-config is
// judged: the rest are CEL programs.
type authenticationConfiguration struct {
	JWT []struct {
		Issuer struct {
			URL       string   `json:"url"`
			Audiences []string `json:"audiences"`
		} `json:"issuer"`
	} `json:"jwt"`
	Anonymous *struct {
		Enabled    bool  `json:"enabled"`
		Conditions []any `json:"conditions"`
	} `json:"anonymous"`
}

// checkAuthentication judges an authentication configuration whose head was
// found right, and the flags that it excludes. config is the argument that names
// the file.
func checkAuthentication(config k3s.Argument, args []k3s.Argument, file string, data []byte) []k3s.Problem {
	src, err := newSource(file, data)
	if err != nil {
		return problemsOf(err, k3s.Fatal)
	}
	var c authenticationConfiguration
	if err := yaml.Unmarshal(data, &c); err != nil {
		return problemsOf(join(src.decodeErrors(err, "it holds an AuthenticationConfiguration of apiserver.config.k8s.io/v1")), k3s.Fatal)
	}
	var out []k3s.Problem
	for _, a := range args {
		switch name := canonical(a.Name); {
		case strings.HasPrefix(name, "oidc-"):
			out = append(out, fatal(a, "authentication-config file and oidc-* flags are mutually exclusive (%s names a file); put the issuer into the file and take %s out", config.Origin, name))
		case name == "anonymous-auth" && c.Anonymous != nil:
			out = append(out, fatal(config, "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file (the flag comes from %s); keep one of the two", a.Origin))
		}
	}
	return append(out, problemsOf(join(c.check(src)), k3s.Fatal)...)
}

func (c authenticationConfiguration) check(src source) []*Error {
	var errs []*Error
	var issuers []string
	for i, j := range c.JWT {
		at := fmt.Sprintf("jwt[%d].issuer", i)
		if why := issuerFault(j.Issuer.URL); why != "" {
			errs = append(errs, src.errorf(at+".url", "%s.url: Invalid value: %s; write such as https://issuer.example.org", at, why))
		}
		if slices.Contains(issuers, j.Issuer.URL) {
			errs = append(errs, src.errorf(at+".url", "%s.url: Duplicate value: name each issuer once", at))
		}
		issuers = append(issuers, j.Issuer.URL)
		if len(j.Issuer.Audiences) == 0 {
			errs = append(errs, src.errorf(at, "%s.audiences: Required value: at least one is required", at))
		}
	}
	if a := c.Anonymous; a != nil && !a.Enabled && len(a.Conditions) > 0 {
		errs = append(errs, src.errorf("anonymous.conditions", "anonymous.conditions: Invalid value: enabled should be set to true when conditions are defined"))
	}
	return errs
}

// issuerFault says why an address is none of an issuer, or "".
func issuerFault(address string) string {
	u, err := url.Parse(address)
	switch {
	case address == "":
		return "it is required"
	case err != nil:
		return "it is no URL"
	case u.Scheme != "https":
		return "URL scheme must be https"
	case u.User != nil:
		return "URL must not contain a username or password"
	case u.RawQuery != "":
		return "URL must not contain a query"
	case u.Fragment != "":
		return "URL must not contain a fragment"
	}
	return ""
}
