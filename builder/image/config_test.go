package image

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/fetch"
)

func tarBase(change map[string]any) map[string]any {
	c := map[string]any{
		"packer_build_name": "node", "packer_builder_type": "k3s-image",
		"iso_url": "https://example.com/root.tar.zst", "iso_checksum": "none",
	}
	for k, v := range change {
		if v == nil {
			delete(c, k)
			continue
		}
		c[k] = v
	}
	return c
}

func directoryBase(change map[string]any) map[string]any {
	base := map[string]any{"iso_url": nil, "iso_checksum": nil, "rootfs_directory": "/srv/rootfs"}
	for k, v := range change {
		base[k] = v
	}
	return tarBase(base)
}

func TestConfigDefaults(t *testing.T) {
	var c Config
	_, err := c.Prepare(tarBase(nil))
	require.NoError(t, err)
	assert.Equal(t, "output-node", c.OutputDirectory)
	assert.Equal(t, "packer-node", c.VMName)
	assert.Equal(t, "qcow2", c.Format)
	assert.Equal(t, "packer-node.qcow2", c.fileName())

	c = Config{}
	_, err = c.Prepare(directoryBase(nil))
	require.NoError(t, err)
	assert.Empty(t, c.Format, "a directory is the result itself")

	c = Config{}
	_, err = c.Prepare(tarBase(map[string]any{"read_only": true}))
	require.NoError(t, err)
	assert.Empty(t, c.Format, "looking makes no image")
}

func TestConfigAccepts(t *testing.T) {
	tests := map[string]struct {
		raw   map[string]any
		check func(t *testing.T, c *Config)
	}{
		"size in gibibytes":   {tarBase(map[string]any{"disk_size": "8G"}), func(t *testing.T, c *Config) { assert.EqualValues(t, 8<<30, c.diskSize) }},
		"size in mebibytes":   {tarBase(map[string]any{"disk_size": "1500M"}), func(t *testing.T, c *Config) { assert.EqualValues(t, 1500<<20, c.diskSize) }},
		"size is rounded up":  {tarBase(map[string]any{"disk_size": "100000001"}), func(t *testing.T, c *Config) { assert.EqualValues(t, 96<<20, c.diskSize) }},
		"name with ending":    {tarBase(map[string]any{"vm_name": "node.raw", "format": "raw"}), func(t *testing.T, c *Config) { assert.Equal(t, "node.raw", c.fileName()) }},
		"name with dots":      {tarBase(map[string]any{"vm_name": "node-1.36.3", "format": "tar"}), func(t *testing.T, c *Config) { assert.Equal(t, "node-1.36.3.tar", c.fileName()) }},
		"partition by label":  {tarBase(map[string]any{"partition": "LABEL=root"}), func(*testing.T, *Config) {}},
		"directory and image": {directoryBase(map[string]any{"format": "qcow2", "disk_size": "4G"}), func(*testing.T, *Config) {}},
		"own root, read-only": {directoryBase(map[string]any{"rootfs_directory": "/", "read_only": true}), func(*testing.T, *Config) {}},
		"several urls": {tarBase(map[string]any{"iso_url": nil, "iso_urls": []string{"https://a/x", "https://b/x"}}), func(t *testing.T, c *Config) {
			assert.Equal(t, []string{"https://a/x?archive=false", "https://b/x?archive=false"}, fetch.AsFiles(c.ISOUrls))
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var c Config
			_, err := c.Prepare(tt.raw)
			require.NoError(t, err)
			tt.check(t, &c)
		})
	}
}

func TestConfigRefuses(t *testing.T) {
	tests := map[string]struct {
		raw  map[string]any
		want []string
	}{
		"no base":                 {tarBase(map[string]any{"iso_url": nil, "iso_checksum": nil}), []string{"iso_url: a base is needed: set iso_url", "rootfs_directory"}},
		"two bases":               {directoryBase(map[string]any{"iso_url": "https://a/x", "iso_checksum": "none"}), []string{"rootfs_directory: cannot be combined with iso_url"}},
		"checksum of a directory": {directoryBase(map[string]any{"iso_checksum": "none"}), []string{"rootfs_directory: cannot be combined"}},
		"url without checksum":    {tarBase(map[string]any{"iso_checksum": nil}), []string{"checksum must be specified"}},
		"object store":            {tarBase(map[string]any{"iso_url": "s3::https://s3.amazonaws.com/b/k?aws_access_key_secret=abc"}), []string{`iso_url: "s3::https://s3.amazonaws.com/b/k" needs a client of that store`}},
		"object stores": {
			tarBase(map[string]any{"iso_url": nil, "iso_urls": []string{"https://a/x", "gcs::https://www.googleapis.com/storage/v1/b/x", "s3://b/k"}}),
			[]string{`iso_urls: "gcs::`, `iso_urls: "s3://b/k"`, "https URL"},
		},
		"unknown format":           {tarBase(map[string]any{"format": "vmdk"}), []string{`format: "vmdk" is not one of raw, qcow2, tar`}},
		"name with a slash":        {tarBase(map[string]any{"vm_name": "a/b"}), []string{`vm_name: "a/b" is not a file name`}},
		"name that is a directory": {tarBase(map[string]any{"vm_name": ".."}), []string{"vm_name"}},
		"size in words":            {tarBase(map[string]any{"disk_size": "large"}), []string{`disk_size: "large" is not a size`, `"8G"`}},
		"negative size":            {tarBase(map[string]any{"disk_size": "-8G"}), []string{"disk_size"}},
		"size with a unit":         {tarBase(map[string]any{"disk_size": "1M"}), []string{`disk_size: "1M" is too small for a root file system, which has 16M at least`}},
		"architecture of uname":    {tarBase(map[string]any{"architecture": "x86_64"}), []string{`architecture: "x86_64" is called "amd64" here`}},
		"architecture of Arm":      {tarBase(map[string]any{"architecture": "AArch64"}), []string{`architecture: "AArch64" is called "arm64" here`}},
		"size without unit":        {tarBase(map[string]any{"disk_size": "8"}), []string{`disk_size: "8" is too small`, `is the unit missing, as in "8G"?`}},
		"size of a tar":            {tarBase(map[string]any{"disk_size": "8G", "format": "tar"}), []string{"disk_size: only an image with format raw or qcow2 has a disk"}},
		"size and no image":        {directoryBase(map[string]any{"disk_size": "8G"}), []string{"disk_size: only an image"}},
		"architecture":             {tarBase(map[string]any{"architecture": "mips"}), []string{`architecture: "mips" is not one of amd64, arm64`}},
		"partition's form":         {tarBase(map[string]any{"partition": "sda1"}), []string{`partition: "sda1": write the partition's number`}},
		"partition of a directory": {directoryBase(map[string]any{"partition": "1"}), []string{"partition: only a disk has partitions"}},
		"this host's root":         {directoryBase(map[string]any{"rootfs_directory": "/./"}), []string{`rootfs_directory: "/" is this host's own root`}},
		"image of a mere look":     {tarBase(map[string]any{"read_only": true, "format": "raw"}), []string{`format: "raw" asks for an image, but read_only = true makes none`}},
		"unknown option":           {tarBase(map[string]any{"disksize": "8G"}), []string{`disksize`}},
		"all at once": {
			tarBase(map[string]any{"format": "vdi", "vm_name": "a/b", "disk_size": "x", "architecture": "z80", "partition": "?"}),
			[]string{"format", "vm_name", "disk_size", "architecture", "partition"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var c Config
			_, err := c.Prepare(tt.raw)
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// Packer prepares a builder more than once.
func TestPrepareTwice(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "root.tar")
	require.NoError(t, os.WriteFile(base, []byte("x"), 0o600))
	before, err := os.ReadDir(dir)
	require.NoError(t, err)
	t.Chdir(dir)
	var b Builder
	raw := tarBase(map[string]any{"iso_url": base, "disk_size": "1G"})
	generated, warnings, err := b.Prepare(raw)
	require.NoError(t, err)
	assert.Equal(t, []string{"RootDirectory", "RootReadOnly", "RootHidden", "RootImage", "RootBase", "RootBaseDigest"}, generated)
	assert.Len(t, warnings, 1, "the checksum is none")
	first := b.config
	_, _, err = b.Prepare(raw)
	require.NoError(t, err)
	assert.Equal(t, first.ISOUrls, b.config.ISOUrls)
	assert.Equal(t, first.diskSize, b.config.diskSize)
	after, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Equal(t, before, after, "validating made something")
}
