package kube

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// wordLists are the flags whose values are words that are known: what else
// stands there is not shown.
var wordLists = map[string]func(string) bool{
	"enable-admission-plugins":  isPlugin,
	"disable-admission-plugins": isPlugin,
	"admission-control":         isPlugin,
	"authorization-mode":        func(s string) bool { return slices.Contains(authorizers, s) },
	"tls-cipher-suites":         KnownCipher,
	"tls-min-version":           func(s string) bool { return slices.Contains(tlsVersions, s) },
	"feature-gates":             regexp.MustCompile(`^ *[A-Za-z0-9]{1,80}=(?i:true|false|t|f|1|0) *$`).MatchString,
}

func isPlugin(s string) bool {
	_, known := plugins()[strings.TrimSpace(s)]
	return known
}

// Shown returns the value of a flag of a component fit to be shown: "(hidden)"
// for a flag that is not known, for what is no value of the flag's kind, and for
// each item of a list that is none of its words; an address without its password.
func Shown(c k3s.Component, name, value string) string {
	if plain(value) {
		return value
	}
	name = canonical(name)
	if words := wordLists[name]; words != nil {
		items := strings.Split(value, ",")
		for i, item := range items {
			if !words(item) {
				items[i] = safetext.Hidden
			}
		}
		return strings.Join(items, ",")
	}
	f, known := flags()[c][name]
	switch {
	case !known && c != k3s.Etcd, k3s.Secret(name), parseValue(f.kind, value) != "":
		return safetext.Hidden
	}
	return safetext.Value(value)
}

// plain says whether a value cannot be a secret: nothing, true, false or a number.
func plain(value string) bool {
	_, boolean := strconv.ParseBool(value)
	_, number := strconv.ParseFloat(value, 64)
	return value == "" || boolean == nil || number == nil && len(value) <= 20
}

// word shows a word that stands where a name of Kubernetes's is wanted, blanks
// around it included; see safetext.Name.
func word(s string) string {
	if !plain(s) && safetext.Name(strings.TrimSpace(s)) == safetext.Hidden {
		return safetext.Hidden
	}
	return s
}
