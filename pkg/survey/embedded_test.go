package survey

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/listing"
	"tokenward.dev/tokenward/pkg/reference"
)

// kubeconfig is one with a client certificate, or with a token.
func kubeconfig(user string) string {
	return "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: https://example.com}}]\ncontexts: []\nusers:\n- name: u\n  user: {" + user + "}\n"
}

func TestCredentialsWithinOtherThings(t *testing.T) {
	payload := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"kubernetes/serviceaccount","sub":"system:serviceaccount:shop:app",` +
		`"kubernetes.io/serviceaccount/namespace":"shop","kubernetes.io/serviceaccount/service-account.name":"app","kubernetes.io/serviceaccount/service-account.uid":"1","kubernetes.io/serviceaccount/secret.name":"s"}`))
	jwt := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + payload + "." + strings.Repeat("A", 86)
	foreign := strings.Replace(jwt, payload, base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://example.com","sub":"somebody"}`)), 1)
	der := certificate(t, time.Unix(500, 0))
	tests := []struct {
		name, key, value string
		object           string
		what, verdict    string // empty for nothing
		calico           bool
	}{
		{name: "a token in the middle of a file", key: "conf", value: `{"token": "` + jwt + `"}`, what: "token", verdict: "unknown"},
		{name: "a kubeconfig with a token", key: "config", value: kubeconfig("token: " + jwt), what: "kubeconfig", verdict: "unknown"},
		{name: "a kubeconfig with a certificate that has ended", key: "config", value: kubeconfig("client-certificate-data: " + der), what: "kubeconfig", verdict: "invalid"},
		{name: "a kubeconfig without credentials", key: "config", value: kubeconfig("")},
		{name: "another's JWT", key: "jwt", value: foreign},
		{name: "text that begins like a JWT", key: "x", value: "eyJ.eyJ.x"},
		{name: "Calico's configuration", object: "calico-config", key: "cni_network_config", value: `{"type": "calico", "k8s_auth_token": "` + jwt + `"}`, what: "token", verdict: "unknown", calico: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := &verifier{
				listing: listing.New(), trust: withoutKeys(t), now: time.Unix(1000, 0),
			}
			v.listing.SetListed(reference.ServiceAccount, "", facts.Forbidden)
			v.listing.SetListed(reference.Secret, "", facts.Forbidden)
			embedded := newEmbedded(v)
			embedded.visit(reference.ConfigMap, &metav1.ObjectMeta{Namespace: "shop", Name: tt.object}, tt.key, []byte(tt.value))
			found, err := embedded.report(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if tt.what == "" {
				if len(found) > 0 {
					t.Errorf("want nothing, got %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].What != tt.what || found[0].Verdict != tt.verdict || (found[0].Note != "") != tt.calico {
				t.Errorf("got %+v", found)
			}
			if text := fmt.Sprintf("%+v", found); strings.Contains(text, payload) {
				t.Error("a token is told")
			}
		})
	}
}

// certificate returns a client certificate that ends at a time, as kubeconfigs have it.
func certificate(t *testing.T, notAfter time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "admin"}, NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
