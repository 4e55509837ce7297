package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// faults collects what is wrong with a document.
type faults []error

// add adds the fault of what stands at a place such as /results/3/status.
func (f *faults) add(at, format string, args ...any) {
	if at == "" {
		at = "/"
	}
	*f = append(*f, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...)))
}

// want adds the fault of v, which should be something else.
func (f *faults) want(at string, v any, want string) {
	f.add(at, "found %s, want %s", describe(v), want)
}

// err is all faults as one error.
func (f *faults) err() error { return errors.Join(*f...) }

// describe says in a few words what v is.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%.60q", v)
	case json.Number:
		return fmt.Sprintf("%.20s", v)
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	default:
		return strings.ReplaceAll(fmt.Sprint(v), "<nil>", "null")
	}
}

// check adds to f what is wrong with v, which stands at a place.
type check func(f *faults, at string, v any)

// field is a name that an object has.
type field struct {
	name     string
	optional bool
	check    check
}

// object accepts an object that has all of fields, save optional ones, and no
// others.
func object(fields ...field) check {
	return func(f *faults, at string, v any) {
		o, ok := v.(map[string]any)
		if !ok {
			f.want(at, v, "an object")
			return
		}
		known := map[string]bool{}
		for _, field := range fields {
			known[field.name] = true
			if value, ok := o[field.name]; ok {
				field.check(f, at+"/"+field.name, value)
			} else if !field.optional {
				f.add(at, "%q is missing", field.name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(o)) {
			if !known[name] {
				f.add(at, "%.60q is not known here", name)
			}
		}
	}
}

// listOf accepts a list of what item accepts.
func listOf(item check) check {
	return func(f *faults, at string, v any) {
		values, ok := v.([]any)
		if !ok {
			f.want(at, v, "a list")
			return
		}
		for i, value := range values {
			item(f, at+"/"+strconv.Itoa(i), value)
		}
	}
}

// stringThat accepts strings that holds is true of.
func stringThat(want string, holds func(string) bool) check {
	return func(f *faults, at string, v any) {
		if s, ok := v.(string); !ok || !holds(s) {
			f.want(at, v, want)
		}
	}
}

// oneOf accepts the values.
func oneOf[T ~string](values ...T) check {
	names := make([]string, 0, len(values))
	for _, v := range values {
		names = append(names, string(v))
	}
	return stringThat("one of "+strings.Join(names, ", "), func(s string) bool { return slices.Contains(names, s) })
}

// wholeNumber accepts integers from least, written without fraction and
// exponent.
func wholeNumber(least int) check {
	return func(f *faults, at string, v any) {
		number, ok := v.(json.Number)
		if n, err := strconv.Atoi(string(number)); !ok || err != nil || n < least {
			f.want(at, v, fmt.Sprintf("a whole number from %d", least))
		}
	}
}

// How RFC 3339 writes a time, and one in UTC to the second; package time takes
// some others too.
const (
	rfc3339    = `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`
	rfc3339UTC = `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`
)

// timeOf accepts times of RFC 3339 that pattern matches.
func timeOf(pattern, want string) check {
	re := regexp.MustCompile(pattern)
	return stringThat(want, func(s string) bool {
		return re.MatchString(s) && new(time.Time).UnmarshalText([]byte(s)) == nil
	})
}

// reportShape accepts what docs/report.schema.json describes. It says that
// again because a validator for every schema makes each start of the plugin
// wait some milliseconds; a test holds the two against each other.
func reportShape() check {
	var (
		anyText    = stringThat("a text", func(string) bool { return true })
		name       = stringThat("a text that is not empty", func(s string) bool { return s != "" })
		release    = regexp.MustCompile(`^cis-[0-9]+\.[0-9]+$`)
		cisRelease = stringThat("a CIS release such as cis-2.1", release.MatchString)
		created    = timeOf(rfc3339UTC, "a time in UTC, to the second, such as 2026-11-23T09:30:00Z")
		expires    = timeOf(rfc3339, "a time such as 2027-03-31T00:00:00Z")
	)
	counts := make([]field, 0, len(benchmark.Statuses))
	for _, s := range benchmark.Statuses {
		counts = append(counts, field{name: string(s), check: wholeNumber(0)})
	}
	node := object(
		field{name: "build", check: anyText},
		field{name: "datastore", check: oneOf("sqlite", "etcd", "external"), optional: true},
		field{name: "access", check: anyText},
	)
	evidence := object(
		field{name: "source", check: name},
		field{name: "line", check: wholeNumber(1), optional: true},
		field{name: "detail", check: anyText},
	)
	waiver := object(
		field{name: "control", check: name},
		field{name: "reason", check: name},
		field{name: "owner", check: name},
		field{name: "expires", check: expires},
		field{name: "role", check: anyText, optional: true},
		field{name: "build", check: anyText, optional: true},
	)
	result := object(
		field{name: "id", check: name},
		field{name: "key", check: name},
		field{name: "title", check: name},
		field{name: "status", check: oneOf(benchmark.Statuses...)},
		field{name: "section", check: anyText},
		field{name: "found", check: anyText},
		field{name: "expected", check: anyText},
		field{name: "reason", check: anyText, optional: true},
		field{name: "evidence", check: listOf(evidence)},
		field{name: "remediation", check: anyText, optional: true},
		field{name: "waiver", check: waiver, optional: true},
	)
	return object(
		field{name: "plugin_version", check: name},
		field{name: "created", check: created},
		field{name: "k3s_version", check: name},
		field{name: "role", check: oneOf("server", "agent")},
		field{name: "benchmark", check: cisRelease},
		field{name: "node", check: node},
		field{name: "summary", check: object(counts...)},
		field{name: "results", check: listOf(func(f *faults, at string, v any) {
			result(f, at, v)
			grounds(f, at, v)
		})},
	)
}

// grounds says what a result's status asks for and v lacks: nothing is proven
// without evidence, what was not judged says why, and what is accepted says by
// whom and until when.
func grounds(f *faults, at string, v any) {
	res, _ := v.(map[string]any)
	status, _ := res["status"].(string)
	missing := func(name string) {
		if _, ok := res[name]; !ok {
			f.add(at, "%q is missing, which the status %s asks for", name, status)
		}
	}
	switch benchmark.Status(status) {
	case benchmark.Pass:
		if evidence, ok := res["evidence"].([]any); ok && len(evidence) == 0 {
			f.add(at+"/evidence", "found an empty list, want evidence of the status %s", status)
		}
	case benchmark.Error, benchmark.Deferred, benchmark.Manual, benchmark.NotApplicable:
		missing("reason")
		if res["reason"] == "" {
			f.add(at+"/reason", "found an empty text, want the reason of the status %s", status)
		}
	case benchmark.Waived:
		missing("waiver")
	}
}
