package safetext

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Hidden stands where a secret was.
const Hidden = "(hidden)"

// secretNames are what the names of parameters end in whose values are secrets.
var secretNames = []string{"password", "passwd", "passphrase", "pwd", "secret", "token", "api-key", "apikey", "access-key", "accesskey", "credential", "credentials"}

// parameter is a parameter of a URL or a connection string whose name says that
// its value is a secret.
var parameter = regexp.MustCompile(`(?i)\b([\w.-]*(?:` + strings.Join(secretNames, "|") + `))=("[^"]*"|'[^']*'|[^\s&;,"']+)`)

// HasPassword says whether a value is, or may be, an address with a password in
// it: a URL with one, a connection string or a proxy with one and no scheme, a
// parameter that is named like one. What has an @ and cannot be parsed is taken
// for one.
func HasPassword(value string) bool {
	return userPassword(value) || namedPassword(value)
}

// namedPassword says whether a parameter of value holds a secret. One that is
// true, false or a path holds none.
func namedPassword(value string) bool {
	if secretIn(value) {
		return true
	}
	if !strings.Contains(value, "%") {
		return false
	}
	u, err := url.Parse(value)
	if err != nil {
		return false
	}
	for name, values := range u.Query() { // a name may be written with escapes
		for _, v := range values {
			if secretIn(name + "=" + v) {
				return true
			}
		}
	}
	return false
}

// secretIn says whether text has a parameter that holds a secret. It looks at
// what stands around each =, since parameter takes long for a long text.
func secretIn(text string) bool {
	for rest := text; ; {
		name, after, found := strings.Cut(rest, "=")
		if !found {
			return false
		}
		if secretName(name) && secretParameter(parameterValue(after)) {
			return true
		}
		rest = after
	}
}

// secretName says whether text ends in a name of secretNames.
func secretName(text string) bool {
	const longest = len("credentials")
	end := strings.ToLower(text[max(0, len(text)-longest-1):])
	return slices.ContainsFunc(secretNames, func(name string) bool { return strings.HasSuffix(end, name) })
}

// maxParameter is how much of a parameter's value is looked at.
const maxParameter = 256

// parameterValue is the value that text begins with: up to the quote that closes
// it, or to what ends one without quotes.
func parameterValue(text string) string {
	text = text[:min(len(text), maxParameter)]
	if text != "" && (text[0] == '"' || text[0] == '\'') {
		value, _, _ := strings.Cut(text[1:], text[:1])
		return value
	}
	if end := strings.IndexAny(text, " \t\n\r\f\v&;,\"'"); end >= 0 {
		return text[:end]
	}
	return text
}

func secretParameter(value string) bool {
	value = strings.Trim(value, `"'`)
	_, err := strconv.ParseBool(value)
	return value != "" && err != nil && value != Hidden && !strings.HasPrefix(value, "/")
}

// userPassword says whether value has a user name with a password before an @.
func userPassword(value string) bool {
	at := strings.LastIndex(value, "@")
	if at < 0 {
		return false
	}
	if _, rest, ok := strings.Cut(value[:at], "://"); ok {
		u, err := url.Parse(value)
		if err != nil {
			return true
		}
		if u.User == nil {
			return strings.Contains(rest, "@") || strings.Contains(firstPart(rest), ":")
		}
		password, has := u.User.Password()
		return has && password != ""
	}
	return strings.Contains(firstPart(value[:at]), ":")
}

// firstPart is what stands before the first slash.
func firstPart(s string) string {
	part, _, _ := strings.Cut(s, "/")
	return part
}

// Value returns one value of a configuration without the secrets in it: an
// address without its user name and password, a parameter named like a secret
// without what it holds, and nothing at all of what has an @ and is no URL.
func Value(value string) string {
	if !HasPassword(value) && !strings.Contains(value, "@") {
		return value
	}
	u, err := url.Parse(value)
	switch {
	case err != nil, namedPassword(value):
		return Hidden
	case u.User != nil:
		u.User = nil
		return strings.Replace(u.String(), "://", "://"+Hidden+"@", 1)
	case HasPassword(value), u.Host == "" && strings.Contains(u.Opaque, "@"):
		return Hidden
	}
	return value
}

var (
	// inURL is what stands before the last @ of a word that has a scheme; one
	// slash is left of two where somebody took it for a path.
	inURL = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*:/+)[^\s"'<>]*@`)
	// bare is a user name and password before an @ without a scheme.
	bare = regexp.MustCompile(`(^|[\s"'=(])[^\s"'=(:/@]+:[^\s"'/]+@`)
)

// Passwords returns a text, such as a message with addresses in it, without the
// passwords that are recognized by their surroundings. It is the last line of
// defence, since a password with a blank in it is not: who knows that something
// is a value says Value.
func Passwords(text string) string {
	if strings.Contains(text, "@") {
		text = inURL.ReplaceAllString(text, "${1}"+Hidden+"@")
		text = bare.ReplaceAllString(text, "${1}"+Hidden+"@")
	}
	if !strings.Contains(text, "=") {
		return text
	}
	return parameter.ReplaceAllStringFunc(text, func(s string) string {
		m := parameter.FindStringSubmatch(s)
		if !secretParameter(m[2]) {
			return s
		}
		return m[1] + "=" + Hidden
	})
}

// maxName is how long a name may be that is shown although nobody knows it.
const maxName = 40

var plainName = regexp.MustCompile(`^[A-Za-z]+([-_][A-Za-z]+)*\+?$`)

// Name returns a name that a node's file gives to something and that is not
// known, such as a misspelt key: as it is where it is made of words, else
// "(hidden)", since what stands in the place of a name may be a secret too.
func Name(name string) string {
	if len(name) <= maxName && plainName.MatchString(name) {
		return name
	}
	return Hidden
}
