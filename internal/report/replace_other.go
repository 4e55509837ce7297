//go:build !linux

package report

import "os"

// replace puts the file tmp in path's place in one step; tmp is no more.
func replace(tmp, path string) error { return os.Rename(tmp, path) }
