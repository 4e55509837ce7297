package kube

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// authorizers are the modes of --authorization-mode.
var authorizers = []string{"AlwaysAllow", "AlwaysDeny", "ABAC", "Webhook", "RBAC", "Node"}

// authorizerFiles are the modes that need a file, which in turn is refused
// without the mode.
var authorizerFiles = []struct{ mode, flag, missing, alone string }{
	{"ABAC", "authorization-policy-file", "authorization-mode ABAC's authorization policy file not passed", "cannot specify --authorization-policy-file without mode ABAC"},
	{"Webhook", "authorization-webhook-config-file", "authorization-mode Webhook's authorization config file not passed", "cannot specify --authorization-webhook-config-file without mode Webhook"},
}

// checkAuthorization judges the API server's flags that say who may do what.
func checkAuthorization(args []k3s.Argument) []k3s.Problem {
	if config, set := lastOf(args, "authorization-config"); set {
		return checkAuthorizationConfig(config, args)
	}
	var (
		out  []k3s.Problem
		last k3s.Argument
		seen = map[string]bool{}
	)
	for _, a := range args {
		if canonical(a.Name) != "authorization-mode" {
			continue
		}
		last = a
		for _, mode := range splitList(a.Value) {
			if !slices.Contains(authorizers, mode) {
				out = append(out, fatal(a, "authorization-mode %q is not a valid mode; it is one of %s", word(mode), strings.Join(authorizers, ", ")))
			}
			if seen[mode] {
				out = append(out, fatal(a, "authorization-mode %q has mode specified more than once; name each mode once", word(mode)))
			}
			seen[mode] = true
		}
	}
	for _, f := range authorizerFiles {
		switch file, set := lastOf(args, f.flag); {
		case seen[f.mode] && !set:
			out = append(out, fatal(last, "%s; set %s or take the mode out", f.missing, f.flag))
		case set && !seen[f.mode]:
			out = append(out, fatal(file, "%s; add the mode or take the flag out", f.alone))
		}
	}
	return out
}

// checkAuthorizationConfig refuses the older flags beside --authorization-config,
// those that K3s itself adds in older releases too.
func checkAuthorizationConfig(config k3s.Argument, args []k3s.Argument) []k3s.Problem {
	var out []k3s.Problem
	for _, a := range args {
		if name := canonical(a.Name); name == "authorization-mode" || strings.HasPrefix(name, "authorization-webhook-") {
			out = append(out, fatal(config, "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined (%s comes from %s); keep one of the two",
				name, a.Origin))
		}
	}
	return out
}

// structuredFiles are the files that name authorizers and authenticators, with
// the kind each holds.
var structuredFiles = []struct{ flag, kind string }{
	{"authorization-config", "AuthorizationConfiguration"},
	{"authentication-config", "AuthenticationConfiguration"},
}

// structured judges those files as far as their head: that they are there,
// parse, and are what the API server expects. Their rules are CEL programs,
// whose compiler would double this plugin.
func (s APIServer) structured() []k3s.Problem {
	var out []k3s.Problem
	for _, f := range structuredFiles {
		a, set := lastOf(s.Args, f.flag)
		if !set {
			continue
		}
		file := s.absolute(a.Value)
		data, problem := s.read(a, file, fmt.Sprintf("failed to load %s from file", f.kind))
		if problem != nil {
			out = append(out, *problem)
			continue
		}
		if err := checkHead(file, data, f.kind); err != nil {
			out = append(out, problemsOf(err, k3s.Fatal)...)
			continue
		}
		if f.flag == "authentication-config" {
			out = append(out, checkAuthentication(a, s.Args, file, data)...)
		}
	}
	return out
}

// checkHead refuses a file that is not YAML of one kind of the API server's
// configuration.
func checkHead(file string, data []byte, kind string) error {
	src, err := newSource(file, data)
	if err != nil {
		return err
	}
	advice := fmt.Sprintf("it holds an %s of apiserver.config.k8s.io/v1", kind)
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(data, &head); err != nil {
		return join(src.decodeErrors(err, advice))
	}
	group, _, _ := strings.Cut(head.APIVersion, "/")
	switch {
	case head.Kind == "":
		return src.errorf("", "Object 'Kind' is missing; %s", advice)
	case head.Kind != kind || group != "apiserver.config.k8s.io":
		return src.errorf("kind", "expected %s, got %s of %q; %s", kind, word(head.Kind), versionOf(head.APIVersion), advice)
	}
	return nil
}
