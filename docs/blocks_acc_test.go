package docs_test

import (
	"cmp"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// block is HCL that a page shows.
type block struct {
	page string
	line int
	text string
}

var shown = regexp.MustCompile("(?ms)^ *```hcl\n(.*?)^ *```")

// blocks are all of them; what pages share is there once.
func blocks(t *testing.T) []block {
	t.Helper()
	var out []block
	seen := map[string]bool{}
	texts := pages(t)
	for _, page := range slices.Sorted(maps.Keys(texts)) {
		text := texts[page]
		for _, m := range shown.FindAllStringSubmatchIndex(text, -1) {
			if code := text[m[2]:m[3]]; !seen[code] {
				seen[code] = true
				out = append(out, block{page, 1 + strings.Count(text[:m[2]], "\n"), code})
			}
		}
	}
	return out
}

// sources stand for those that a block builds from and another place declares.
var sources = map[string]string{
	"k3s-image":  `iso_url = "rootfs.tar.zst", iso_checksum = "none"`,
	"qemu":       `iso_url = "cloud.qcow2", iso_checksum = "none", ssh_username = "packer", shutdown_command = "sudo systemctl poweroff"`,
	"docker":     `image = "debian:bookworm", commit = true`,
	"amazon-ebs": `ami_name = "node", instance_type = "t3.small", region = "eu-central-1", source_ami = "ami-00000000000000000", ssh_username = "admin"`,
}

func source(kind, name string) string {
	return fmt.Sprintf("source %q %q {\n  %s\n}\n", kind, name, strings.ReplaceAll(sources[kind], ", ", "\n  "))
}

// top are the blocks that stand at the top of a template.
var top = []string{"packer", "variable", "locals", "local", "data", "source", "build"}

// template makes a whole one of a block: what stands at its top says where it belongs.
func template(t *testing.T, b block) string {
	t.Helper()
	text := strings.ReplaceAll(b.text, "sha256:…", "sha256:"+strings.Repeat("0", 64))
	file, diagnostics := hclsyntax.ParseConfig([]byte(text), b.page, hcl.InitialPos)
	require.False(t, diagnostics.HasErrors(), diagnostics.Error())
	body := file.Body.(*hclsyntax.Body)
	var names []string
	for name := range body.Attributes {
		names = append(names, name)
	}
	for _, inner := range body.Blocks {
		names = append(names, inner.Type)
	}
	within := func(known ...string) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(known, name) })
	}
	switch {
	case within(top...):
	case within("provisioner", "post-processor", "post-processors"):
		text = "build {\n  sources = [\"source.k3s-image.node\"]\n" + text + "}\n"
	case within(slices.Collect(maps.Keys(components[0].spec))...):
		text = "build {\n  sources = [\"source.k3s-image.node\"]\n  provisioner \"k3s-cis\" {\n" + text + "}\n}\n"
	default:
		require.Fail(t, "not known where it belongs", "%s:%d: %v", b.page, b.line, names)
	}
	return text + declarations(t, text)
}

var named = regexp.MustCompile(`"source\.([a-z0-9-]+)\.([a-z0-9_-]+)"`)

// declarations are the sources and variables that a template names and does not have.
func declarations(t *testing.T, text string) string {
	t.Helper()
	file, diagnostics := hclsyntax.ParseConfig([]byte(text), "template", hcl.InitialPos)
	require.False(t, diagnostics.HasErrors(), diagnostics.Error())
	has, builds := map[string]bool{}, false
	var first []string
	for _, b := range file.Body.(*hclsyntax.Body).Blocks {
		has[b.Type+"."+strings.Join(b.Labels, ".")] = true
		builds = builds || b.Type == "build"
		if b.Type == "source" {
			first = b.Labels
		}
	}
	var out strings.Builder
	if !builds && first == nil {
		first = []string{"k3s-image", "node"}
		out.WriteString(source(first[0], first[1]))
	}
	if !builds {
		fmt.Fprintf(&out, "build {\n  sources = [\"source.%s\"]\n}\n", strings.Join(first, "."))
	}
	for _, m := range named.FindAllStringSubmatch(text, -1) {
		if key := "source." + m[1] + "." + m[2]; !has[key] {
			has[key] = true
			out.WriteString(source(m[1], m[2]))
		}
	}
	_ = hclsyntax.VisitAll(file.Body.(*hclsyntax.Body), func(node hclsyntax.Node) hcl.Diagnostics {
		if expression, ok := node.(*hclsyntax.ScopeTraversalExpr); ok && expression.Traversal.RootName() == "var" {
			name := expression.Traversal[1].(hcl.TraverseAttr).Name
			if key := "variable." + name; !has[key] {
				has[key] = true
				fmt.Fprintf(&out, "variable %q {\n  default = \"none\"\n}\n", name)
			}
		}
		return nil
	})
	return out.String()
}

// beside are the files that templates of pages name: made here, or taken from the examples.
func beside(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "images"), 0o755))
	for _, name := range []string{"rootfs.tar.zst", "delivered.qcow2", "images/k3s-airgap-images-amd64.tar.zst"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	sum := strings.Repeat("0", 64) + "  rootfs.tar.zst\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rootfs.tar.zst.sha256"), []byte(sum), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "attest.pem"), attestKey(t), 0o600))
	require.NoError(t, os.CopyFS(filepath.Join(dir, "example"), os.DirFS(filepath.Join(packertest.Root(), "example"))))
}

// attestKey is a private key as pages have openssl make it.
func attestKey(t *testing.T) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// withPlugins is a Packer with every plugin that pages and examples name.
func withPlugins(t *testing.T) *packertest.Packer {
	t.Helper()
	more := map[string]string{}
	if os.Getenv("PACKER_ACC") != "" {
		for _, name := range []string{"qemu", "docker", "amazon"} {
			more["github.com/hashicorp/"+name] = packertest.Tool(t, "packer-plugin-"+name)
		}
	}
	return packertest.New(t, more)
}

// TestAccBlocks: Packer, with the plugins that the pages name, takes every block of
// HCL that a page shows.
func TestAccBlocks(t *testing.T) {
	packer := withPlugins(t)
	all := blocks(t)
	require.Greater(t, len(all), 10)
	for _, b := range all {
		t.Run(fmt.Sprintf("%s:%d", b.page, b.line), func(t *testing.T) {
			whole := template(t, b)
			dir := packertest.Write(t, whole)
			beside(t, dir)
			r := packer.Run(t, dir, "validate", "test.pkr.hcl")
			assert.Zero(t, r.ExitCode, "%s\n%s", whole, r.Output)
		})
	}
}

var shell = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")

// TestAccGuides: the commands of guides (sh; what needs a cloud or other machines is
// console or shell there) work word for word in a checkout, and print what the guide shows.
func TestAccGuides(t *testing.T) {
	packer := packertest.New(t, nil)
	for page, prints := range map[string][]string{
		"auditor": {
			"attested by a person: 1 of 27 manual", "own: 1 of 1 controls proven", "image: 33 of 36 controls proven, 1 manual, 2 not applicable",
			"cis-2.1: 64 of 134 controls proven, 1 waived, 26 manual, 21 deferred to first boot, 22 not applicable",
			"report.html: OK", "platform@example.com", "Jo Smith",
		},
		"reading-a-failure": {
			"of 170 controls 2 failed: node.k3s-starts, node.kernel-parameters; reports are in example/output/report", "packer build ended with 1",
			"vm.overcommit_memory=0 from /etc/sysctl.d/99-tuning.conf:1", "k3s-cis: control node.kernel-parameters: fail, by /etc/sysctl.d/99-tuning.conf:1",
		},
	} {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("guides", page+".md"))
			require.NoError(t, err)
			dir := t.TempDir()
			require.NoError(t, os.Symlink(filepath.Join(packertest.Root(), "tools"), filepath.Join(dir, "tools")))
			require.NoError(t, os.CopyFS(filepath.Join(dir, "example"), os.DirFS(filepath.Join(packertest.Root(), "example"))))
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "example", "output")))
			script := "set -e\n"
			for _, m := range shell.FindAllStringSubmatch(string(text), -1) {
				script += "(" + "true\n" + m[1] + ")\n"
			}
			cmd := packer.Command(t.Context(), dir)
			cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", script}
			cmd.Env = append(cmd.Env, "PATH="+packer.Programs(t)+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			for _, line := range prints {
				assert.Contains(t, string(out), line)
			}
		})
	}
}

// TestAccExamplesAreValid: so it takes every template of the examples.
func TestAccExamplesAreValid(t *testing.T) {
	packer := withPlugins(t)
	dir := t.TempDir()
	beside(t, dir)
	var found int
	for _, path := range exampleTemplates(t) {
		t.Run(path, func(t *testing.T) {
			found++
			text, err := os.ReadFile(filepath.Join(packertest.Root(), "example", path))
			require.NoError(t, err)
			args := []string{"validate"}
			for _, m := range undecided.FindAllStringSubmatch(string(text), -1) {
				if !strings.Contains(m[0], "default") {
					args = append(args, "-var", m[1]+"="+cmp.Or(standIns[m[1]], "none"))
				}
			}
			r := packer.Run(t, dir, append(args, filepath.Join("example", path))...)
			assert.Zero(t, r.ExitCode, r.Output)
		})
	}
	require.Positive(t, found)
}

// standIns are values for variables whose values are looked at before a build.
var standIns = map[string]string{"base": "rootfs.tar.zst", "k3s": "rootfs.tar.zst", "key_file": "attest.pem", "release": "v1.36.3+k3s1", "role": "server", "architecture": "amd64"}

// undecided is a variable of a template.
var undecided = regexp.MustCompile(`(?s)variable "([a-z0-9_]+)" \{.*?\n\}`)
