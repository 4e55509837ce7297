package cis

import (
	"errors"
	"reflect"
	"regexp"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"
)

// unknown is what Packer writes at validate for a string that only a build can
// know, such as one from a data source.
const unknown = "<unknown>"

// decode fills c from what Packer sends. An option that does not exist is an
// error.
func (c *Config) decode(raws ...any) error {
	err := config.Decode(c, &config.DecodeOpts{
		PluginType:         "k3s-cis",
		Interpolate:        true,
		InterpolateContext: &c.ctx,
		InterpolateFilter:  &interpolate.RenderFilter{Exclude: []string{"execute_command"}},
	}, raws...)
	if err != nil {
		return withoutValues(err)
	}
	dropUnknown(reflect.ValueOf(c).Elem())
	return nil
}

// withoutValues is a decoder's error without what the options hold, which may
// be a secret: config a token, execute_command the password for sudo.
func withoutValues(err error) error {
	text := decodedValue.ReplaceAllString(err.Error(), "")
	return errors.New(templateText.ReplaceAllString(text, "$1 "+notRendered))
}

var (
	// decodedValue is how mapstructure shows a value of the wrong type.
	decodedValue = regexp.MustCompile(`, value: '[^\n]*'`)
	// templateText is how the SDK shows a template that does not parse, with
	// the names in it that are not known.
	templateText = regexp.MustCompile(`(?s)((?:invalid|render) '[a-z_.\[\]0-9]+':) .*`)
)

// notRendered is all that is said of a template, since it is the user's command
// with the user's password.
const notRendered = "this is not a template that Packer can render: look at its {{ }}"

// dropUnknown empties every string that is not known yet and leaves out blocks
// that hold one, so that validation speaks only of what was really written.
// The same options come again, known, right before Provision.
func dropUnknown(v reflect.Value) (found bool) {
	switch v.Kind() {
	case reflect.String:
		if v.String() == unknown && v.CanSet() {
			v.SetString("")
			return true
		}
	case reflect.Pointer:
		if !v.IsNil() && dropUnknown(v.Elem()) {
			v.SetZero()
			return true
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && dropUnknown(v.Field(i)) {
				found = true
			}
		}
	case reflect.Slice:
		if !v.CanSet() {
			return false
		}
		known := reflect.MakeSlice(v.Type(), 0, v.Len())
		for i := range v.Len() {
			if dropUnknown(v.Index(i)) {
				found = true
				continue
			}
			known = reflect.Append(known, v.Index(i))
		}
		if found {
			v.Set(known)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			if e := v.MapIndex(k); e.Kind() == reflect.String && e.String() == unknown {
				v.SetMapIndex(k, reflect.Value{})
				found = true
			}
		}
	}
	return found
}

// join makes one error of many, as Packer prints them, and nil of none.
func join(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return packersdk.MultiErrorAppend(nil, flatten(errs)...)
}

// joinError is the type of what errors.Join puts together.
var joinError = reflect.TypeOf(errors.Join(errors.ErrUnsupported))

// flatten takes apart what errors.Join put together, so that each error gets a
// line of its own.
func flatten(errs []error) []error {
	var out []error
	for _, err := range errs {
		var joined interface{ Unwrap() []error }
		if reflect.TypeOf(err) == joinError && errors.As(err, &joined) {
			out = append(out, flatten(joined.Unwrap())...)
			continue
		}
		out = append(out, err)
	}
	return out
}
