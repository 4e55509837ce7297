package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// APIServer is what an API server is about to be started with.
type APIServer struct {
	Release k3s.Release
	// DataDir is K3s's data directory; relative file names are read from its
	// server directory, which K3s makes its working directory.
	DataDir string
	// Args is what the API server is passed, K3s's defaults included.
	Args     []k3s.Argument
	ReadFile ReadFile
	// PreloadedImages is where the node keeps images for use without a
	// registry; empty when it has none.
	PreloadedImages string
	// Admission and Audit load the admission and the audit file, by absolute
	// path, for who loads them for more than this; nil stands for LoadAdmission
	// and LoadAuditPolicy.
	Admission func(file string, data []byte) (*Admission, error)
	Audit     func(file string, data []byte) (*AuditPolicy, error)
}

// CheckAPIServer returns everything that would keep the API server from
// starting, or its pods from running: CheckArguments, the admission, audit,
// authorization, authentication and encryption files its arguments name, and
// what plugins need of those files. What ReadFile does not know is a problem of consequence k3s.Unreadable.
func CheckAPIServer(s APIServer) []k3s.Problem {
	out := CheckArguments(s.Release, k3s.APIServer, s.Args)
	out = append(out, s.admission()...)
	out = append(out, s.audit()...)
	out = append(out, s.structured()...)
	out = append(out, s.encryption()...)
	if a, on := s.enabled(alwaysPullImagesPlugin); on && s.PreloadedImages != "" {
		out = append(out, fatal(a, "AlwaysPullImages makes every pod pull from a registry, so the images kept in %s are of no use and K3s's own pods do not start without a registry; take the plugin out, or the images", s.PreloadedImages))
	}
	return out
}

// enabled returns the argument that enables an admission plugin.
func (s APIServer) enabled(plugin string) (k3s.Argument, bool) {
	for _, a := range s.Args {
		if canonical(a.Name) == "enable-admission-plugins" && slices.Contains(splitList(a.Value), plugin) {
			return a, true
		}
	}
	return k3s.Argument{}, false
}

func (s APIServer) admission() []k3s.Problem {
	limits, rateLimited := s.enabled(eventRateLimitPlugin)
	a, set := lastOf(s.Args, "admission-control-config-file")
	if !set {
		if rateLimited {
			return []k3s.Problem{withoutLimits(limits, "no admission-control-config-file is set")}
		}
		return nil
	}
	file := s.absolute(a.Value)
	data, problem := s.read(a, file, "unable to read admission control configuration from")
	if problem != nil {
		return []k3s.Problem{*problem}
	}
	config, err := s.loadAdmission(file, data)
	if err != nil {
		return problemsOf(err, k3s.Fatal)
	}
	out := ignored(config.Ignored)
	if rateLimited && config.EventRateLimit == nil {
		out = append(out, withoutLimits(limits, file+" has no configuration for it"))
	}
	return out
}

func (s APIServer) loadAdmission(file string, data []byte) (*Admission, error) {
	if s.Admission != nil {
		return s.Admission(file, data)
	}
	return LoadAdmission(s.Release, file, data, s.ReadFile)
}

func (s APIServer) loadAudit(file string, data []byte) (*AuditPolicy, error) {
	if s.Audit != nil {
		return s.Audit(file, data)
	}
	return LoadAuditPolicy(s.Release, file, data)
}

func withoutLimits(a k3s.Argument, why string) k3s.Problem {
	return fatal(a, `couldn't init admission plugin "EventRateLimit": limits: Invalid value: null: must not be empty: %s; give it limits in the admission configuration or take the plugin out`, why)
}

func (s APIServer) audit() []k3s.Problem {
	a, set := lastOf(s.Args, "audit-policy-file")
	if !set {
		return nil
	}
	file := s.absolute(a.Value)
	data, problem := s.read(a, file, "loading audit policy file: failed to read file path")
	if problem != nil {
		return []k3s.Problem{*problem}
	}
	policy, err := s.loadAudit(file, data)
	if err != nil {
		return problemsOf(err, k3s.Fatal)
	}
	return ignored(policy.Ignored)
}

// encryption judges an encryption configuration of the user's own: K3s's own is
// made at the first start.
func (s APIServer) encryption() []k3s.Problem {
	a, set := lastOf(s.Args, "encryption-provider-config")
	if !set || a.Origin.Default {
		return nil
	}
	file := s.absolute(a.Value)
	data, problem := s.read(a, file, "error opening encryption provider configuration file")
	if problem != nil {
		return []k3s.Problem{*problem}
	}
	config, err := LoadEncryption(s.Release, file, data)
	if err != nil {
		return problemsOf(err, k3s.Fatal)
	}
	gates, _ := lastOf(s.Args, "feature-gates")
	if !s.Release.AtLeast(1, 29) || gatesOf(gates.Value)["KMSv1"] {
		return nil
	}
	var out []k3s.Problem
	for _, line := range config.kmsV1Lines {
		out = append(out, k3s.Problem{
			Consequence: k3s.Fatal, Origin: k3s.Origin{Source: file, Line: line},
			Text: "KMSv1 is deprecated, and from v1.29 only with feature-gates=KMSv1=true; write apiVersion: v2, which the plugin must know",
		})
	}
	return out
}

func (s APIServer) absolute(file string) string {
	if path.IsAbs(file) {
		return path.Clean(file)
	}
	return path.Join(s.DataDir, "server", file)
}

// read returns the file that argument a names.
func (s APIServer) read(a k3s.Argument, file, complaint string) ([]byte, *k3s.Problem) {
	data, err := s.ReadFile(file)
	if err == nil {
		return data, nil
	}
	p := fatal(a, "%s %q: there is no such file; put it there or take %s out", complaint, file, a.Name)
	if !errors.Is(err, fs.ErrNotExist) {
		p = k3s.Problem{Consequence: k3s.Unreadable, Text: fmt.Sprintf("%s %q: %v", complaint, file, err), Origin: a.Origin}
	}
	return nil, &p
}

// ignored turns what a loader passed over into problems.
func ignored(list []*Error) []k3s.Problem {
	var out []k3s.Problem
	for _, e := range list {
		out = append(out, k3s.Problem{Consequence: k3s.Ignored, Text: e.Text, Origin: k3s.Origin{Source: e.File, Line: e.Line}})
	}
	return out
}

// problemsOf turns the error of a loader into problems. What a loader could
// not read for another reason than that it is absent is unreadable.
func problemsOf(err error, consequence k3s.Consequence) []k3s.Problem {
	var out []k3s.Problem
	for _, e := range Errors(err) {
		p := k3s.Problem{Consequence: consequence, Text: e.Text, Origin: k3s.Origin{Source: e.File, Line: e.Line}}
		if e.unread {
			p.Consequence = k3s.Unreadable
		}
		out = append(out, p)
	}
	return out
}
