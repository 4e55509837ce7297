package kube

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kubejson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// Object is one Kubernetes object of a manifest.
type Object struct {
	// File is the name of the manifest and Line where the object begins.
	File string
	Line int

	APIVersion, Kind, Namespace, Name string
	// Raw is the object as JSON.
	Raw []byte
	// Typed is the decoded object, such as *networkingv1.NetworkPolicy; nil
	// for kinds that this package does not know.
	Typed runtime.Object
}

// String names the object as kubectl does: kind, namespace/name.
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// maxObjects is how many objects one manifest may hold.
const maxObjects = 10_000

// LoadManifest reads all objects of a manifest as K3s's deploy controller
// does; Lists are taken apart, empty documents passed over. Kinds of
// Kubernetes are decoded strictly and validated, others pass as they are. An
// error joins *Error values.
func LoadManifest(name string, data []byte) ([]Object, error) {
	if err := checkSize(name, data); err != nil {
		return nil, err
	}
	var (
		objects []Object
		errs    []*Error
		offset  int // bytes of data before the next document
	)
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")) // as the reader does
	reader := kubeyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			line := bytes.Count(data[:offset], []byte("\n")) + 1
			return nil, join(append(errs, &Error{File: name, Line: line, Text: "in the document that begins here: a separator that is none; a line that separates documents holds --- and no more than a comment"}))
		}
		start := offset
		if i := bytes.Index(data[offset:], bytes.TrimRight(text, "\n")); i >= 0 {
			start = offset + i
			offset = min(start+len(text), len(data))
		}
		if blank(text) {
			continue
		}
		src := source{file: name, lines: linesOf(text, bytes.Count(data[:start], []byte("\n")))}
		found, problems := readDocument(text, src)
		objects, errs = append(objects, found...), append(errs, problems...)
		if len(objects) > maxObjects {
			return nil, &Error{File: name, Text: fmt.Sprintf("the manifest has more than %d objects", maxObjects)}
		}
	}
	if len(errs) > 0 {
		return nil, join(errs)
	}
	return objects, nil
}

// CheckManifest reads a manifest as LoadManifest does and says what keeps
// release r from deploying it: what does not parse or validate, and objects of
// kinds that it does not serve.
func CheckManifest(r k3s.Release, name string, data []byte) ([]Object, []k3s.Problem) {
	objects, err := LoadManifest(name, data)
	return objects, append(problemsOf(err, k3s.Ignored), unservedKinds(r, objects)...)
}

// blank says whether a document has nothing but blanks, comments and
// separators.
func blank(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && string(line) != "---" {
			return false
		}
	}
	return true
}

// readDocument returns the objects of one document.
func readDocument(text []byte, src source) ([]Object, []*Error) {
	const advice = "a manifest holds Kubernetes objects, each with apiVersion, kind and metadata.name"
	raw := text
	if !kubeyaml.IsJSONBuffer(text) {
		var err error
		if raw, err = yaml.YAMLToJSONStrict(text); err != nil {
			return nil, src.decodeErrors(err, advice)
		}
	}
	decoded, _, err := unstructured.UnstructuredJSONScheme.Decode(raw, nil, nil)
	if err != nil {
		return nil, src.decodeErrors(err, advice)
	}
	list, ok := decoded.(*unstructured.UnstructuredList)
	if !ok {
		o, errs := readObject(raw, src)
		return []Object{o}, errs
	}
	var (
		objects []Object
		errs    []*Error
	)
	for i, item := range list.Items {
		raw, err := json.Marshal(item.Object)
		if err != nil {
			return nil, []*Error{src.errorf("items", "%s", complaint(err))}
		}
		o, problems := readObject(raw, src.below(fmt.Sprintf("items[%d]", i)))
		objects, errs = append(objects, o), append(errs, problems...)
	}
	return objects, errs
}

var objectSerializer = sync.OnceValue(func() *kubejson.Serializer {
	scheme := objectScheme()
	return kubejson.NewSerializerWithOptions(kubejson.DefaultMetaFactory, scheme, scheme, kubejson.SerializerOptions{Strict: true})
})

// readObject takes one object from its JSON.
func readObject(raw []byte, src source) (Object, []*Error) {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name         string `json:"name"`
			GenerateName string `json:"generateName"`
			Namespace    string `json:"namespace"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return Object{}, []*Error{src.errorf("metadata", "%s; metadata holds name, namespace, labels and annotations", complaint(err))}
	}
	o := Object{
		File: src.file, Line: src.lines.at(src.prefix),
		APIVersion: head.APIVersion, Kind: head.Kind, Namespace: head.Metadata.Namespace, Name: head.Metadata.Name,
		Raw: raw,
	}
	var errs []*Error
	if head.APIVersion == "" {
		errs = append(errs, src.errorf("kind", "Object 'apiVersion' is missing in this %s; write it, such as apiVersion: v1", word(head.Kind)))
	}
	if head.Metadata.Name == "" {
		text := "metadata.name is missing in this %s: K3s needs it to create the object and to find it again"
		if head.Metadata.GenerateName != "" {
			text += "; generateName does not do"
		}
		errs = append(errs, src.errorf("metadata", text, word(head.Kind)))
	}
	typed, _, err := objectSerializer().Decode(raw, nil, nil)
	switch {
	case err == nil:
		o.Typed = typed
		if len(errs) == 0 {
			errs = src.fieldErrors(validate(typed))
		}
	case runtime.IsNotRegisteredError(err), runtime.IsMissingVersion(err):
	default:
		errs = append(errs, src.decodeErrors(err, fmt.Sprintf("see the fields of %s %s", versionOf(head.APIVersion), word(head.Kind)))...)
	}
	return o, errs
}
