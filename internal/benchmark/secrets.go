package benchmark

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// secrets wants no secret in a kind of files. What is found is named by file,
// line and key; the value never leaves this file.
type secrets struct{ place string }

// secretPlace is one kind of files: how it is searched, and where that is.
type secretPlace struct {
	search func(*examination) ([]Evidence, string)
	where  func(*examination) []string
	// running: a running machine has some by nature, so that only an image at
	// rest can be judged.
	running bool
}

var secretPlaces = map[string]secretPlace{
	"configuration": {search: (*examination).secretsInConfiguration, where: func(x *examination) []string {
		return []string{x.configFile(), k3s.DropInDir(x.configFile())}
	}},
	"environment": {search: (*examination).secretsInEnvironment, where: func(*examination) []string { return environmentFiles() }},
	"service": {search: (*examination).secretsInService, where: func(x *examination) []string {
		if s := x.in.Effective.Service; s != nil {
			return []string{s.Path}
		}
		return []string{k3s.SystemdDir + "/" + x.in.Role.ServiceName() + ".service"}
	}},
	"registries": {search: (*examination).secretsInRegistries, where: func(x *examination) []string { return []string{x.registries()} }},
	"manifests": {search: (*examination).secretsInManifests, where: func(x *examination) []string {
		return []string{k3s.LayoutOf(x.paths.data).Manifests()}
	}},
	"containerd": {search: (*examination).secretsInContainerd, where: func(x *examination) []string { return []string{containerdDir(x.paths)} }},
	"user-data":  {search: (*examination).secretsInUserData, where: func(*examination) []string { return []string{cloudConfigFile, cloudConfigDir, cloudSeeds} }},
	"system-environment": {search: (*examination).secretsInSystemEnvironment, where: func(*examination) []string {
		return []string{systemEnvironment[0].Path, systemEnvironment[3].Path}
	}},
	"network":  {search: (*examination).secretsInNetwork, where: func(*examination) []string { return append(patternsOf(networkFiles), networkDocuments...) }},
	"services": {search: (*examination).secretsInServices, where: func(*examination) []string { return patternsOf(systemFiles) }},
	"logs":     {search: (*examination).secretsInLogs, where: func(*examination) []string { return logFiles }, running: true},
	"accounts": {search: (*examination).secretsInAccounts, where: func(*examination) []string { return []string{shadowFile, sudoers, sudoersDir} }, running: true},
}

func environmentFiles() []string {
	return slices.Concat(k3s.Server.EnvironmentFiles(), k3s.Agent.EnvironmentFiles())
}

func (d *decoder) secrets(n *yaml.Node) expectation {
	var s secrets
	d.fields(n, "secrets", map[string]func(*yaml.Node){
		"in": func(n *yaml.Node) { s.place = d.oneOf(n, names(secretPlaces)...) },
	}, "in")
	return s
}

func (s secrets) picks(p paths) node.Query {
	switch s.place {
	case "configuration":
		return node.Query{{Path: k3s.ConfigFile + node.KeptSuffix, Content: true}, {Path: k3s.ConfigDir, Depth: node.Deep, Content: true}}
	case "registries":
		return node.Query{{Path: k3s.RegistriesFile, Content: true}}
	case "manifests":
		return node.Query{{Path: k3s.LayoutOf(p.data).Manifests(), Depth: node.Deep, Content: true}}
	case "containerd":
		return node.Query{{Path: containerdDir(p), Depth: node.Deep, Content: true}}
	case "user-data":
		q := node.Query{{Path: cloudConfigFile, Content: true}, {Path: cloudConfigDir, Depth: node.Deep, Content: true}, {Path: cloudSeeds, Depth: node.Deep, Content: true}}
		for _, p := range bootSeeds {
			q = append(q, node.Pick{Path: p, Content: true})
		}
		return q
	case "system-environment":
		return systemEnvironment
	case "network":
		return append(picksMatching(patternsOf(networkFiles)), picksMatching(networkDocuments)...)
	case "services":
		return picksMatching(patternsOf(systemFiles))
	case "logs":
		return picksMatching(logFiles)
	case "accounts":
		return slices.Concat(sshdConfigurations, placesMatching(keyFiles), node.Query{
			{Path: shadowFile, Content: true},
			{Path: shadowCopy, Content: true},
			{Path: accountFile, Content: true},
			{Path: cloudConfigFile, Content: true},
			{Path: sudoers, Content: true},
			{Path: sudoersDir, Depth: 1, Content: true},
			{Path: doasFile, Content: true},
			{Path: doasDir, Depth: 1, Content: true},
			{Path: "/root", Depth: 3},
			{Path: "/home", Depth: 4},
			{Path: skeleton, Depth: 1, Content: true},
		})
	case "environment":
		var q node.Query
		for _, f := range environmentFiles() {
			q = append(q, node.Pick{Path: f, Content: true})
		}
		return q
	}
	return nil // K3s's own query has them
}

func (s secrets) judge(x *examination) verdict {
	v := verdict{expected: "no token, password or key in the " + s.place}
	place := secretPlaces[s.place]
	found, problem := place.search(x)
	switch {
	case problem != "":
		v.status, v.found, v.reason = Error, problem, "the evidence is missing"
	case len(found) > 0:
		v.status, v.evidence = Fail, found
		if place.running && x.running() {
			v.status = Deferred
			v.reason = "the machine is running and the build needs its access: remove it in the last step before the image is taken"
		}
		var where []string
		for _, e := range found {
			where = append(where, fmt.Sprintf("%s:%d: %s", e.Source, e.Line, e.Detail))
		}
		v.found = few(where)
	default:
		v.status, v.found = Pass, "none found"
		v.evidence = searched(x, place.where(x))
	}
	return v
}

// fewPlaces is how many places are named each, be they there or not.
const fewPlaces = 4

// searched tells where nothing was found: each place that is there, and of many that
// are not only the first.
func searched(x *examination, places []string) []Evidence {
	var out []Evidence
	absent := 0
	for _, p := range places {
		if entries, _ := (gone{}).entries(x, p); len(entries) > 0 {
			out = append(out, Evidence{Source: p, Detail: "searched"})
			continue
		}
		if absent++; absent == 1 || len(places) <= fewPlaces {
			out = append(out, Evidence{Source: p, Detail: "not there"})
		}
	}
	if absent > 1 && len(places) > fewPlaces {
		i := slices.IndexFunc(out, func(e Evidence) bool { return e.Detail == "not there" })
		out[i].Detail = fmt.Sprintf("not there, nor %d other places of the kind", absent-1)
	}
	return out
}

// files returns files for a search; absent ones are left out.
func (x *examination) files(names ...string) ([]node.Entry, string) {
	var out []node.Entry
	for _, p := range names {
		e, presence := x.node().Lookup(p)
		switch {
		case presence == node.Unknown:
			return nil, x.unseen(p)
		case presence == node.Absent || e.Kind != node.KindFile:
			continue
		case e.Data == nil:
			return nil, fmt.Sprintf("%s could not be read: %s", p, cmp.Or(e.Unread, "its content was not looked at"))
		}
		out = append(out, e)
	}
	return out, ""
}

// filesOf are the files that a query names, and those in the directories that it does.
func (x *examination) filesOf(q node.Query) ([]node.Entry, string) {
	var names []string
	for _, pick := range q {
		if pick.Depth == 0 {
			names = append(names, pick.Path)
			continue
		}
		all, problem := x.children(pick.Path)
		if problem != "" {
			return nil, problem
		}
		for _, e := range all {
			names = append(names, e.Path)
		}
	}
	return x.files(names...)
}

func (x *examination) configFile() string {
	if x.in.Effective != nil && x.in.Effective.ConfigFile != "" {
		return x.in.Effective.ConfigFile
	}
	return k3s.ConfigFile
}

// keptConfiguration lists the copies that the hardening keeps, and the one of
// the default file even where another is the main one now.
func (x *examination) keptConfiguration() ([]string, string) {
	beside, problem := x.children(path.Dir(x.configFile()))
	out := []string{k3s.ConfigFile + node.KeptSuffix}
	for _, e := range beside {
		if strings.HasSuffix(e.Path, node.KeptSuffix) && e.Path != out[0] {
			out = append(out, e.Path)
		}
	}
	return out, problem
}

func (x *examination) secretsInConfiguration() ([]Evidence, string) {
	kept, problem := x.keptConfiguration()
	if problem != "" {
		return nil, problem
	}
	dropIns, problem := x.children(k3s.DropInDir(x.configFile()))
	if problem != "" {
		return nil, problem
	}
	names := []string{x.configFile()}
	for _, e := range dropIns {
		names = append(names, e.Path)
	}
	files, problem := x.configurationFiles(names)
	if problem != "" {
		return nil, problem
	}
	copies, problem := x.configurationFiles(kept)
	if problem != "" {
		return nil, problem
	}
	files = append(files, copies...)
	var out []Evidence
	for _, f := range files {
		found := secretKeys(f.Path, f.Data)
		found = append(found, passwordURLs(f.Path, f.Data)...)
		out = append(out, alsoFound(found, looksOfSecrets(f.Path, f.Data))...) // in comments too
	}
	beside, problem := x.secretsBeside(files)
	if problem != "" {
		return nil, problem
	}
	named, problem := x.secretsInNamedFiles()
	return slices.Concat(out, beside, named), problem
}

// configurationFiles reads files of K3s's configuration that are judged together.
func (x *examination) configurationFiles(names []string) ([]node.Entry, string) {
	files, problem := x.files(names...)
	if problem != "" {
		return nil, problem
	}
	size := 0
	for _, f := range files {
		size += len(f.Data)
	}
	if err := k3s.CheckConfigSize(len(files), size); err != nil {
		return nil, err.Error()
	}
	return files, ""
}

// maxBeside is how many bytes beside the configuration are searched.
const maxBeside = 2 << 20

// secretsBeside searches whatever else is in K3s's directory. Who looks for the
// registries' passwords and the administrator's kubeconfig has controls of their
// own.
func (x *examination) secretsBeside(known []node.Entry) ([]Evidence, string) {
	all, problem := x.tree(k3s.ConfigDir)
	if problem != "" {
		return nil, problem
	}
	searched := map[string]bool{k3s.RegistriesFile: true, k3s.Kubeconfig: true}
	for _, f := range known {
		searched[f.Path] = true
	}
	for _, f := range x.namedSecrets() {
		searched[f.path] = true
	}
	var others []string
	for _, e := range all {
		if !searched[e.Path] {
			others = append(others, e.Path)
		}
	}
	files, problem := x.files(others...)
	size := 0
	for _, f := range files {
		size += len(f.Data)
	}
	if size > maxBeside {
		return nil, fmt.Sprintf("%s has %d KiB beside K3s's configuration, which is more than the %d KiB that are searched for secrets", k3s.ConfigDir, size>>10, maxBeside>>10)
	}
	var out []Evidence
	for _, f := range files {
		out = append(out, searchSecrets(f.Path, f.Data)...)
	}
	return out, problem
}

// alsoFound adds to found what more has in other lines.
func alsoFound(found, more []Evidence) []Evidence {
	for _, e := range more {
		if !slices.ContainsFunc(found, func(o Evidence) bool { return o.Source == e.Source && o.Line == e.Line }) {
			found = append(found, e)
		}
	}
	return found
}

func (x *examination) secretsInEnvironment() ([]Evidence, string) {
	files, problem := x.files(environmentFiles()...)
	if problem != "" {
		return nil, problem
	}
	var out []Evidence
	for _, f := range files {
		found := secretVariables(service.EnvironmentFile(f.Path, f.Data))
		// What systemd passes over, such as a line with export, is in the image all the same.
		out = append(out, alsoFound(found, assignedSecrets(f.Path, f.Data))...)
	}
	return out, ""
}

func (x *examination) secretsInService() ([]Evidence, string) {
	e := x.in.Effective
	if e == nil {
		return nil, "the service that runs K3s is not known"
	}
	for _, p := range e.Problems {
		if p.Consequence == k3s.Unreadable {
			return nil, p.Text
		}
	}
	service := e.Service
	if service == nil {
		return x.secretsOfManager()
	}
	out := secretVariables(service.Environment)
	for _, c := range x.serviceCredentials() {
		if c.File == "" {
			out = append(out, Evidence{Source: c.in, Line: c.Line, Detail: "SetCredential has a value (not shown)"})
		}
	}
	for i, w := range service.Start {
		option, value, joined := strings.Cut(w.Text, "=")
		bare := strings.TrimLeft(option, "-")
		if !joined && i+1 < len(service.Start) {
			value = service.Start[i+1].Text
		}
		switch {
		case bare != option && k3s.Secret(bare) && k3s.HoldsSecret(bare, value):
			out = append(out, Evidence{Source: w.Path, Line: w.Line, Detail: option + " has a value (not shown)"})
		case safetext.HasPassword(w.Text) || joined && safetext.HasPassword(value):
			out = append(out, Evidence{Source: w.Path, Line: w.Line, Detail: "a URL with a password (not shown)"})
		}
	}
	return out, ""
}

func (x *examination) secretsInRegistries() ([]Evidence, string) {
	names := []string{k3s.RegistriesFile}
	if file := x.registries(); file != names[0] {
		names = append(names, file)
	}
	files, problem := x.files(names...)
	if problem != "" {
		return nil, problem
	}
	var out []Evidence
	for _, f := range files {
		var doc yaml.Node
		if err := yaml.Unmarshal(f.Data, &doc); err != nil {
			return nil, f.Path + " is not valid YAML, so it cannot be searched"
		}
		out = append(out, namedValues(f.Path, &doc, registryKeys)...)
		out = append(out, passwordURLs(f.Path, f.Data)...)
	}
	return out, ""
}
