package cis

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/install"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

// The modes of the option mode.
const (
	modeApply = "apply"
	modeCheck = "check"
	modePlan  = "plan"
)

// defaultCommandTimeout bounds the remote command where the user does not.
const defaultCommandTimeout = 5 * time.Minute

// inputs is what validation made of the options: everything read, parsed and
// found good.
type inputs struct {
	// options lack the release where k3s_version is not written.
	options  harden.Options
	waivers  []benchmark.Waiver
	controls []benchmark.Control
	baseline *report.Report
	// registries is what install tells containerd of registries; nil for nothing.
	registries []byte
	// attestations are of manual controls.
	attestations []benchmark.Attestation
}

// validate checks every option, reads every file that one names and returns
// all that is wrong.
func (c *Config) validate() (inputs, []error) {
	var in inputs
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	c.setDefaults()
	oneOf := func(option, found string, allowed ...string) {
		if !slices.Contains(allowed, found) {
			wrong("%s: %q is not one of %s", option, found, quoted(allowed))
		}
	}
	oneOf("role", c.Role, string(k3s.Server), string(k3s.Agent), string(k3s.Both))
	oneOf("mode", c.Mode, modeApply, modeCheck, modePlan)

	in.options = c.options(&errs)
	if c.K3sVersion != "" {
		release, err := k3s.ParseRelease(c.K3sVersion)
		if err != nil {
			wrong("k3s_version: %w", err)
		}
		in.options.Release = release
	}
	if c.Install != nil && c.Install.Version != "" {
		release, err := k3s.ParseRelease(c.Install.Version) // whose error the block tells
		if err == nil && c.K3sVersion != "" && release != in.options.Release {
			wrong("k3s_version is %s but install.version is %s: leave k3s_version out", c.K3sVersion, c.Install.Version)
		}
		in.options.Release = release
	}
	in.options.Benchmark = c.selectBenchmark(in.options.Release, &errs)
	errs = append(errs, in.options.Validate()...)

	errs = append(errs, c.Seal.validate()...)
	errs = append(errs, c.Install.validate()...)
	in.registries = c.Install.readRegistries(&errs)
	errs = append(errs, c.Rehearsal.validate()...)
	if c.Install != nil && c.K3sCommand != "" {
		wrong("k3s_command and install exclude each other: the service that install writes starts k3s itself")
	}

	in.controls = c.readControls(&errs)
	in.waivers = c.parseWaivers(&errs)
	// A benchmark that does not fit the release still tells which controls there
	// are, and all of them do where none is known yet.
	judge := cmp.Or(in.options.Benchmark, c.explicitBenchmark(), benchmark.Any)
	errs = append(errs, benchmark.CheckWaivers(in.waivers, judge, in.options.Role, in.controls, time.Now())...)
	in.attestations = c.readAttestations(&errs)
	errs = append(errs, benchmark.CheckAttestations(in.attestations, judge, in.controls)...)
	in.baseline = c.readBaseline(&errs)

	if err := report.CheckDirectory(c.ReportDir); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, c.validateExecuteCommand()...)
	if c.CommandTimeout < 0 {
		wrong("command_timeout: %s is negative: write how long the command may take, such as 5m", c.CommandTimeout)
	}
	return in, errs
}

// selectBenchmark is the benchmark that release is judged by, "" where that is not
// known yet or wrong.
func (c *Config) selectBenchmark(release k3s.Release, errs *[]error) string {
	if known := append([]string{"auto"}, benchmark.Benchmarks()...); !slices.Contains(known, c.Benchmark) {
		if fitting := benchmark.Fitting(release); len(fitting) > 0 {
			known = append([]string{"auto"}, fitting...)
		}
		*errs = append(*errs, fmt.Errorf("benchmark: %q is not one of %s", c.Benchmark, quoted(known)))
		return ""
	}
	if release == (k3s.Release{}) {
		return ""
	}
	selected, err := benchmark.Select(release, c.Benchmark)
	if err != nil {
		*errs = append(*errs, fmt.Errorf("benchmark: %w", err))
	}
	return selected
}

func (c *Config) validateExecuteCommand() []error {
	var errs []error
	if c.ExecuteCommand == "" {
		return nil
	}
	if c.UseSudo != config.TriUnset {
		errs = append(errs, errors.New("use_sudo and execute_command exclude each other: use_sudo only chooses a default for execute_command"))
	}
	if !strings.Contains(c.ExecuteCommand, ".Path") {
		errs = append(errs, fmt.Errorf("execute_command: %q runs nothing of ours: it must contain {{ .Path }}", redactCommand(c.ExecuteCommand)))
	}
	if interpolate.Validate(c.ExecuteCommand, &c.ctx) != nil {
		errs = append(errs, fmt.Errorf("execute_command: %s", notRendered))
	}
	return errs
}

func (c *Config) setDefaults() {
	for option, value := range map[*string]string{&c.Role: string(k3s.Server), &c.Mode: modeApply, &c.Benchmark: "auto"} {
		if *option == "" {
			*option = value
		}
	}
	if i := c.Install; i != nil {
		i.BinDir = cmp.Or(i.BinDir, install.BinDirs()[0])
		if c.Seal == nil {
			c.Seal = &SealConfig{}
		}
	}
	if c.CommandTimeout == 0 {
		c.CommandTimeout = defaultCommandTimeout
	}
	if c.ReportDir == "" {
		c.ReportDir = "k3s-cis-report/" + c.buildName()
	}
}

// explicitBenchmark is the benchmark that the user names, "" for none that is known.
func (c *Config) explicitBenchmark() string {
	if slices.Contains(benchmark.Benchmarks(), c.Benchmark) {
		return c.Benchmark
	}
	return ""
}

// buildName is Packer's name of the build with the builder's type, such as
// k3s-image.node.
func (c *Config) buildName() string {
	if c.PackerBuilderType == "" || c.PackerBuilderType == c.PackerBuildName {
		return c.PackerBuildName
	}
	return c.PackerBuilderType + "." + c.PackerBuildName
}

// readFile reads a file that an option names; "" reads nothing.
func readFile(option, name string, errs *[]error) *harden.File {
	if name == "" {
		return nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		*errs = append(*errs, fmt.Errorf("%s: %q cannot be read (%w): write the path of a file on the build host, relative to where packer runs", option, name, err))
		return nil
	}
	return &harden.File{Name: name, Data: data}
}

func (c *Config) readControls(errs *[]error) []benchmark.Control {
	var all []benchmark.Control
	for i, name := range c.Controls {
		option := fmt.Sprintf("controls[%d]", i)
		file := readFile(option, name, errs)
		if file == nil {
			continue
		}
		controls, err := benchmark.LoadControls(name, file.Data)
		if err != nil {
			*errs = append(*errs, fmt.Errorf("%s: %w", option, err))
		}
		all = append(all, controls...)
	}
	return all
}

func (c *Config) readAttestations(errs *[]error) []benchmark.Attestation {
	var all []benchmark.Attestation
	for i, name := range c.Attestations {
		option := fmt.Sprintf("attestations[%d]", i)
		file := readFile(option, name, errs)
		if file == nil {
			continue
		}
		read, err := benchmark.LoadAttestations(name, file.Data, time.Now())
		if err != nil {
			*errs = append(*errs, fmt.Errorf("%s: %w", option, err))
		}
		all = append(all, read...)
	}
	return all
}

func (c *Config) readBaseline(errs *[]error) *report.Report {
	file := readFile("baseline", c.Baseline, errs)
	if file == nil {
		return nil
	}
	r, err := report.LoadReport(file.Data)
	if err != nil {
		*errs = append(*errs, fmt.Errorf("baseline: %s: %w", c.Baseline, err))
		return nil
	}
	return &r
}

func (c *Config) parseWaivers(errs *[]error) []benchmark.Waiver {
	var all []benchmark.Waiver
	for i, w := range c.Waivers {
		expires, err := time.Parse(time.DateOnly, w.Expires)
		if err != nil {
			*errs = append(*errs, fmt.Errorf("waiver[%d].expires: %q is not a day: write it as 2027-01-31", i, w.Expires))
			expires = time.Now() // what else is wrong with it is told too
		}
		all = append(all, benchmark.Waiver{
			Control: w.Control, Reason: w.Reason, Owner: w.Owner, Expires: expires, Role: w.Role, Build: w.Build,
		})
	}
	return all
}

// redactCommand hides what may be a password: everything before the first pipe.
func redactCommand(command string) string {
	if _, after, piped := strings.Cut(command, "|"); piped {
		return "… |" + after
	}
	return command
}

func quoted(values []string) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = fmt.Sprintf("%q", v)
	}
	return strings.Join(out, ", ")
}
