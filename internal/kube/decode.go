package kube

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
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
	strictField = regexp.MustCompile(`^(?:.*: )?(unknown|duplicate) field "(.*)"$`)
	wrongType   = regexp.MustCompile(`cannot unmarshal (string|number|bool|object|array)\b.* into Go (?:struct field (\S+)|value) of type (\S+)$`)
	noKind      = regexp.MustCompile(`^(?:.*: )?no kind "([^"]*)" is registered for (?:version "([^"]*)"|the internal version of group "([^"]*)")`)
	versionName = regexp.MustCompile(`^([a-z.-]+[a-z0-9.-]*/)?v[0-9]{1,2}((alpha|beta)[0-9]{1,2})?$`)
	fieldStep   = regexp.MustCompile(`^[A-Za-z]{1,40}(-[a-z]{1,20})*(\[[0-9]+\])*$`)
)

// quoting are complaints of Kubernetes's decoders that quote the file, by a part
// of their words, and what is said instead.
var quoting = []struct{ part, says string }{
	{"Object 'Kind' is missing", "Object 'Kind' is missing"},
	{"Object 'apiVersion' is missing", "Object 'apiVersion' is missing"},
	{"quantities must match", "a quantity that is none, such as 100m or 64Mi"},
	{"illegal base64", "a value that is not base64"},
	{"parsing time", "a time that is none, such as 2027-01-31T12:00:00Z"},
	{"time: ", "a duration that is none, such as 30s"},
	{"couldn't get version/kind", "apiVersion and kind are not there, or not text"},
}

// complaint says what a decoder found, without what the file has there: it may
// be a secret. Names of fields are shown where they are words.
func complaint(err error) string {
	text := oneLine(err.Error())
	prefix := ""
	if strings.HasPrefix(text, "failed decoding: ") {
		prefix = "failed decoding: "
	}
	if m := strictField.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("%s%s field %q", prefix, m[1], fieldName(m[2]))
	}
	if m := noKind.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("%sno kind %q is registered for version %q", prefix, safetext.Name(m[1]), versionOf(m[2]+m[3]))
	}
	if m := wrongType.FindStringSubmatch(text); m != nil {
		at := "value"
		if m[2] != "" {
			at = "struct field " + fieldName(m[2])
		}
		return fmt.Sprintf("%scannot unmarshal %s into Go %s of type %s", prefix, m[1], at, m[3])
	}
	for _, q := range quoting {
		if strings.Contains(text, q.part) {
			return prefix + q.says
		}
	}
	_, what := safetext.YAMLFault(err)
	return prefix + what
}

// fieldName shows the path of a field, of which the steps that are not words are
// hidden.
func fieldName(path string) string {
	steps := strings.Split(path, ".")
	for i, s := range steps {
		if !fieldStep.MatchString(s) {
			steps[i] = safetext.Hidden
		}
	}
	return strings.Join(steps, ".")
}

func versionOf(version string) string {
	if !versionName.MatchString(version) {
		return safetext.Hidden
	}
	return version
}

// decodeErrors turns what a Kubernetes decoder said into one *Error for each
// complaint, with advice at the end of each.
func (s source) decodeErrors(err error, advice string) []*Error {
	complaints := []error{err}
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		complaints = strict.Errors()
	}
	var out []*Error
	for _, c := range complaints {
		e := &Error{File: s.file, Line: s.lines.at(s.prefix), Text: complaint(c) + "; " + advice}
		if runtime.IsNotRegisteredError(c) {
			e.Line = s.lines.at(s.path("apiVersion"))
		} else if m := strictField.FindStringSubmatch(c.Error()); m != nil {
			e.Line = s.lines.at(s.path(m[2]))
		} else if line, _ := safetext.YAMLFault(c); line > 0 && s.prefix == "" {
			e.Line = line + s.lines.offset // the decoder counts from the document's first line
		}
		out = append(out, e)
	}
	return out
}

// fieldErrors turns a validation's complaints into *Errors.
func (s source) fieldErrors(list field.ErrorList) []*Error {
	var out []*Error
	for _, c := range list {
		out = append(out, &Error{File: s.file, Line: s.lines.at(s.path(c.Field)), Text: invalid(c)})
	}
	return out
}

// invalid says what a validation found, with the value only where it is a
// number.
func invalid(c *field.Error) string {
	text := fmt.Sprintf("%s: %s", fieldName(c.Field), c.Type)
	if v := reflect.Indirect(reflect.ValueOf(c.BadValue)); v.IsValid() && v.CanInt() {
		text += fmt.Sprintf(": %d", v.Int())
	}
	if c.Detail != "" {
		text += ": " + oneLine(c.Detail)
	}
	return text
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
