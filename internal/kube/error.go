package kube

import (
	"errors"
	"fmt"
)

// ReadFile returns the bytes of the file at an absolute path on the node. An
// error that is fs.ErrNotExist means that the file is known to be absent; any
// other error means that nothing is known of it.
type ReadFile func(path string) ([]byte, error)

// Error is what is wrong in one place of one file.
type Error struct {
	// File is the name that the loader was given.
	File string
	// Line is the line in File, from 1; 0 where it is not known.
	Line int
	// Text is the reason Kubernetes or K3s gives, without what the file has
	// there, and what would be right.
	Text string
	// Err is the error of what could not be read, or nil. It is never that of a
	// parser, whose words quote the file.
	Err error

	// unread is true when nothing is known of a file that File names.
	unread bool
}

// Error returns "file:line: text", or "file: text" where the line is not known.
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Text)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Errors takes the error of a loader of this package apart.
func Errors(err error) []*Error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*Error
		for _, one := range many.Unwrap() {
			out = append(out, Errors(one)...)
		}
		return out
	}
	var e *Error
	if errors.As(err, &e) {
		return []*Error{e}
	}
	return []*Error{{Text: complaint(err)}}
}
