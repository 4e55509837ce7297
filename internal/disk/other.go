//go:build !linux

package disk

import (
	"context"
	"io"
)

// Measure needs Linux.
func Measure(string) (Usage, error) { return Usage{}, ErrNotLinux }

// Unpack needs Linux.
func Unpack(context.Context, io.Reader, string) (*Held, error) { return nil, ErrNotLinux }

// Archive needs Linux.
func Archive(context.Context, io.Writer, string, *Held) (int, error) { return 0, ErrNotLinux }

// MakeExt4 needs Linux.
func MakeExt4(context.Context, string, string, int64, *Held, string) error { return ErrNotLinux }
