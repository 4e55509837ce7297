package cis

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
	"github.com/k3s-cis/packer-plugin-k3s/internal/fetch"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/install"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s/deploy"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// binary is where the binary for an architecture comes from.
func (c *InstallConfig) binary(architecture string) (fetch.Source, error) {
	if c.Version == "" {
		return fetch.Source{Option: "install.binary", Address: c.Binary, Checksum: c.Checksum}, nil
	}
	release, err := k3s.ParseRelease(c.Version)
	if err != nil {
		return fetch.Source{}, fmt.Errorf("install.version: %w", err)
	}
	binary, sums, published := release.Artifacts(cmp.Or(c.ArtifactURL, k3s.ReleasesURL), architecture)
	if !published {
		return fetch.Source{}, fmt.Errorf("install.version: K3s is published for amd64, arm64, arm and s390x, and the image's programs do not say which of these they are for (found %q): write the binary in its place", architecture)
	}
	return fetch.Source{Option: "install.version", Address: binary, Checksum: cmp.Or(c.Checksum, "file:"+sums)}, nil
}

// archives are where the archives of container images come from.
func (c *InstallConfig) archives() []fetch.Source {
	out := make([]fetch.Source, len(c.AirgapImages))
	for i, address := range c.AirgapImages {
		out[i] = fetch.Source{Option: fmt.Sprintf("install.airgap_images[%d]", i), Address: address}
	}
	return out
}

// module is where the module of the SELinux policy comes from.
func (c *InstallConfig) module() fetch.Source {
	return fetch.Source{Option: "install.selinux_policy", Address: c.SELinuxPolicy, Checksum: c.SELinuxPolicyChecksum}
}

// validateModule returns what is wrong with the module of the SELinux policy.
func (c *InstallConfig) validateModule() []error {
	if c.SELinuxPolicy == "" {
		if c.SELinuxPolicyChecksum != "" {
			return []error{errors.New("install.selinux_policy_checksum: is for install.selinux_policy, which is missing")}
		}
		return nil
	}
	source := c.module()
	errs := source.Validate()
	if err := install.CheckModuleName(source.Name()); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", source.Option, err))
	}
	if c.Service == string(service.OpenRCManager) {
		errs = append(errs, fmt.Errorf("%s: a service of systemd loads the module, and install.service is %q", source.Option, c.Service))
	}
	return errs
}

// validate returns what is wrong with the block, which may be absent.
func (c *InstallConfig) validate() []error {
	if c == nil {
		return nil
	}
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch source, err := c.binary("amd64"); {
	case c.Binary == "" && c.Version == "":
		wrong("install.binary: is missing: write the path of K3s's binary on the build host, or the URL of a release's, or the release in install.version")
	case c.Binary != "" && c.Version != "":
		wrong("install.version and install.binary exclude each other: write one of them")
	case err != nil:
		errs = append(errs, err)
	default:
		errs = append(errs, source.Validate()...)
	}
	if c.ArtifactURL != "" && c.Version == "" {
		wrong("install.artifact_url: is for install.version alone: write the whole address in install.binary")
	}
	var names []string
	for _, a := range c.archives() {
		if a.Address == "" {
			wrong("%s: is empty: write a path or a URL", a.Option)
			continue
		}
		errs = append(errs, a.Validate()...)
		name := a.Name()
		switch {
		case !deploy.IsImageArchive(name) || !node.PlainName(name):
			wrong("%s: K3s imports no file named %q: its archives end in %s", a.Option, name, strings.Join(deploy.ArchiveSuffixes(), ", "))
		case slices.Contains(names, name):
			wrong("%s: another archive is named %q too: give each a name of its own", a.Option, name)
		}
		names = append(names, name)
	}
	errs = append(errs, c.validateModule()...)
	if dirs := install.BinDirs(); !slices.Contains(dirs, c.BinDir) {
		wrong("install.bin_dir: %q is not one of %s", c.BinDir, quoted(dirs))
	}
	if c.Service != "" && c.Service != string(service.SystemdManager) && c.Service != string(service.OpenRCManager) {
		wrong("install.service: %q is not one of %s", c.Service, quoted([]string{string(service.SystemdManager), string(service.OpenRCManager)}))
	}
	return errs
}

// fetched brings what is to be installed to the build host and reads it; nil where
// nothing is to be installed.
func (s *session) fetched(ctx context.Context, mode string) (*install.Options, error) {
	c := s.config.Install
	if c == nil || mode == modeCheck {
		return nil, nil
	}
	o := &install.Options{
		BinDir: c.BinDir, Manager: service.Manager(c.Service), Roles: s.inputs.options.Role.Roles(), Architecture: s.access.architecture(),
		Registries: s.inputs.registries,
	}
	var err error
	o.Binary, err = s.binary(ctx, o.Architecture)
	errs := []error{err}
	for _, source := range c.archives() {
		var a install.Archive
		file, err := source.File(ctx, s.ui)
		if err == nil {
			if a, err = install.ReadArchive(file, source.Name()); err != nil {
				err = fmt.Errorf("%s: %w", source.Option, err)
			}
		}
		o.Images, errs = append(o.Images, a), append(errs, err)
	}
	o.Module, err = s.module(ctx)
	errs = append(errs, err)
	if errors.Join(errs...) == nil {
		errs = append(errs, o.ImagesFit())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if c.Version != "" && c.Version != o.Binary.Release.String() {
		return nil, fmt.Errorf("install.version is %s, and the binary that was fetched says that it is %s: what is served is not that release", c.Version, o.Binary.Release)
	}
	if chosen := s.inputs.options.Release; chosen != (k3s.Release{}) && chosen != o.Binary.Release {
		return nil, fmt.Errorf("k3s_version is %s but install.binary is %s: write k3s_version = %q or leave it out", chosen, o.Binary.Release, o.Binary.Release)
	}
	s.say(fmt.Sprintf("To install: K3s %s for %s, and %d archives of images.", o.Binary.Release, o.Binary.Architecture, len(o.Images)))
	return o, nil
}

// binary brings K3s's binary for an architecture to the build host and reads it.
func (s *session) binary(ctx context.Context, architecture string) (install.Binary, error) {
	if architecture == "" && s.config.Install.Version != "" {
		n, err := s.access.target.Read(ctx, install.LoaderQuery())
		if err != nil {
			return install.Binary{}, fmt.Errorf("reading the node: %w", err)
		}
		architecture = install.Architecture(n)
	}
	source, err := s.config.Install.binary(architecture)
	if err != nil {
		return install.Binary{}, err
	}
	file, err := source.File(ctx, s.ui)
	if err != nil {
		return install.Binary{}, err
	}
	b, err := install.ReadBinary(file)
	if err != nil {
		err = fmt.Errorf("%s: %w", source.Option, err)
	}
	return b, err
}

// module brings the module of the SELinux policy to the build host and reads it; nil where
// none is named.
func (s *session) module(ctx context.Context) (*install.Module, error) {
	if s.config.Install.SELinuxPolicy == "" {
		return nil, nil
	}
	source := s.config.Install.module()
	file, err := source.File(ctx, s.ui)
	if err != nil {
		return nil, err
	}
	m, err := install.ReadModule(file, source.Name())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source.Option, err)
	}
	return &m, nil
}

// readRegistries reads the file for containerd's registries, nil where none is named.
func (c *InstallConfig) readRegistries(errs *[]error) []byte {
	if c == nil {
		return nil
	}
	file := readFile("install.registries_file", c.RegistriesFile, errs)
	if file == nil {
		return nil
	}
	if err := k3s.CheckRegistries(file.Data); err != nil {
		*errs = append(*errs, fmt.Errorf("install.registries_file: %s: %w", file.Name, err))
	}
	return file.Data
}

// architecture is that of the programs of a tree; empty where it is not known.
func (a access) architecture() string {
	if a.rootPath == "" {
		return ""
	}
	name, err := disk.Architecture(a.rootPath)
	if err != nil {
		return "" // a tree without programs, to which the node's loaders may say more
	}
	return name
}

// installation plans what is installed on have, and returns have as it was read
// last. The plan is empty where nothing is to be installed.
func (s *session) installation(ctx context.Context, o harden.Options, have *node.Node) (*install.Plan, *node.Node, error) {
	if s.install == nil {
		return &install.Plan{}, have, nil
	}
	for range rounds {
		plan, err := install.Make(*s.install, have)
		if err != nil {
			return nil, nil, fmt.Errorf("nothing was changed on the node:\n%w", err)
		}
		dataDirs, disabled, missing, err := s.dataDirs(o, plan.On(have.WithoutHidden()))
		if err != nil {
			return nil, nil, err
		}
		lacking, err := plan.AddData(*s.install, have.WithoutHidden(), dataDirs...)
		if err != nil {
			return nil, nil, fmt.Errorf("nothing was changed on the node:\n%w", err)
		}
		if missing = append(missing, lacking...); len(missing) == 0 {
			plan.WarnMissing(*s.install, disabled)
			s.put = plan
			return plan, have, nil
		}
		s.more = append(s.more, missing...)
		if have, err = s.read(ctx); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, errWinding
}

// dataDirs are K3s's data directories, one a role, and its components that are not
// wanted: what is hardened may say both.
func (s *session) dataDirs(o harden.Options, n *node.Node) (dirs, disabled []string, missing node.Query, err error) {
	for _, role := range o.Role.Roles() {
		effective, err := k3s.ResolveDeclared(n, o.Release, role, o.K3sCommand)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("computing K3s's effective configuration: %w", err)
		}
		for _, d := range deploy.Disables(effective) {
			disabled = append(disabled, d.Name)
		}
		dir := effective.DataDir
		if chosen, _ := o.Config["data-dir"].(string); chosen != "" {
			dir = chosen
		}
		dirs, missing = append(dirs, dir), append(missing, effective.Missing...)
	}
	disabled = append(disabled, texts(o.Config["disable"])...)
	return dirs, disabled, n.Query().Lacks(missing), nil
}

// texts are the items of a list of the options, or of a text with commas.
func texts(value any) []string {
	switch v := value.(type) {
	case []string:
		return v
	case string:
		return strings.Split(v, ",")
	case []any:
		var out []string
		for _, item := range v {
			out = append(out, fmt.Sprint(item))
		}
		return out
	}
	return nil
}

// installedFiles are what was put into the image, for the report; nil for nothing.
func installedFiles(o *install.Options, p *install.Plan) *report.Installed {
	if o == nil || p == nil {
		return nil
	}
	file := func(source node.Source) report.InstalledFile {
		i := slices.IndexFunc(p.Write, func(e node.Entry) bool { return e.Source != nil && *e.Source == source })
		return report.InstalledFile{Path: p.Write[i].Path, SHA256: hex.EncodeToString(source.SHA256[:])}
	}
	out := &report.Installed{Binary: file(o.Binary.Source), Release: o.Binary.Release.String(), Architecture: o.Binary.Architecture}
	if o.Module != nil {
		module := file(o.Module.Source)
		out.SELinuxPolicy = &module
	}
	for _, a := range o.Images {
		archive := report.InstalledArchive{InstalledFile: file(a.Source)}
		for _, image := range a.Images {
			archive.Images = append(archive.Images, image.Name)
		}
		out.Archives = append(out.Archives, archive)
	}
	return out
}

// tellInstalled prints what is put into the image, under a heading.
func (s *session) tellInstalled(heading string, p *install.Plan) {
	if text := p.Text(); text != "" {
		s.say(heading + "\n" + text)
	}
}

// withInstalled adds what is installed to a change that was planned for a node with
// it. What that change took for granted of the files is what they were before.
func withInstalled(c node.Change, p *install.Plan, have *node.Node) node.Change {
	if len(p.Write) == 0 {
		return c
	}
	written := func(path string) bool {
		return slices.ContainsFunc(p.Write, func(e node.Entry) bool { return e.Path == path })
	}
	c.Write = slices.Concat(p.Write, slices.DeleteFunc(slices.Clone(c.Write), func(e node.Entry) bool { return written(e.Path) }))
	slices.SortStableFunc(c.Write, func(a, b node.Entry) int { return strings.Compare(a.Path, b.Path) })
	c.Preconditions = slices.Clone(c.Preconditions)
	for i, a := range c.Preconditions {
		if a.Children || !written(a.Path) {
			continue
		}
		before := ""
		if e, presence := have.WithoutHidden().Lookup(a.Path); presence == node.Present {
			sum := sha256.Sum256(e.Data)
			before = hex.EncodeToString(sum[:])
		}
		c.Preconditions[i].Either = []string{before}
	}
	kept := make(map[string]string, len(c.Keep)+len(p.Keep))
	for _, keep := range []map[string]string{c.Keep, p.Keep} {
		for from, to := range keep {
			kept[from] = to
		}
	}
	c.Keep, c.Links = kept, p.Links
	return c
}

// unseen is an error where what was installed is not what a node sees once it has
// booted.
func unseen(p *install.Plan, out *node.Outcome) error {
	var errs []error
	paths := slices.Sorted(maps.Keys(p.Links))
	for _, e := range p.Write {
		paths = append(paths, e.Path)
	}
	for _, name := range paths {
		if slices.ContainsFunc(out.Hidden, func(hidden string) bool { return node.Within(hidden, name) }) {
			errs = append(errs, fmt.Errorf("%s could not be installed: another file system hides it once the node has booted", name))
		}
	}
	return errors.Join(errs...)
}
