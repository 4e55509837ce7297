//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config

package image

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
	"github.com/k3s-cis/packer-plugin-k3s/internal/fetch"
)

// Config is the builder's options. A base is either downloaded (iso_url) or a
// directory on this host (rootfs_directory).
type Config struct {
	common.PackerConfig   `mapstructure:",squash"`
	commonsteps.ISOConfig `mapstructure:",squash"`

	// A directory on this host that holds the root file system. It is used in
	// place: what the provisioners change is changed there. Without `format`
	// the directory itself is the result; with it an image is made from the
	// directory afterwards. Takes the place of `iso_url` and `iso_checksum`.
	RootfsDirectory string `mapstructure:"rootfs_directory"`
	// The directory that the image is written to. It is made if it is not
	// there. Only the image and its checksum file are written; other files in
	// it are left alone. Defaults to `output-` and the name of the build.
	OutputDirectory string `mapstructure:"output_directory"`
	// The name of the image, without the ending: the file is called `vm_name`,
	// a dot and the format. Defaults to `packer-` and the name of the build.
	VMName string `mapstructure:"vm_name"`
	// The format of the image: `qcow2`, `raw` or `tar`. A base that is a disk
	// keeps its partitions; a tar or a directory becomes a disk that is one
	// ext4 file system without a partition table. Defaults to `qcow2`; with
	// `rootfs_directory` there is no default and no image without it.
	Format string `mapstructure:"format"`
	// The size of the disk in the image, such as `8G` or `512M`; `K`, `M`, `G`
	// and `T` are powers of 1024. A disk made from a tar or a directory is by
	// default as large as the files and 512 MiB more (or a quarter, if that is
	// larger). A base that is a disk keeps its size by default; a larger size
	// also grows its Linux file system where that is the last one on the disk.
	DiskSize string `mapstructure:"disk_size"`
	// Write the SHA-256 of a raw image, as for the other formats. It takes as
	// long as the disk is large, half a minute for 32 GiB; without it the
	// fs-verity digest is written, which binds every byte too and takes as
	// long as what is on the disk. Defaults to `false`.
	Checksum bool `mapstructure:"checksum"`
	// The architecture that the base must have, in K3s's terms: `amd64`,
	// `arm64`, `arm`, `riscv64` or `s390x`. By default any is taken; it is
	// known from the base's own programs.
	Architecture string `mapstructure:"architecture"`
	// Which partition of a disk holds the root file system: its number
	// (`"1"`), or `LABEL=`, `UUID=`, `PARTLABEL=` or `PARTUUID=` and a value,
	// as in fstab. By default it is the partition of a root's type, or the one
	// whose own fstab has it as the root, or the only root file system.
	Partition string `mapstructure:"partition"`
	// Only look at the base and change nothing: no image is made, uploads and
	// commands are refused, and a disk is mounted read-only. For the
	// provisioner's `mode = "check"`. Defaults to `false`.
	ReadOnly bool `mapstructure:"read_only"`

	diskSize int64
	ctx      interpolate.Context
}

// architectures are the names a user may give.
var architectures = []string{"amd64", "arm64", "arm", "riscv64", "s390x"}

// otherNames are what uname, Debian and vendors call the architectures.
var otherNames = map[string]string{
	"x86_64": "amd64", "x86-64": "amd64", "x64": "amd64", "aarch64": "arm64", "armv8": "arm64",
	"armhf": "arm", "armv7": "arm", "armv7l": "arm", "armel": "arm", "riscv": "riscv64",
}

func wrongArchitecture(name string) error {
	if right, known := otherNames[strings.ToLower(name)]; known {
		return fmt.Errorf("architecture: %q is called %q here", name, right)
	}
	return fmt.Errorf("architecture: %q is not one of %s", name, strings.Join(architectures, ", "))
}

// Prepare decodes and checks the options. It reads nothing but the options
// and, where iso_checksum names a file of checksums, that file. Every error
// names its option, and all are returned at once.
func (c *Config) Prepare(raws ...any) (warnings []string, err error) {
	*c = Config{} // Packer prepares a builder more than once
	if err := config.Decode(c, &config.DecodeOpts{
		PluginType:         "k3s-image",
		Interpolate:        true,
		InterpolateContext: &c.ctx,
	}, raws...); err != nil {
		return nil, err
	}
	c.setDefaults()
	warnings, errs := c.prepareBase()
	errs = append(errs, c.checkOutput()...)
	if c.Architecture != "" && !slices.Contains(architectures, c.Architecture) {
		errs = append(errs, wrongArchitecture(c.Architecture))
	}
	var all *packersdk.MultiError
	for _, e := range errs {
		all = packersdk.MultiErrorAppend(all, e)
	}
	if all != nil {
		return warnings, all
	}
	return warnings, nil
}

func (c *Config) setDefaults() {
	if c.OutputDirectory == "" {
		c.OutputDirectory = "output-" + c.PackerBuildName
	}
	if c.VMName == "" {
		c.VMName = "packer-" + c.PackerBuildName
	}
	if c.Format == "" && c.RootfsDirectory == "" && !c.ReadOnly {
		c.Format = string(disk.QCOW2)
	}
}

// prepareBase checks where the root file system comes from.
func (c *Config) prepareBase() (warnings []string, errs []error) {
	downloaded := c.RawSingleISOUrl != "" || len(c.ISOUrls) > 0
	switch {
	case c.RootfsDirectory == "" && !downloaded:
		return nil, []error{errors.New(
			"iso_url: a base is needed: set iso_url (a disk image or a root file system tar) or rootfs_directory (a directory)")}
	case c.RootfsDirectory != "" && (downloaded || c.ISOChecksum != ""):
		errs = append(errs, errors.New(
			"rootfs_directory: cannot be combined with iso_url, iso_urls or iso_checksum; a base is one or the other"))
	case downloaded:
		option := "iso_url"
		if c.RawSingleISOUrl == "" {
			option = "iso_urls"
		}
		warnings, errs = c.ISOConfig.Prepare(&c.ctx)
		errs = append(errs, fetch.Check(option, c.ISOUrls)...)
		if c.Partition != "" {
			if err := disk.CheckChoice(c.Partition); err != nil {
				errs = append(errs, err)
			}
		}
		return warnings, errs
	}
	if filepath.Clean(c.RootfsDirectory) == "/" && !c.ReadOnly {
		errs = append(errs, errors.New(
			`rootfs_directory: "/" is this host's own root; that is only allowed with read_only = true`))
	}
	if c.Partition != "" {
		errs = append(errs, errors.New("partition: only a disk has partitions, and rootfs_directory is a directory; remove it"))
	}
	return nil, errs
}

// checkOutput checks what is to be made.
func (c *Config) checkOutput() (errs []error) {
	makesDisk := c.Format == string(disk.Raw) || c.Format == string(disk.QCOW2)
	switch {
	case c.Format == "":
	case c.ReadOnly:
		errs = append(errs, fmt.Errorf("format: %q asks for an image, but read_only = true makes none; remove one of them", c.Format))
	case !slices.Contains(disk.Formats, disk.Format(c.Format)):
		errs = append(errs, fmt.Errorf("format: %q is not one of raw, qcow2, tar", c.Format))
	}
	if strings.ContainsAny(c.VMName, "/\x00\n") || c.VMName == "." || c.VMName == ".." {
		errs = append(errs, fmt.Errorf("vm_name: %q is not a file name; it is the image's name without its ending, such as \"node\"", c.VMName))
	}
	if c.Checksum && c.Format == "" {
		errs = append(errs, errors.New("checksum: only an image has one, and none is made; remove it or set format"))
	}
	if c.DiskSize == "" {
		return errs
	}
	size, err := units.RAMInBytes(c.DiskSize)
	switch {
	case err != nil || size <= 0:
		errs = append(errs, fmt.Errorf("disk_size: %q is not a size; write a number with K, M, G or T, such as \"8G\"", c.DiskSize))
	case size < minimumDisk:
		errs = append(errs, tooSmall(c.DiskSize))
	case !makesDisk:
		errs = append(errs, errors.New("disk_size: only an image with format raw or qcow2 has a disk; remove it"))
	}
	// Partition tables and file systems count in whole sectors and blocks.
	c.diskSize = (size + diskGrain - 1) / diskGrain * diskGrain
	return errs
}

func tooSmall(size string) error {
	if strings.Trim(size, "0123456789") == "" {
		return fmt.Errorf("disk_size: %q is too small for a root file system; is the unit missing, as in %q?", size, size+"G")
	}
	return fmt.Errorf("disk_size: %q is too small for a root file system, which has %dM at least", size, minimumDisk>>20)
}

const (
	// minimumDisk is less than any root file system needs, in bytes.
	minimumDisk = 16 << 20
	// diskGrain is what disk sizes are rounded up to, in bytes.
	diskGrain = 1 << 20
)

// imageName is the name of the image where one is made.
func (c *Config) imageName() string {
	if c.Format == "" {
		return ""
	}
	return c.fileName()
}

// fileName is the name of the image.
func (c *Config) fileName() string {
	ending := "." + c.Format
	return strings.TrimSuffix(c.VMName, ending) + ending
}
