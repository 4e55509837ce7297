//go:build !linux

package rootfs

func (x *transaction) room() error { return nil }
