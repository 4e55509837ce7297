package apiservertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"sigs.k8s.io/yaml"
)

// Reply is what the API server answers to a request.
type Reply struct {
	// Status is the HTTP status.
	Status int
	// Message is the reason it gives for an error.
	Message string
}

func (s *Server) send(method, path, contentType string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(s.ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if s.user != "" {
		req.Header.Set("Impersonate-User", s.user)
		req.Header.Set("Impersonate-Group", "system:authenticated")
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, data, errors.Join(err, resp.Body.Close())
}

func (s *Server) ask(method, path, contentType string, body []byte) (Reply, error) {
	status, data, err := s.send(method, path, contentType, body)
	if err != nil {
		return Reply{}, err
	}
	var answer struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(data, &answer) // what is no Status has no message
	return Reply{Status: status, Message: answer.Message}, nil
}

// object is what of an object tells where it belongs.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
}

// Create makes the object in manifest (YAML or JSON, one document).
func (s *Server) Create(manifest string) (Reply, error) {
	return s.at(manifest, func(collection, _ string, body []byte) (Reply, error) {
		return s.ask(http.MethodPost, collection, "application/json", body)
	})
}

// DryRun asks for a server-side apply of manifest without doing it; unknown
// fields are errors.
func (s *Server) DryRun(manifest string) (Reply, error) {
	return s.at(manifest, func(collection, name string, body []byte) (Reply, error) {
		path := collection + "/" + name + "?dryRun=All&fieldManager=test&fieldValidation=Strict&force=true"
		return s.ask(http.MethodPatch, path, "application/apply-patch+yaml", body)
	})
}

// at finds out where an object belongs and calls do with that.
func (s *Server) at(manifest string, do func(collection, name string, body []byte) (Reply, error)) (Reply, error) {
	body, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		return Reply{}, err
	}
	var o object
	if err := json.Unmarshal(body, &o); err != nil {
		return Reply{}, err
	}
	collection, err := s.collection(o)
	if err != nil {
		return Reply{}, err
	}
	return do(collection, o.Metadata.Name, body)
}

// collection asks the API server where objects of this kind are kept.
func (s *Server) collection(o object) (string, error) {
	base := "/apis/" + o.APIVersion
	if !strings.Contains(o.APIVersion, "/") {
		base = "/api/" + o.APIVersion
	}
	status, data, err := s.send(http.MethodGet, base, "", nil)
	if err != nil {
		return "", err
	}
	var list struct {
		Resources []struct {
			Name, Kind string
			Namespaced bool
		} `json:"resources"`
	}
	if err := json.Unmarshal(data, &list); err != nil || status != http.StatusOK {
		return "", fmt.Errorf("the API server has no %s: status %d: %w", o.APIVersion, status, err)
	}
	for _, r := range list.Resources {
		if r.Kind != o.Kind || strings.Contains(r.Name, "/") {
			continue
		}
		if r.Namespaced {
			namespace := o.Metadata.Namespace
			if namespace == "" {
				namespace = "default"
			}
			base += "/namespaces/" + namespace
		}
		return base + "/" + r.Name, nil
	}
	return "", fmt.Errorf("the API server has no %s of %s", o.Kind, o.APIVersion)
}
