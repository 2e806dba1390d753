package upstream

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/kubectl/pkg/describe"

	"tokenward.dev/tokenward/pkg/tokentext"
)

// S4: what kubectl itself prints of a Secret is understood, at any width of the
// terminal it was copied from.
func TestWhatKubectlDescribesIsUnderstood(t *testing.T) {
	const text = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZpY2VhY2NvdW50Iiwic3ViIjoic3lzdGVtOnNlcnZpY2VhY2NvdW50OnNob3A6cm9ib3QifQ." +
		"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0NTY3ODkrLw"
	client := fake.NewClientset(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "robot", Namespace: "shop", Annotations: map[string]string{corev1.ServiceAccountNameKey: "robot"}},
		Type:       corev1.SecretTypeServiceAccountToken,
		Data:       map[string][]byte{"token": []byte(text), "namespace": []byte("shop"), "ca.crt": []byte("x")},
	})
	printed, err := (&describe.SecretDescriber{Interface: client}).Describe("shop", "robot", describe.DescriberSettings{})
	if err != nil || !strings.Contains(printed, text) {
		t.Fatalf("%v\n%s", err, printed)
	}
	for width := 60; width < 300; width++ {
		var wrapped strings.Builder
		for line := range strings.Lines(printed) {
			for line = strings.TrimSuffix(line, "\n"); len(line) > width; line = line[width:] {
				wrapped.WriteString(line[:width] + "\n")
			}
			wrapped.WriteString(line + "\n")
		}
		found, err := tokentext.Read([]byte(wrapped.String()))
		if err != nil || len(found) != 1 || found[0].Raw() != text || found[0].Damage != nil || found[0].Where != "Secret shop/robot, key token" {
			t.Fatalf("at %d columns: %v, %v\n%s", width, found, err, wrapped.String())
		}
	}
}
