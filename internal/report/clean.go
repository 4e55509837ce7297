package report

import (
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// line makes s one printable line.
func line(s string) string { return safetext.Line(s) }

// text makes s printable and keeps its line breaks.
func text(s string) string { return strings.TrimSpace(safetext.Text(s)) }

// cleanResult makes every text of res printable; see safetext. It copies what it
// changes and leaves res alone.
func cleanResult(res benchmark.Result) benchmark.Result {
	for _, p := range []*string{&res.ID, &res.Key, &res.Title, &res.Section, &res.Found, &res.Expected} {
		*p = line(*p)
	}
	res.Reason, res.Phase = text(res.Reason), line(res.Phase)
	res.Remediation = text(res.Remediation)
	evidence := make([]benchmark.Evidence, 0, len(res.Evidence))
	for _, e := range res.Evidence {
		evidence = append(evidence, benchmark.Evidence{Source: line(e.Source), Line: max(e.Line, 0), Detail: line(e.Detail), Phase: line(e.Phase)})
	}
	res.Evidence = evidence
	if res.Waiver != nil {
		w := *res.Waiver
		w.Control, w.Owner, w.Role, w.Build = line(w.Control), line(w.Owner), line(w.Role), line(w.Build)
		w.Reason = text(w.Reason)
		w.Expires = w.Expires.UTC()
		res.Waiver = &w
	}
	if res.Attestation != nil {
		a := *res.Attestation
		a.Control, a.By, a.Statement = line(a.Control), line(a.By), text(a.Statement)
		a.When, a.Until = a.When.UTC(), a.Until.UTC()
		res.Attestation = &a
	}
	return res
}

// lines makes each of list one printable line; nil stays nil.
func lines(list []string) []string {
	if list == nil {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = line(s)
	}
	return out
}

// texts makes names and values of m printable; nil stays nil.
func texts(m map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	out := make(map[string]string, len(m))
	for name, value := range m {
		out[line(name)] = text(value)
	}
	return out
}

// clean makes every text of n printable. It leaves n alone.
func (n Node) clean() Node {
	for _, p := range []*string{
		&n.Build, &n.Datastore, &n.Access, &n.Image, &n.OS, &n.Architecture, &n.Base, &n.BaseDigest, &n.Commit, &n.Run,
	} {
		*p = line(*p)
	}
	n.Kernels = lines(n.Kernels)
	return n
}

// clean makes every text of j printable. It leaves j alone.
func (j Judge) clean() Judge {
	j.PluginDigest, j.CatalogueDigest = line(j.PluginDigest), line(j.CatalogueDigest)
	j.Options = texts(j.Options)
	return j
}

// clean makes every text of d printable. It leaves d alone; nil stays nil.
func (d *DriftRecord) clean() *DriftRecord {
	if d == nil {
		return nil
	}
	out := &DriftRecord{Since: d.Since.UTC().Truncate(time.Second), Subject: lines(d.Subject), Changes: make([]DriftChange, len(d.Changes))}
	for i, c := range d.Changes {
		c.Kind, c.ID, c.Key, c.Title = line(c.Kind), line(c.ID), line(c.Key), line(c.Title)
		out.Changes[i] = c
	}
	return out
}

// cleanInstalled makes every text of what was installed printable.
func cleanInstalled(i *Installed) *Installed {
	if i == nil {
		return nil
	}
	file := func(f InstalledFile) InstalledFile { return InstalledFile{line(f.Path), line(f.SHA256)} }
	out := &Installed{Binary: file(i.Binary), Release: line(i.Release), Architecture: line(i.Architecture)}
	if i.SELinuxPolicy != nil {
		module := file(*i.SELinuxPolicy)
		out.SELinuxPolicy = &module
	}
	for _, a := range i.Archives {
		archive := InstalledArchive{InstalledFile: file(a.InstalledFile)}
		for _, image := range a.Images {
			archive.Images = append(archive.Images, line(image))
		}
		out.Archives = append(out.Archives, archive)
	}
	return out
}
