package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/pkg/servingcert"
	"tokenward.dev/tokenward/pkg/token"
)

const (
	// robot is the account of all token Secrets.
	robot    = "robot"
	robotUID = 2
	// distinct is how many tokens there are; more Secrets hold the same ones,
	// since it takes longer to sign a token than to verify it. Their names are
	// those that the first Secrets have.
	distinct = 100
	// mounted is how many Secrets the pod has more than that of other parts.
	mounted = 5
)

// issuer is what an API server knows of tokens: its keys, its certificate, and
// the token Secrets.
type issuer struct {
	ca          []byte
	certificate *tls.Certificate
	secrets     []tokenSecret
	byName      map[types.NamespacedName]int

	published atomic.Pointer[keySet]
}

type tokenSecret struct {
	namespace, name string
	n               int    // of which uid and version are made
	whole           string // in JSON
}

// keySet is what an API server publishes.
type keySet struct {
	jwks  jose.JSONWebKeySet
	text  []byte
	first atomic.Pointer[time.Time] // when it was asked for first
}

func tokenName(i int) string  { return fmt.Sprintf("robot-token-%d", i) }
func opaqueName(i int) string { return fmt.Sprintf("robot-plain-%d", i) }

// newIssuer returns an issuer with a number of token Secrets as large as those of
// a real cluster.
func newIssuer(secrets int) (*issuer, error) {
	s := &issuer{byName: make(map[types.NamespacedName]int, secrets)}
	serving, err := servingcert.NewSelfSigned([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		return nil, err
	}
	s.ca = serving.CA()
	if s.certificate, err = serving.GetCertificate(nil); err != nil {
		return nil, err
	}
	s.published.Store(&keySet{})
	private, id, err := s.publish()
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: private, KeyID: id}}, nil)
	if err != nil {
		return nil, err
	}
	tokens := make([]string, min(secrets, distinct))
	for i := range tokens {
		if tokens[i], err = jwt.Signed(signer).Claims(claims(i)).Serialize(); err != nil {
			return nil, err
		}
	}
	for i := range secrets {
		held := tokenSecret{namespace: fmt.Sprintf("team-%d", i/distinct), name: tokenName(i), n: lastVersion - secrets + i}
		text, err := json.Marshal(s.secret(&held, tokens[i%distinct]))
		if err != nil {
			return nil, err
		}
		held.whole = string(text)
		s.byName[types.NamespacedName{Namespace: held.namespace, Name: held.name}] = i
		s.secrets = append(s.secrets, held)
	}
	return s, nil
}

// claims are those of a long-lived token, as the token controller makes it for
// the Secret of that number.
func claims(i int) map[string]any {
	return map[string]any{
		"iss": token.LegacyIssuer, "sub": "system:serviceaccount:" + reviewNamespace + ":" + robot,
		"kubernetes.io/serviceaccount/namespace":            reviewNamespace,
		"kubernetes.io/serviceaccount/secret.name":          tokenName(i),
		"kubernetes.io/serviceaccount/service-account.name": robot,
		"kubernetes.io/serviceaccount/service-account.uid":  uid(robotUID),
	}
}

// secret is a token Secret with what the token controller writes into it.
func (s *issuer) secret(held *tokenSecret, signed string) *corev1.Secret {
	made := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: held.namespace, Name: held.name, UID: types.UID(uid(held.n)), ResourceVersion: fmt.Sprint(held.n), CreationTimestamp: made,
			Annotations: map[string]string{corev1.ServiceAccountNameKey: robot, corev1.ServiceAccountUIDKey: uid(robotUID)},
			ManagedFields: []metav1.ManagedFieldsEntry{{
				Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &made, FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:data":{".":{},"f:ca.crt":{},"f:namespace":{},"f:token":{}},` +
					`"f:metadata":{"f:annotations":{".":{},"f:kubernetes.io/service-account.name":{},"f:kubernetes.io/service-account.uid":{}}},"f:type":{}}`),
			}},
		},
		Type: corev1.SecretTypeServiceAccountToken,
		Data: map[string][]byte{"ca.crt": s.ca, "namespace": []byte(held.namespace), "token": []byte(signed)},
	}
}

// publish adds a new key to those that are published.
func (s *issuer) publish() (*rsa.PrivateKey, string, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(der)
	id := base64.RawURLEncoding.EncodeToString(sum[:])
	next := &keySet{}
	next.jwks.Keys = append(next.jwks.Keys, s.published.Load().jwks.Keys...)
	next.jwks.Keys = append(next.jwks.Keys, jose.JSONWebKey{Key: private.Public(), KeyID: id, Algorithm: string(jose.RS256), Use: "sig"})
	if next.text, err = json.Marshal(next.jwks); err != nil {
		return nil, "", err
	}
	s.published.Store(next)
	return private, id, nil
}

func (s *issuer) keys(w http.ResponseWriter, _ *http.Request) {
	set, now := s.published.Load(), time.Now()
	set.first.CompareAndSwap(nil, &now)
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(set.text)
}

func (s *issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprint(w, `{"issuer":"https://kubernetes.default.svc","jwks_uri":"https://127.0.0.1/openid/v1/jwks",`+
		`"response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["RS256"]}`)
}

// each visits the token Secrets until visit says no.
func (s *issuer) each(visit func(*tokenSecret) bool) {
	for i := range s.secrets {
		if !visit(&s.secrets[i]) {
			return
		}
	}
}

// find returns a token Secret, or nil.
func (s *issuer) find(namespace, name string) *tokenSecret {
	if i, ok := s.byName[types.NamespacedName{Namespace: namespace, Name: name}]; ok {
		return &s.secrets[i]
	}
	return nil
}

// others are the names of Secrets that the pod can mount in place of the first
// token Secrets, and that hold none.
func otherNames() []string {
	var names []string
	for i := range mounted {
		names = append(names, opaqueName(i))
	}
	return names
}
