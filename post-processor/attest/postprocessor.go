// Package attest is the Packer post-processor k3s-attest: it binds the report
// of a build to the artifact that the build made, in an in-toto statement.
package attest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/k3s-cis/packer-plugin-k3s/internal/packerui"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

const (
	// reportFile is the report for programs, and its name as a subject.
	reportFile = "report.json"
	// payloadType says in an envelope that it holds an in-toto statement.
	payloadType = "application/vnd.in-toto+json"
)

// PostProcessor implements packersdk.PostProcessor.
type PostProcessor struct {
	config Config
	// signer is nil where the statement is not to be signed.
	signer *signer
	// started is when Packer configured first, which it does before it builds. It
	// does so again before it calls PostProcess.
	started time.Time
}

var _ packersdk.PostProcessor = (*PostProcessor)(nil)

// ConfigSpec returns the HCL schema of the options.
func (p *PostProcessor) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Configure decodes and checks the options and reads the key. It returns
// everything that is wrong at once, each error naming the option.
func (p *PostProcessor) Configure(raws ...any) error {
	if p.started.IsZero() {
		p.started = time.Now()
	}
	p.config = Config{}
	var err error
	p.signer, err = p.config.decode(raws...)
	return packerui.Error(err)
}

// PostProcess writes the statement and hands the artifact on as it is. Nothing
// is written where the report is not this build's or not of this run.
func (p *PostProcessor) PostProcess(ctx context.Context, ui packersdk.Ui, a packersdk.Artifact) (packersdk.Artifact, bool, bool, error) {
	return a, true, true, packerui.Error(p.attest(ctx, packerui.New(ui), a))
}

func (p *PostProcessor) attest(ctx context.Context, ui packersdk.Ui, a packersdk.Artifact) error {
	found, err := p.find()
	if err != nil {
		return err
	}
	about, err := subjects(a)
	if err != nil {
		return err
	}
	path := filepath.Join(p.directory(a, found.path), p.name(a))
	packed, err := p.members(found, path)
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	if p.config.Bundle {
		about = append(about, descriptor(sumsFile, digestOf(sums(packed))))
	}
	text, err := statement(about, found.report, digestOf(found.data))
	if err != nil {
		return err
	}
	how := "not signed: neither key nor key_file is set"
	if p.signer != nil {
		if text, err = p.signer.envelope(ctx, text); err != nil {
			return err
		}
		how = "signed by the key " + p.signer.id
	}
	text = append(text, '\n')
	if err := report.WriteFile(path, text); err != nil {
		return fmt.Errorf("writing the statement: %w", err)
	}
	ui.Say(fmt.Sprintf("Statement about %s: %s, %s.", found.path, path, how))
	if !p.config.Bundle {
		return nil
	}
	data, err := bundle(append([]member{{filepath.Base(path), text}, {sumsFile, sums(packed)}}, packed...), found.report.Created)
	if err == nil {
		err = report.WriteFile(bundleOf(path), data)
	}
	if err != nil {
		return fmt.Errorf("writing the bundle: %w", err)
	}
	ui.Say("Bundle of the evidence: " + bundleOf(path))
	return nil
}

// members are what the bundle has beside a statement; none where there is none.
func (p *PostProcessor) members(found evidence, statement string) ([]member, error) {
	if !p.config.Bundle {
		return nil, nil
	}
	return members(found, provenanceOf(statement))
}

// envelope signs a statement.
func (s *signer) envelope(ctx context.Context, text []byte) ([]byte, error) {
	signers, err := dsse.NewEnvelopeSigner(s)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	envelope, err := signers.SignPayload(ctx, payloadType, text)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return json.Marshal(envelope)
}

// evidence is a report as it lies on the disk.
type evidence struct {
	path   string
	data   []byte
	report report.Report
}

// build is how k3s-cis names this build in its report.
func (p *PostProcessor) build() string {
	if p.config.PackerBuilderType == "" || p.config.PackerBuilderType == p.config.PackerBuildName {
		return p.config.PackerBuildName
	}
	return p.config.PackerBuilderType + "." + p.config.PackerBuildName
}

// find returns the report of this build and run. In a directory that builds
// share it may be in the one named as the build.
func (p *PostProcessor) find() (evidence, error) {
	info, err := os.Stat(p.config.Report)
	if err != nil {
		return evidence{}, fmt.Errorf("report: %w", err)
	}
	if !info.IsDir() {
		return p.load(p.config.Report)
	}
	top, err := p.load(filepath.Join(p.config.Report, reportFile))
	if err == nil {
		return top, nil
	}
	own, ownErr := p.load(filepath.Join(p.config.Report, p.build(), reportFile))
	if errors.Is(ownErr, fs.ErrNotExist) {
		return evidence{}, err
	}
	return own, ownErr
}

// load reads a report and refuses one of another build or of an earlier run.
func (p *PostProcessor) load(path string) (evidence, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return evidence{}, fmt.Errorf("report: %w", err)
	}
	r, err := report.LoadReport(data)
	if err != nil {
		return evidence{}, fmt.Errorf("report %s: %w", path, err)
	}
	if r.Node.Build != p.build() {
		return evidence{}, fmt.Errorf("report %s is of the build %q, and this is %q: name this build's own", path, r.Node.Build, p.build())
	}
	if started := p.started.UTC().Truncate(time.Second); r.Created.Before(started) {
		return evidence{}, fmt.Errorf("report %s was made at %s, before this run began at %s: let k3s-cis judge in this build", path, r.Created.Format(time.RFC3339), started.Format(time.RFC3339))
	}
	return evidence{path, data, r}, nil
}

func (p *PostProcessor) directory(a packersdk.Artifact, report string) string {
	beside := report
	if files := a.Files(); len(files) > 0 {
		beside = files[0]
	}
	return cmp.Or(p.config.OutputDirectory, filepath.Dir(beside))
}

// statementEnding is how the names of statements end.
const statementEnding = ".test-result.json"

// name is that of the statement's file: the build and the artifact, as Packer's
// provenance names its own beside it.
func (p *PostProcessor) name(a packersdk.Artifact) string {
	stem := fileName(a.BuilderId() + "-" + a.Id())
	if files := a.Files(); len(files) > 0 {
		stem = filepath.Base(files[0])
	}
	build := fileName(strings.TrimSpace(p.config.PackerBuildName))
	if build != "" && stem != build && !strings.HasPrefix(stem, build+".") {
		stem = build + "." + stem
	}
	return stem + statementEnding
}

// fileName is a text with what may not be everywhere in a file name replaced.
func fileName(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(".-_", r) {
			return r
		}
		return '_'
	}, text)
}
