package manifest

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/token"
)

// text takes a JSON string into bytes.
type text []byte

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(data []byte) error {
	var s string
	err := json.Unmarshal(data, &s)
	*t = []byte(s)
	return err
}

// toBeFilled reports whether the content is a token Secret that is yet to be
// made: the token controller fills it as soon as it is
// (k8s.io/kubernetes, pkg/controller/serviceaccount/tokens_controller.go).
func (in *content) toBeFilled() bool {
	return in.Type == corev1.SecretTypeServiceAccountToken && in.Metadata.CreationTimestamp.IsZero() &&
		in.Metadata.Annotations[corev1.ServiceAccountNameKey] != ""
}

// secret returns the Secret with its values; one that is no base64 is kept as
// it is, so that a token in it is malformed rather than absent.
func (in *content) secret() *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: in.Metadata, Type: in.Type, Data: map[string][]byte{}}
	for key, raw := range in.Data {
		var plain text
		if json.Unmarshal(raw, &plain) != nil {
			continue
		}
		s.Data[key] = plain
		if decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(plain)), "")); err == nil {
			s.Data[key] = decoded
		}
	}
	for key, raw := range in.StringData {
		var plain text
		if json.Unmarshal(raw, &plain) == nil {
			s.Data[key] = plain
		}
	}
	return s
}

// trusts compares a ca.crt with the one that the namespace publishes, for want
// of an API server. Where that is not declared nothing speaks against it.
func (c *Cluster) trusts(namespace string, ca []byte) facts.State {
	published := c.objects[facts.Object{Kind: reference.ConfigMap, Namespace: namespace, Name: rootCA}]
	if published == nil || len(published.ca) == 0 {
		return facts.Present
	}
	current, err := token.ParseCertificates(published.ca)
	if err != nil || len(current) == 0 {
		return facts.Present
	}
	bundle, err := token.ParseCertificates(ca)
	if err != nil {
		return facts.Absent
	}
	for _, cert := range current {
		if slices.ContainsFunc(bundle, cert.Equal) {
			return facts.Present
		}
	}
	return facts.Absent
}
