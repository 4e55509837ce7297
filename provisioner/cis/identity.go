package cis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/fetch"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// loaders are the programs that start dynamically linked ones, by the psABIs of
// glibc and musl: which a tree has tells its architecture, which K3s calls so.
var loaders = map[string]string{
	"/lib64/ld-linux-x86-64.so.2":      "amd64",
	"/lib/ld-musl-x86_64.so.1":         "amd64",
	"/lib/ld-linux-aarch64.so.1":       "arm64",
	"/lib/ld-musl-aarch64.so.1":        "arm64",
	"/lib/ld-linux-armhf.so.3":         "arm",
	"/lib/ld-musl-armhf.so.1":          "arm",
	"/lib/ld-linux-riscv64-lp64d.so.1": "riscv64",
	"/lib/ld-musl-riscv64.so.1":        "riscv64",
	"/lib/ld64.so.1":                   "s390x",
	"/lib/ld-musl-s390x.so.1":          "s390x",
}

// identityQuery asks for what tells which image a node is; its system and kernels
// are asked for by those that judge.
func identityQuery() node.Query {
	var q node.Query
	for p := range loaders {
		q = append(q, node.Pick{Path: p})
	}
	slices.SortFunc(q, func(a, b node.Pick) int { return strings.Compare(a.Path, b.Path) })
	return q
}

// Generated data of builders that say what a node is made of: the k3s-image
// builder's own, then those of Packer's amazon, googlecompute and docker plugins.
var (
	imageKeys  = []string{"RootImage"}
	baseKeys   = []string{"RootBase", "SourceAMIName", "SourceAMI", "SourceImageName"}
	digestKeys = []string{"RootBaseDigest", "SourceImageDigest"}
)

// generated is the first of some values that a builder generated.
func generated(data map[string]any, keys ...string) string {
	for _, key := range keys {
		if s, _ := data[key].(string); s != "" && !strings.HasPrefix(s, "Build_") { // Packer's placeholder
			return s
		}
	}
	return ""
}

// identify says which image n is. What is not known stays empty.
func (s *session) identify(ctx context.Context, n *node.Node) report.Node {
	out := report.Node{
		Build: s.config.buildName(), Access: s.access.name, Image: generated(s.data, imageKeys...),
		Base: generated(s.data, baseKeys...), BaseDigest: generated(s.data, digestKeys...),
		Commit: commit(ctx), Run: generated(s.data, "PackerRunUUID"),
	}
	out.OS, out.Kernels, out.Architecture = system(n)
	return out
}

// system says of a node its operating system, the kernels that it may boot and
// its architecture.
func system(n *node.Node) (name string, kernels []string, architecture string) {
	n = n.WithoutHidden()
	name = service.OSName(n)
	kernels = benchmark.Kernels(n)
	for p, of := range loaders {
		if _, presence := n.Lookup(p); presence != node.Present {
			continue
		}
		if architecture != "" && architecture != of {
			return name, kernels, "" // several; the kernel's is one of them
		}
		architecture = of
	}
	return name, kernels, architecture
}

// gitTimeout is how long git may take in a directory that is large.
const gitTimeout = 10 * time.Second

// commit is the git commit of the current directory, as report.Node has it; "" where there is none, or no
// git.
func commit(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0")
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// ownDigest is the SHA-256 of this program, in hexadecimal; "" where it cannot be read.
var ownDigest = sync.OnceValue(func() string {
	name, err := os.Executable()
	if err != nil {
		return ""
	}
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
})

// judge says by what a node is judged.
func (c *Config) judge() report.Judge {
	return report.Judge{PluginDigest: ownDigest(), CatalogueDigest: benchmark.Digest(), Options: c.given}
}

// givenOptions lists the options that are not empty by their names in HCL, a dot
// before what is in a block, without secrets.
func givenOptions(c Config) map[string]string {
	out := map[string]string{}
	list(out, "", reflect.ValueOf(c))
	return out
}

// list puts the exported fields of a struct into out.
func list(out map[string]string, prefix string, v reflect.Value) {
	for i := range v.NumField() {
		field, name := v.Type().Field(i), v.Type().Field(i).Tag.Get("mapstructure")
		if !field.IsExported() || strings.HasPrefix(name, ",") || v.Field(i).IsZero() {
			continue
		}
		value(out, prefix+name, v.Field(i))
	}
}

// value puts one option into out, or what is in it.
func value(out map[string]string, name string, v reflect.Value) {
	switch x := v.Interface().(type) {
	case config.Trilean:
		out[name] = fmt.Sprint(x.True())
	case time.Duration:
		out[name] = x.String()
	case map[string]string:
		for key, text := range x {
			shownName := key
			if name == "config" {
				shownName = k3s.ShownKey(key)
			}
			out[name+"."+shownName] = shownEntry(name, key, text)
		}
	case string:
		out[name] = shown(name, x)
	case []string:
		texts := make([]string, len(x))
		for i, text := range x {
			texts[i] = shown(name, text)
			if c, ok := argumentOptions[name]; ok {
				texts[i] = shownArgument(c, text)
			}
		}
		if text, err := json.Marshal(texts); err == nil {
			out[name] = string(text)
		}
	default:
		nested(out, name, v)
	}
}

// nested puts a block, blocks or a plain value into out.
func nested(out map[string]string, name string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		out[name] = "{}" // the block alone means something
		value(out, name, v.Elem())
	case reflect.Struct:
		list(out, name+".", v)
	case reflect.Slice:
		for i := range v.Len() {
			list(out, fmt.Sprintf("%s[%d].", name, i), v.Index(i))
		}
	default:
		out[name] = fmt.Sprint(v.Interface())
	}
}

// shownEntry is the value of a key in a map, without what may be a secret.
func shownEntry(option, key, text string) string {
	if option != "config" {
		return shown(option, text)
	}
	key = strings.TrimSuffix(key, "+")
	for _, c := range argumentOptions {
		var arguments []string
		if k3s.ArgumentKey(c) != key {
			continue
		}
		if yaml.Unmarshal([]byte(text), &arguments) != nil {
			return safetext.Hidden
		}
		for i, a := range arguments {
			arguments[i] = shownArgument(c, a)
		}
		return strings.Join(arguments, ", ")
	}
	return k3s.Redact(key, text)
}

// argumentOptions are the options whose items are arguments of a component.
var argumentOptions = map[string]k3s.Component{
	"kube_apiserver_args": k3s.APIServer, "kube_controller_manager_args": k3s.ControllerManager,
	"kube_scheduler_args": k3s.Scheduler, "kubelet_args": k3s.Kubelet,
}

// shownArgument is an argument without what may be a secret.
func shownArgument(c k3s.Component, argument string) string {
	name, value, has := strings.Cut(argument, "=")
	name = k3s.ShownKey(name)
	if !has {
		return name
	}
	return name + "=" + kube.Shown(c, name, value)
}

// shown is an option's text without what may be a secret. The command may hold the
// password for sudo, in any form.
func shown(option, text string) string {
	switch {
	case option == "execute_command":
		return safetext.Hidden
	case strings.HasPrefix(option, "waiver["): // of which the report tells all
		return text
	}
	if strings.Contains(text, "://") {
		text = fetch.Provenance(text)
	}
	return safetext.Passwords(safetext.Value(text))
}
