package inventory

import (
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/reference"
)

// Token Secrets come reduced at the start of a watch, and whole by a list or
// later; the cache gets what they hold either way.
func TestTokenSecretsAreTakenHoweverTheyCome(t *testing.T) {
	v, err := New(&rest.Config{Host: "http://127.0.0.1:1"}, Options{}, metrics.New(), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	secret := func(version string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "t", UID: "u", ResourceVersion: version}, Type: corev1.SecretTypeServiceAccountToken,
			Data: map[string][]byte{"token": []byte("x")},
		}
	}
	f := &tokenFeed{watch: v.tokens}
	o := facts.Object{Kind: reference.Secret, Namespace: "shop", Name: "t"}
	index := v.watched[reference.Secret].index
	want := func(when string, version uint64) {
		t.Helper()
		i, ok := v.contents.get(o, entry{uid: index.compactUID("u"), version: version})
		if !ok || i.Secret == nil || !i.Secret.HasToken || !i.watched {
			t.Errorf("%s: got %+v, %t", when, i, ok)
		}
	}
	reduced, err := f.Transformer()(secret("1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Add(reduced); err != nil {
		t.Fatal(err)
	}
	want("reduced", 1)
	if err := f.Update(secret("2")); err != nil {
		t.Fatal(err)
	}
	want("by a watch event", 2)
	if err := f.Replace([]any{secret("3")}, "3"); err != nil {
		t.Fatal(err)
	}
	want("by a list", 3)
	if !v.tokens.synced() {
		t.Error("the first list is complete, and the watch is not synced")
	}
	if err := f.Replace(nil, "4"); err != nil {
		t.Fatal(err)
	}
	if len(v.contents.objects) != 0 {
		t.Error("a Secret that is gone is kept")
	}
}
