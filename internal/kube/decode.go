package kube

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxFileSize is the largest file that is parsed, in bytes. It is far above
// what the API server's own files need, and keeps a parser's memory bounded.
const maxFileSize = 4 << 20

// source is a text being loaded, with what its errors need.
type source struct {
	file  string
	lines lines
	// prefix is the path inside file of the object that is decoded, such as
	// "plugins[0].configuration"; empty for the whole text.
	prefix string
}

func checkSize(file string, data []byte) error {
	if len(data) > maxFileSize {
		return &Error{File: file, Text: fmt.Sprintf("the file has %d bytes: no more than %d are read", len(data), maxFileSize)}
	}
	return nil
}

func newSource(file string, data []byte) (source, error) {
	if err := checkSize(file, data); err != nil {
		return source{}, err
	}
	return source{file: file, lines: linesOf(data, 0)}, nil
}

// below returns the source for the object at path inside s.
func (s source) below(path string) source {
	s.prefix = s.path(path)
	return s
}

func (s source) path(p string) string {
	if s.prefix == "" || p == "" {
		return s.prefix + p
	}
	return s.prefix + "." + p
}

// errorf returns an error at the field path p below s.
func (s source) errorf(p, format string, args ...any) *Error {
	return &Error{File: s.file, Line: s.lines.at(s.path(p)), Text: fmt.Sprintf(format, args...)}
}

var (
	strictField = regexp.MustCompile(`^(unknown|duplicate) field "(.*)"$`)
	yamlLine    = regexp.MustCompile(`\bline (\d+): `)
)

// decodeErrors turns what a Kubernetes decoder said into one *Error for each
// complaint, with advice at the end of each.
func (s source) decodeErrors(err error, advice string) []*Error {
	complaints := []error{err}
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		complaints = strict.Errors()
	}
	var out []*Error
	for _, c := range complaints {
		e := &Error{File: s.file, Line: s.lines.at(s.prefix), Text: oneLine(c.Error()) + "; " + advice, Err: c}
		if runtime.IsNotRegisteredError(c) {
			e.Line = s.lines.at(s.path("apiVersion"))
		} else if m := strictField.FindStringSubmatch(c.Error()); m != nil {
			e.Line = s.lines.at(s.path(m[2]))
		} else if m := yamlLine.FindStringSubmatch(c.Error()); m != nil && s.prefix == "" {
			n, _ := strconv.Atoi(m[1]) // digits by the pattern
			e.Line = n + s.lines.offset
			if s.lines.offset > 0 { // the decoder counts from the document's first line
				e.Text = yamlLine.ReplaceAllString(e.Text, "")
			}
		}
		out = append(out, e)
	}
	return out
}

// fieldErrors turns a validation's complaints into *Errors.
func (s source) fieldErrors(list field.ErrorList) []*Error {
	var out []*Error
	for _, c := range list {
		out = append(out, &Error{File: s.file, Line: s.lines.at(s.path(c.Field)), Text: oneLine(c.Error()), Err: c})
	}
	return out
}

// oneLine brings a multi-line complaint onto one line.
func oneLine(s string) string {
	return strings.Join(strings.Fields(s), " ")
}

// join returns the errors as one, or nil for none.
func join(list []*Error) error {
	errs := make([]error, len(list))
	for i, e := range list {
		errs[i] = e
	}
	return errors.Join(errs...)
}
