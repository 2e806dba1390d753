package survey

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/report"
	"tokenward.dev/tokenward/pkg/token"
)

// embedded finds tokens and kubeconfigs within the values of ConfigMaps and
// Secrets: what a pod reads there no volume or variable of a token Secret shows.
type embedded struct {
	verifier *verifier
	jwt      *regexp.Regexp
	found    []embeddedToken
	// certificates of kubeconfigs that have no token.
	certificates []report.Embedded
}

func newEmbedded(v *verifier) *embedded {
	return &embedded{verifier: v, jwt: regexp.MustCompile(jwtPattern)}
}

// jwtPattern is what a JWT looks like within a text: three parts in base64url, of
// which the first two are JSON objects.
const jwtPattern = `eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}`

// embeddedToken is a token without what would let anybody in.
type embeddedToken struct {
	object     report.Ref
	key        string
	token      facts.SecretToken
	calico     bool // in the configuration of Calico
	kubeconfig bool // in a kubeconfig
}

// maxEmbedded bounds what one value can cost.
const maxEmbedded = 16

// visit looks into one value.
func (e *embedded) visit(kind reference.Kind, owner metav1.Object, key string, value []byte) {
	if !bytes.Contains(value, []byte("eyJ")) && !bytes.Contains(value, []byte("client-certificate-data")) {
		return
	}
	object := report.Ref{APIVersion: "v1", Kind: string(kind), Namespace: owner.GetNamespace(), Name: owner.GetName(), UID: string(owner.GetUID())}
	if kind == reference.Secret && key == "token" && e.isTokenSecret(object) {
		return // it is where a token belongs
	}
	kubeconfig := isKubeconfig(value)
	calico := isCalico(object, key, value)
	n := 0
	for _, candidate := range e.jwt.FindAll(value, -1) {
		if n == maxEmbedded || !token.Recognise(candidate) {
			continue
		}
		n++
		e.found = append(e.found, embeddedToken{object: object, key: key, token: facts.ReadToken("", candidate, e.verifier.trust.Trust().Keys()), calico: calico, kubeconfig: kubeconfig})
	}
	if kubeconfig && n == 0 {
		e.addCertificate(object, key, value)
	}
}

func (e *embedded) isTokenSecret(object report.Ref) bool {
	s := e.verifier.listing.Secret(object.Namespace, object.Name)
	return s != nil && s.TokenSecret
}

func isKubeconfig(value []byte) bool {
	return bytes.Contains(value, []byte("clusters")) && bytes.Contains(value, []byte("users")) && bytes.Contains(value, []byte("contexts"))
}

// isCalico recognises the CNI configuration of Calico, which is rendered into a
// file on every node (docs.tigera.io, "calico-config").
func isCalico(object report.Ref, key string, value []byte) bool {
	return object.Kind == "ConfigMap" && (object.Name == "calico-config" || strings.Contains(key, "calico.conf") ||
		bytes.Contains(value, []byte(`"type": "calico"`)) || bytes.Contains(value, []byte(`"type":"calico"`)))
}

const calicoNote = "Edit this ConfigMap, then restart the calico-node pods: 10-calico.conf on the nodes is written anew from it, so that an edit there is undone."

// addCertificate adds the client certificate of a kubeconfig that has no token.
func (e *embedded) addCertificate(object report.Ref, key string, value []byte) {
	var config struct {
		Users []struct {
			User struct {
				Certificate string `json:"client-certificate-data"`
			} `json:"user"`
		} `json:"users"`
	}
	if yaml.Unmarshal(value, &config) != nil {
		return
	}
	for _, u := range config.Users {
		if u.User.Certificate == "" {
			continue
		}
		out := report.Embedded{Object: object, Key: key, What: "kubeconfig"}
		out.Account, out.Verdict, out.Why = clientCertificate(u.User.Certificate, e.verifier.now)
		e.certificates = append(e.certificates, out)
		return
	}
}

func clientCertificate(data string, now time.Time) (user, verdict, why string) {
	text, err := base64.StdEncoding.DecodeString(data)
	block, _ := pem.Decode(text)
	if err != nil || block == nil {
		return "", token.Invalid.String(), "its client certificate is malformed"
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", token.Invalid.String(), "its client certificate is malformed"
	}
	user = "certificate of " + certificate.Subject.CommonName
	if now.After(certificate.NotAfter) {
		return user, token.Invalid.String(), "its client certificate ended at " + certificate.NotAfter.UTC().Format(time.RFC3339)
	}
	return user, token.Unknown.String(), fmt.Sprintf("whether the API server takes its client certificate, good until %s, can't be seen from outside",
		certificate.NotAfter.UTC().Format(time.RFC3339))
}

// report returns what was found.
func (e *embedded) report(ctx context.Context) ([]report.Embedded, error) {
	reported := e.certificates
	for i := range e.found {
		f := &e.found[i]
		result, err := e.verifier.verdict(ctx, &f.token)
		if err != nil {
			return nil, err
		}
		out := report.Embedded{
			Object: f.object, Key: f.key, What: "token", Account: accountName{f.token.Claims.Namespace, f.token.Claims.ServiceAccount.Name}.String(),
			Verdict: result.Verdict.String(), Why: result.Reason.Text(),
		}
		if f.kubeconfig {
			out.What = "kubeconfig"
		}
		if f.calico {
			out.Note = calicoNote
		}
		reported = append(reported, out)
	}
	return reported, nil
}
