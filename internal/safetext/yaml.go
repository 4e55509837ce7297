package safetext

import (
	"regexp"
	"strconv"
	"strings"
)

// faults are the kinds of errors of the YAML and JSON libraries that quote what
// a file says, by a part of their words, and what is said in their place.
var faults = []struct{ part, says string }{
	{"unknown anchor", "an alias (*name) that no anchor (&name) is there for"},
	{"already set in map", "a key that is there twice"},
	{"already defined", "a key that is there twice"},
	{"already set in type", "a key that is there twice"},
	{"not found in type", "a key that is not known"},
	{"contains itself", "an anchor that contains itself"},
	{"excessive aliasing", "aliases that expand without bound"},
	{"cannot unmarshal", "a value of the wrong type"},
	{"cannot decode", "a value that does not fit its tag"},
	{"invalid base64", "a value that is not base64"},
	{"base64 data", "a value that is not base64"},
	{"invalid map key", "a key that is a list or a mapping"},
	{"map merge requires", "a merge (<<) of what is no mapping"},
	{"invalid character", "a character that JSON does not have there"},
	{"unexpected end of JSON", "JSON that ends too early"},
}

var (
	faultLine = regexp.MustCompile(`\bline (\d+): `)
	// scannerWords are those of the YAML library that quote nothing.
	scannerWords = regexp.MustCompile(`^(did not find|could not find|found|mapping (keys|values) are not|block sequence entries|control characters are|invalid|incomplete|unexpected|exceeded|while (scanning|parsing)) [ -~]*$`)
)

// YAMLFault says what kind of error a YAML or JSON library found and in which
// line, 0 where it does not say; never in the library's words where these quote
// the file, which may hold a secret.
func YAMLFault(err error) (line int, what string) {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if m := faultLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits by the pattern
	}
	for _, f := range faults {
		if strings.Contains(text, f.part) {
			return line, f.says
		}
	}
	if i := strings.LastIndex(text, "yaml: "); i >= 0 {
		if problem := faultLine.ReplaceAllString(text[i+len("yaml: "):], ""); scannerWords.MatchString(problem) {
			return line, problem
		}
	}
	return line, "not valid YAML"
}
