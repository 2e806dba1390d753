package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/strictyaml"
)

// notManifest is the error for YAML that is no manifest. One that is known for what
// it is is passed over even if its file was named.
type notManifest struct {
	at    error
	what  string
	hint  string
	known bool
}

// Error implements error.
func (e *notManifest) Error() string {
	text := e.at.Error() + e.what
	if e.hint != "" {
		text += ": " + e.hint
	}
	return text
}

func none(d *strictyaml.Document, what, hint string, known bool) error {
	return &notManifest{d.ErrorAt("", ""), what, hint, known}
}

// expand returns the object of a document, or those of a List.
func expand(d *strictyaml.Document, otherwise metav1.TypeMeta) ([]object, error) {
	var content struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        metav1.ObjectMeta `json:"metadata"`
		Items           json.RawMessage   `json:"items"`
	}
	if !bytes.HasPrefix(d.JSON, []byte("{")) {
		return nil, none(d, "no manifest, but a "+kindOf(d.JSON), "apiVersion and kind must be given", false)
	}
	if err := d.Peek(&content); err != nil {
		return nil, err
	}
	named := content.APIVersion != "" && content.Kind != ""
	if content.TypeMeta == (metav1.TypeMeta{}) {
		content.TypeMeta = otherwise
	}
	if content.APIVersion == "" || content.Kind == "" {
		return nil, none(d, "no manifest", "apiVersion and kind must be given", false)
	}
	if what, hint := onlyEnvelope(&content.TypeMeta); what != "" {
		return nil, none(d, what, hint, true)
	}
	if !strings.HasSuffix(content.Kind, "List") || content.Metadata.Name != "" {
		return []object{{Document: *d, TypeMeta: content.TypeMeta, metadata: content.Metadata, named: named}}, nil
	}
	item := metav1.TypeMeta{}
	if content.Kind != "List" {
		item = metav1.TypeMeta{APIVersion: content.APIVersion, Kind: strings.TrimSuffix(content.Kind, "List")}
	}
	return items(d, content.Items, item)
}

func items(d *strictyaml.Document, raw json.RawMessage, item metav1.TypeMeta) ([]object, error) {
	var parts []json.RawMessage
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &parts); err != nil {
			return nil, d.ErrorAt("items", "expected a list")
		}
	}
	var objects []object
	var errs []error
	for i, raw := range parts {
		part := d.Part(fmt.Sprintf("items[%d]", i), raw)
		found, err := expand(&part, item)
		objects = append(objects, found...)
		errs = append(errs, err)
	}
	return objects, errors.Join(errs...)
}

// kindOf says what JSON is that is no object.
func kindOf(raw []byte) string {
	switch {
	case bytes.HasPrefix(raw, []byte("[")):
		return "list"
	case bytes.HasPrefix(raw, []byte(`"`)):
		return "text"
	}
	return "single value"
}

// onlyEnvelope recognises what has the form of an object, and is never stored as one.
func onlyEnvelope(t *metav1.TypeMeta) (what, hint string) {
	gvk := t.GroupVersionKind()
	switch group, kind := gvk.Group, gvk.Kind; {
	case group == "admission.k8s.io", strings.HasSuffix(group, "admission.k8s.io") && kind == "AdmissionReview":
		return "an " + kind, "it asks about an object, and is none"
	case group == "authentication.k8s.io", group == "authorization.k8s.io":
		return "a " + kind, "it is a request, and no object"
	case group == "kustomize.config.k8s.io":
		return "a kustomization", "-k DIRECTORY builds it"
	case group == "" && kind == "Config", strings.HasPrefix(group, "client.authentication.k8s.io"):
		return "a kubeconfig", ""
	case group == "meta.k8s.io" || group == "" && kind == "Status":
		return "an answer of an API server", ""
	case group == "tokenward.dev" && (kind == "Makers" || kind == "Report" || kind == "Audit"):
		return "a file of Tokenward's of kind " + kind, ""
	case strings.HasSuffix(group, ".config.k8s.io") && !strings.Contains(kind, "List"):
		return "a configuration of kind " + kind, ""
	case group == "helm.sh", group == "" && kind == "" && t.APIVersion == "v2":
		return "a file of Helm's", ""
	}
	return "", ""
}
