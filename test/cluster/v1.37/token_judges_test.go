package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"tokenward.dev/tokenward/pkg/token"
)

// world is what both judges are given: keys and objects.
type world struct {
	keys      []any
	account   *corev1.ServiceAccount
	secret    *corev1.Secret
	pod       *corev1.Pod
	node      *corev1.Node
	unsettled bool
}

var errGone = errors.New("not found")

// found gives upstream an object as its getter does.
func found[T metav1.Object](object T, absent bool, namespace, name string) (T, error) {
	if absent || object.GetNamespace() != namespace || object.GetName() != name {
		var none T
		return none, errGone
	}
	return object, nil
}

func (w *world) GetServiceAccount(_ context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	return found(w.account, w.account == nil, namespace, name)
}

func (w *world) GetPod(_ context.Context, namespace, name string) (*corev1.Pod, error) {
	return found(w.pod, w.pod == nil, namespace, name)
}

func (w *world) GetSecret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	return found(w.secret, w.secret == nil, namespace, name)
}

func (w *world) GetNode(_ context.Context, name string) (*corev1.Node, error) {
	return found(w.node, w.node == nil, "", name)
}

func (*world) GetValidatingWebhookConfiguration(context.Context, string) (*admissionv1.ValidatingWebhookConfiguration, error) {
	return nil, errGone
}

func (*world) GetMutatingWebhookConfiguration(context.Context, string) (*admissionv1.MutatingWebhookConfiguration, error) {
	return nil, errGone
}

// forgetful takes the label that upstream writes on a Secret that was used.
type forgetful struct{ typedv1.SecretInterface }

func (f forgetful) Secrets(string) typedv1.SecretInterface { return f }

func (forgetful) Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (*corev1.Secret, error) {
	return nil, nil
}

// upstream says what kube-apiserver does: legacy tokens first, then bound ones
// (pkg/kubeapiserver/authenticator/config.go).
func (w *world) upstream(t *testing.T, raw string) bool {
	t.Helper()
	keys, err := serviceaccount.StaticPublicKeysGetter(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	legacy, err := serviceaccount.NewLegacyValidator(true, w, forgetful{})
	if err != nil {
		t.Fatal(err)
	}
	audiences := authenticator.Audiences{issuer}
	for _, judge := range []authenticator.Token{
		serviceaccount.JWTTokenAuthenticator([]string{serviceaccount.LegacyIssuer}, keys, audiences, legacy),
		serviceaccount.JWTTokenAuthenticator([]string{issuer}, keys, audiences, serviceaccount.NewValidator(w)),
	} {
		// Clients trim the token before it becomes a header.
		if _, ok, err := judge.AuthenticateToken(context.Background(), strings.TrimSpace(raw)); ok && err == nil {
			return true
		}
	}
	return false
}

func ourObject[T metav1.Object](object T, err error) token.Object {
	if err != nil {
		return token.Object{State: token.Absent}
	}
	o := token.Object{State: token.Present, UID: string(object.GetUID())}
	if deleted := object.GetDeletionTimestamp(); deleted != nil {
		o.Deleting = deleted.Time
	}
	return o
}

// ours says what package token does, given the same keys and objects.
func (w *world) ours(t *testing.T, raw string) token.Result {
	t.Helper()
	parsed, err := token.Parse([]byte(raw))
	if err != nil {
		var parseError *token.ParseError
		if !errors.As(err, &parseError) {
			t.Fatal(err)
		}
		return parseError.Result()
	}
	var files bytes.Buffer
	for _, key := range w.keys {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := pem.Encode(&files, &pem.Block{Type: "PUBLIC KEY", Bytes: der}); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := token.ParseKeys(files.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	c, ctx := parsed.Claims, context.Background()
	f := &token.Facts{SigningKey: token.Absent, ServiceAccount: ourObject(w.GetServiceAccount(ctx, c.Namespace, c.ServiceAccount.Name))}
	if w.unsettled {
		f.SigningKey = token.NotKnown
	}
	if c.Secret != nil {
		secret, err := w.GetSecret(ctx, c.Namespace, c.Secret.Name)
		f.Secret.Object = ourObject(secret, err)
		if err == nil {
			f.Secret.TokenHash = sha256.Sum256(secret.Data[corev1.ServiceAccountTokenKey])
			f.Secret.InvalidSince = secret.Labels[serviceaccount.InvalidSinceLabelKey] != ""
		}
	}
	if c.Pod != nil {
		f.Pod = ourObject(w.GetPod(ctx, c.Namespace, c.Pod.Name))
	}
	if c.Node != nil {
		f.Node = ourObject(w.GetNode(ctx, c.Node.Name))
	}
	set := token.NewKeySet(token.KeySetOptions{Keys: keys, Issuers: []string{issuer}})
	return token.Verify(parsed, set, f, time.Now())
}
