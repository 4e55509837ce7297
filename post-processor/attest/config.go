//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config

package attest

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/common"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"
)

// Config is what a user may write in a `post-processor "k3s-attest"` block.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// The report of this build: the path of a `report.json`, or the `report_dir` of
	// `k3s-cis` that it is in. Where several builds of a run share a `report_dir`, the
	// report in the directory named as this build is found too.
	Report string `mapstructure:"report" required:"true"`
	// Path of the private key to sign with, PEM: Ed25519, ECDSA or RSA, as PKCS #8,
	// PKCS #1 or SEC 1, not encrypted. Without `key_file` and `key` the statement is
	// written unsigned, and the log says so.
	KeyFile string `mapstructure:"key_file"`
	// The text of the private key instead of its path. Hand it in as a `sensitive`
	// variable.
	Key string `mapstructure:"key"`
	// Write a bundle beside the statement, such as `node.qcow2.evidence.tar.zst`: the report
	// in every format, the statement, Packer's provenance where that was made before, and
	// their digests. Default `false`.
	Bundle bool `mapstructure:"bundle"`
	// Where the statement goes. Default: the directory of the artifact's first file, or
	// of the report where the artifact has no files.
	OutputDirectory string `mapstructure:"output_directory"`

	ctx interpolate.Context
}

// decode reads the options and the key; every error names its option.
func (c *Config) decode(raws ...any) (*signer, error) {
	err := config.Decode(c, &config.DecodeOpts{
		PluginType:         "k3s-attest",
		Interpolate:        true,
		InterpolateContext: &c.ctx,
	}, raws...)
	hide(c.Key)
	if err != nil {
		return nil, err
	}
	var errs []error
	if c.Report == "" {
		errs = append(errs, errors.New(`report is not set: write the report_dir of k3s-cis, such as report = "report"`))
	}
	key, err := c.readKey()
	return key, errors.Join(append(errs, err)...)
}

// hide keeps a key out of the log: as one text, and line by line, since a log
// has lines.
func hide(key string) {
	for line := range strings.Lines(key) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "-----") {
			packersdk.LogSecretFilter.Set(line)
		}
	}
	if key != "" {
		packersdk.LogSecretFilter.Set(key)
	}
}

// readKey returns nil where none is set.
func (c *Config) readKey() (*signer, error) {
	text, option := []byte(c.Key), "key"
	switch {
	case c.Key != "" && c.KeyFile != "":
		return nil, errors.New("key and key_file are both set: write one of them")
	case c.Key == "" && c.KeyFile == "":
		return nil, nil
	case c.KeyFile != "":
		var err error
		option = "key_file " + c.KeyFile
		if text, err = os.ReadFile(c.KeyFile); err != nil {
			return nil, fmt.Errorf("key_file: %w", err)
		}
	}
	s, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", option, err)
	}
	return s, nil
}
