package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/serializer"
	podsecurity "k8s.io/pod-security-admission/admission/api"
	"k8s.io/pod-security-admission/admission/api/load"
	"k8s.io/pod-security-admission/admission/api/validation"
	"sigs.k8s.io/yaml"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// Admission is what an admission configuration file
// (--admission-control-config-file) tells the API server's plugins.
type Admission struct {
	// Plugins names the plugins that have an entry, in the file's order.
	Plugins []string
	// PodSecurity is that plugin's configuration, Kubernetes's defaults
	// filled in; nil when the file has no entry for it.
	PodSecurity *PodSecurity
	// EventRateLimit holds that plugin's limits; nil when the file has no
	// configuration for it.
	EventRateLimit []RateLimit
	// Files are the further files that plugins' configurations are read from.
	Files []string
	// Ignored tells of what the API server passes over without a word, each
	// with the file and line.
	Ignored []*Error
}

// PodSecurity is the cluster-wide default of Pod Security Admission.
type PodSecurity struct {
	// Enforce, Audit and Warn are what applies to namespaces without labels.
	Enforce, Audit, Warn Level
	// Exempt lists what is not judged at all.
	Exempt Exemptions
}

// Level is a Pod Security level at a version of the standard.
type Level struct {
	// Name is "privileged", "baseline" or "restricted".
	Name string
	// Version is "latest" or a Kubernetes minor such as "v1.36".
	Version string
}

// Exemptions are what Pod Security Admission passes over.
type Exemptions struct {
	Namespaces, Usernames, RuntimeClasses []string
}

// admissionAdvice says what an admission configuration looks like.
const admissionAdvice = "an AdmissionConfiguration of apiserver.config.k8s.io/v1 has a list plugins, each with name and configuration or path"

// LoadAdmission reads an AdmissionConfiguration as the API server of release r
// does. name is the file's absolute path on the node; a plugin's `path:` is
// read with readFile, relative ones from name's directory. An error joins
// *Error values, one for each thing that would make the API server exit; an
// error of readFile's other than fs.ErrNotExist is wrapped in one.
func LoadAdmission(r k3s.Release, name string, data []byte, readFile ReadFile) (*Admission, error) {
	src, err := newSource(name, data)
	if err != nil {
		return nil, err
	}
	decoded, _, err := admissionCodecs().UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		if legacyAdmission(data) {
			return &Admission{}, nil
		}
		return nil, join(src.decodeErrors(err, admissionAdvice))
	}
	file, ok := decoded.(*admissionConfiguration)
	if !ok {
		return nil, src.errorf("", "unexpected type: %T; %s", decoded, admissionAdvice)
	}

	l := admissionLoader{release: r, src: src, readFile: readFile, seen: map[string]int{}, out: &Admission{}}
	for i, p := range file.Plugins {
		l.plugin(i, p)
	}
	if len(l.errs) > 0 {
		return nil, join(l.errs)
	}
	return l.out, nil
}

// legacyAdmission says whether data is one of the two forms from before
// AdmissionConfiguration that the API server still tolerates; such a file
// configures ImagePolicyWebhook or PodNodeSelector and nothing else.
func legacyAdmission(data []byte) bool {
	var top map[string]any
	if yaml.Unmarshal(data, &top) != nil {
		return false
	}
	_, kind := top["kind"]
	_, image := top["imagePolicy"]
	_, selector := top["podNodeSelectorPluginConfig"]
	return !kind && (image || selector)
}

// admissionLoader collects what the entries of one file amount to.
type admissionLoader struct {
	release  k3s.Release
	src      source
	readFile ReadFile
	seen     map[string]int // plugin to the index of its first entry
	out      *Admission
	errs     []*Error
}

func (l *admissionLoader) plugin(i int, p admissionPlugin) {
	entry := l.src.below(fmt.Sprintf("plugins[%d]", i))
	if first, twice := l.seen[p.Name]; twice {
		l.out.Ignored = append(l.out.Ignored, entry.errorf("name", "plugin %q has an entry already in line %d, and kube-apiserver reads that one alone: keep one",
			word(p.Name), l.src.lines.at(fmt.Sprintf("plugins[%d]", first))))
		return
	}
	l.seen[p.Name] = i
	if why, known := lackingPlugin(l.release, p.Name); why != "" && known {
		l.out.Ignored = append(l.out.Ignored, entry.errorf("name", "%s: no plugin reads this entry", why))
		return
	}
	l.out.Plugins = append(l.out.Plugins, p.Name)

	data, src, err := l.configuration(entry, p)
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	switch p.Name {
	case podSecurityPlugin:
		l.podSecurity(data, src)
	case eventRateLimitPlugin:
		l.eventRateLimit(data, src)
	}
}

// configuration returns the bytes the plugin will get, nil for none, and where
// they stand.
func (l *admissionLoader) configuration(entry source, p admissionPlugin) ([]byte, source, *Error) {
	if p.Configuration != nil {
		return p.Configuration.Raw, entry.below("configuration"), nil
	}
	if p.Path == "" {
		return nil, entry, nil
	}
	file := p.Path
	if !path.IsAbs(file) {
		file = path.Join(path.Dir(l.src.file), file)
	}
	l.out.Files = append(l.out.Files, file)
	data, err := l.readFile(file)
	if err != nil {
		e := entry.errorf("path", "couldn't open admission plugin configuration %s: there is no such file; put it there, or the configuration here under configuration", file)
		if !errors.Is(err, fs.ErrNotExist) {
			e = entry.errorf("path", "couldn't open admission plugin configuration %s: %v", file, err)
			e.unread = true
		}
		e.Err = err
		return nil, entry, e
	}
	src, err := newSource(file, data)
	if err != nil {
		return nil, entry, entry.errorf("path", "%v", err)
	}
	return data, src, nil
}

// podSecurityVersions are the versions of PodSecurityConfiguration with the
// first minor of Kubernetes 1 that reads each.
var podSecurityVersions = map[string]int{
	"pod-security.admission.config.k8s.io/v1alpha1": 22,
	"pod-security.admission.config.k8s.io/v1beta1":  23,
	"pod-security.admission.config.k8s.io/v1":       25,
}

func (l *admissionLoader) podSecurity(data []byte, src source) {
	var head struct {
		APIVersion string `json:"apiVersion"`
	}
	if yaml.Unmarshal(data, &head) == nil {
		if since, known := podSecurityVersions[head.APIVersion]; known && !l.release.AtLeast(1, since) {
			l.errs = append(l.errs, src.errorf("apiVersion", `no kind "PodSecurityConfiguration" is registered for version %q before Kubernetes v1.%d, and this is %s; write %s`,
				head.APIVersion, since, l.release.MinorName(), podSecurityVersion(l.release)))
			return
		}
	}
	config, err := load.LoadFromData(data)
	if err != nil {
		l.errs = append(l.errs, src.decodeErrors(err, "a PodSecurityConfiguration of "+podSecurityVersion(l.release)+
			" has defaults (enforce, audit, warn and their -version) and exemptions (usernames, namespaces, runtimeClasses)")...)
		return
	}
	if errs := validation.ValidatePodSecurityConfiguration(config); len(errs) > 0 {
		l.errs = append(l.errs, src.fieldErrors(errs)...)
		return
	}
	l.out.PodSecurity = summarize(config)
}

// podSecurityVersion returns the newest version that release r reads.
func podSecurityVersion(r k3s.Release) string {
	best, since := "", 0
	for version, first := range podSecurityVersions {
		if r.AtLeast(1, first) && first > since {
			best, since = version, first
		}
	}
	return best
}

func summarize(c *podsecurity.PodSecurityConfiguration) *PodSecurity {
	return &PodSecurity{
		Enforce: Level{Name: c.Defaults.Enforce, Version: c.Defaults.EnforceVersion},
		Audit:   Level{Name: c.Defaults.Audit, Version: c.Defaults.AuditVersion},
		Warn:    Level{Name: c.Defaults.Warn, Version: c.Defaults.WarnVersion},
		Exempt: Exemptions{
			Namespaces:     c.Exemptions.Namespaces,
			Usernames:      c.Exemptions.Usernames,
			RuntimeClasses: c.Exemptions.RuntimeClasses,
		},
	}
}

var admissionCodecs = sync.OnceValue(func() serializer.CodecFactory {
	return serializer.NewCodecFactory(admissionScheme(), serializer.EnableStrict)
})
