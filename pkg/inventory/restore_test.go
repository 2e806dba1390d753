package inventory

import (
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/reference"
)

const restoredUID = "6f1b7d2e-0c11-4a53-9a8e-2f0f3d0c9a11" // that of object

// A Secret that is "a/1" was read live in version 105, and the watch had come to a
// version. Then a list comes.
func TestAfterARestoreOfEtcdNothingStaysThatIsNewerThanTheList(t *testing.T) {
	tests := []struct {
		name    string
		watched string // the version that the watch has come to
		list    string // the version of the list
		version string // the version of the Secret in it
		kept    bool
	}{
		{"a list as usual has the same version", "105", "110", "105", true},
		{"a list is older than what was read", "100", "103", "100", false},
		{"a list is newer than what was read", "105", "110", "110", false},
		{"etcd was restored", "200", "100", "100", false},
		{"etcd was restored, and has written the same version again", "200", "110", "105", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := New(&rest.Config{Host: "http://127.0.0.1:1"}, Options{}, metrics.New(), logr.Discard())
			if err != nil {
				t.Fatal(err)
			}
			w := v.watched[reference.Secret]
			f := &feed{index: w.index, heard: func() {}, onSynced: func() {}}
			o := facts.Object{Kind: reference.Secret, Namespace: "a", Name: "1"}
			if err := f.Replace([]any{object("a", "1", "100"), object("b", "1", "99")}, "100"); err != nil {
				t.Fatal(err)
			}
			f.UpdateResourceVersion(tt.watched)
			other := facts.Object{Kind: reference.ConfigMap, Namespace: "a", Name: "1"}
			v.keep(o, &cluster.Object{UID: restoredUID, ResourceVersion: "105", Contents: true})
			v.contents.put(other, &contents{entry: entry{version: 300}, Object: &cluster.Object{}})

			if err := f.Replace([]any{object("a", "1", tt.version), object("b", "1", "99")}, tt.list); err != nil {
				t.Fatal(err)
			}
			now, ok := w.index.get("a", "1")
			if !ok || now.version != w.index.compactVersion(tt.version) {
				t.Errorf("the index has %+v, %t", now, ok)
			}
			if _, kept := v.contents.get(o, now); kept != tt.kept {
				t.Errorf("what was read is kept: %t, want %t", kept, tt.kept)
			}
			if _, kept := v.contents.objects[other]; !kept {
				t.Error("another kind has its own list")
			}
			v.keep(o, &cluster.Object{UID: restoredUID, ResourceVersion: tt.version, Contents: true})
			if _, kept := v.contents.get(o, now); !kept {
				t.Error("what is read then is not kept")
			}
		})
	}
}

func TestAfterARestoreOfEtcdTokenSecretsAreThoseOfTheList(t *testing.T) {
	v, err := New(&rest.Config{Host: "http://127.0.0.1:1"}, Options{}, metrics.New(), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	secret := func(version, key string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "1", UID: restoredUID, ResourceVersion: version},
			Type:       corev1.SecretTypeServiceAccountToken, Data: map[string][]byte{key: nil},
		}
	}
	index := &feed{index: v.watched[reference.Secret].index, heard: func() {}, onSynced: func() {}}
	tokens := &tokenFeed{watch: v.tokens}
	has := func(key string) bool {
		now, _ := index.index.get("a", "1")
		c, ok := v.contents.get(facts.Object{Kind: reference.Secret, Namespace: "a", Name: "1"}, now)
		return ok && c.watched && c.HasKeys(key)
	}
	lists := func(list ...error) {
		t.Helper()
		for _, err := range list {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	lists(index.Replace([]any{object("a", "1", "100")}, "100"), tokens.Replace([]any{secret("100", "old")}, "100"))
	lists(index.Update(object("a", "1", "200")), tokens.Update(secret("200", "new")))
	index.UpdateResourceVersion("200")
	tokens.UpdateResourceVersion("200")
	if !has("new") {
		t.Fatal("the watch is not followed")
	}
	lists(index.Replace([]any{object("a", "1", "100")}, "150"), tokens.Replace([]any{secret("100", "old")}, "150"))
	if !has("old") || has("new") {
		t.Error("what the list does not have stays known")
	}
	// The other watch may be the first to be back.
	tokens.UpdateResourceVersion("200")
	index.UpdateResourceVersion("200")
	lists(tokens.Replace([]any{secret("100", "oldest")}, "160"), index.Replace([]any{object("a", "1", "100")}, "160"))
	if has("old") || len(v.tokens.verify) != 1 {
		t.Error("what was dropped is not read again")
	}
}
