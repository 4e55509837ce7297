// Package disk makes, opens and writes images: root file system archives,
// disk images with and without partitions, and the file systems in them. It
// works on a tree of files and knows nothing of what the files mean.
//
// Making an image from a tree needs no privilege beyond file ownership: no
// mount, no loop device, no device node. Opening a disk image needs both a
// loop device and a mount. Everything that touches the kernel is Linux only;
// elsewhere those functions return ErrNotLinux.
package disk

import "errors"

// ErrNotLinux is returned on other systems by everything that needs the
// Linux kernel.
var ErrNotLinux = errors.New("images can only be made on Linux")
