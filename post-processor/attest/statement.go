package attest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"
	testresult "github.com/in-toto/attestation/go/predicates/test_result/v0"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

// predicateType is what the statement says of its subjects.
const predicateType = "https://in-toto.io/attestation/test-result/v0.1"

// subjects names an artifact as Packer's own post-processor provenance does,
// so that both statements are about the same: each file by base name and
// SHA-256, or what has no files by "BuilderId:Id" and the SHA-256 of the JSON of
// its identity, with sorted names and without spaces.
func subjects(a packersdk.Artifact) ([]*intoto.ResourceDescriptor, error) {
	var out []*intoto.ResourceDescriptor
	for _, file := range a.Files() {
		digest, err := fileDigest(file)
		if err != nil {
			return nil, fmt.Errorf("the artifact's file: %w", err)
		}
		out = append(out, descriptor(filepath.Base(file), digest))
	}
	if len(out) > 0 {
		return out, nil
	}
	identity := map[string]any{"builderId": a.BuilderId(), "id": a.Id()}
	if state := plain(a.State(registryimage.ArtifactStateURI)); state != nil {
		identity["state"] = state
	}
	text, err := json.Marshal(identity)
	if err != nil {
		return nil, fmt.Errorf("the artifact's identity: %w", err)
	}
	return []*intoto.ResourceDescriptor{descriptor(a.BuilderId()+":"+a.Id(), digestOf(text))}, nil
}

// plain is a value as JSON has it, nil where JSON has none.
func plain(value any) (out any) {
	text, err := json.Marshal(value)
	if err != nil || json.Unmarshal(text, &out) != nil {
		return nil
	}
	return out
}

func descriptor(name, digest string) *intoto.ResourceDescriptor {
	return &intoto.ResourceDescriptor{Name: name, Digest: map[string]string{"sha256": digest}}
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// statement binds a report to subjects: compact JSON, the same for the same.
func statement(about []*intoto.ResourceDescriptor, r report.Report, digest string) ([]byte, error) {
	configuration, err := configuration(r, digest)
	if err != nil {
		return nil, err
	}
	result := &testresult.TestResult{Result: "PASSED", Configuration: configuration}
	for _, c := range r.Results {
		switch c.Status {
		case benchmark.Pass:
			result.PassedTests = append(result.PassedTests, c.Key)
		case benchmark.Waived:
			result.WarnedTests = append(result.WarnedTests, c.Key)
		}
	}
	for _, c := range r.Failed() {
		result.FailedTests = append(result.FailedTests, c.Key)
	}
	switch {
	case len(result.PassedTests)+len(result.WarnedTests)+len(result.FailedTests) == 0:
		return nil, errors.New("report: it judged nothing: no control passed, failed or is waived")
	case len(result.FailedTests) > 0:
		result.Result = "FAILED"
	case len(result.WarnedTests) > 0:
		result.Result = "WARNED"
	}
	text, err := protojson.Marshal(result)
	if err != nil {
		return nil, fmt.Errorf("writing the predicate: %w", err)
	}
	predicate := new(structpb.Struct)
	if err := protojson.Unmarshal(text, predicate); err != nil {
		return nil, fmt.Errorf("writing the predicate: %w", err)
	}
	s := &intoto.Statement{
		Type:          intoto.StatementTypeUri,
		Subject:       append(about, descriptor(reportFile, digest)),
		PredicateType: predicateType,
		Predicate:     predicate,
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("the statement: %w", err)
	}
	if text, err = protojson.Marshal(s); err != nil {
		return nil, fmt.Errorf("writing the statement: %w", err)
	}
	var out bytes.Buffer // protojson varies its spaces on purpose
	if err := json.Compact(&out, text); err != nil {
		return nil, fmt.Errorf("writing the statement: %w", err)
	}
	return out.Bytes(), nil
}

// configuration describes what was judged by what: the report with its counts
// and waivers, and the benchmark. What is neither passed, waived nor failed is
// in no list of tests; the counts tell how much that is.
func configuration(r report.Report, digest string) ([]*intoto.ResourceDescriptor, error) {
	summary, waivers := map[string]any{}, []any{}
	for status, n := range r.Summary {
		summary[string(status)] = n
	}
	for _, c := range r.Results {
		if c.Waiver == nil {
			continue
		}
		waivers = append(waivers, map[string]any{
			"control": c.Key, "id": c.ID, "reason": c.Waiver.Reason, "owner": c.Waiver.Owner,
			"expires": c.Waiver.Expires.Format(time.DateOnly),
		})
	}
	about := map[string]any{
		"build": r.Node.Build, "created": r.Created.UTC().Format(time.RFC3339), "plugin_version": r.PluginVersion,
		"verdict": r.Verdict(), "summary": summary, "waivers": waivers,
	}
	if people := attestations(r); len(people) > 0 {
		about["attestations"] = people
	}
	judged, err := structpb.NewStruct(about)
	if err != nil {
		return nil, fmt.Errorf("the report's annotations: %w", err)
	}
	rules, err := structpb.NewStruct(map[string]any{"k3s_version": r.K3sVersion, "role": r.Role})
	if err != nil {
		return nil, fmt.Errorf("the benchmark's annotations: %w", err)
	}
	of := descriptor(reportFile, digest)
	of.Annotations = judged
	out := []*intoto.ResourceDescriptor{of, {Name: r.Benchmark, Annotations: rules}}
	if digest := r.Judge.CatalogueDigest; digest != "" {
		out = append(out, descriptor("catalogue", digest))
	}
	return out, nil
}

// attestations are what persons attest of manual controls.
func attestations(r report.Report) []any {
	var out []any
	for _, c := range r.Results {
		if a := c.Attestation; a != nil {
			out = append(out, map[string]any{
				"control": c.Key, "id": c.ID, "statement": a.Statement, "by": a.By,
				"when": a.When.Format(time.DateOnly), "until": a.Until.Format(time.DateOnly),
			})
		}
	}
	return out
}
