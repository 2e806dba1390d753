package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/test/cluster"
)

// newNamespace makes a namespace and waits until pods can be created in it.
func newNamespace(t *testing.T) string {
	t.Helper()
	ns, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	waitForAccount(t, ns.Name)
	t.Cleanup(func() {
		_ = client.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
	})
	return ns.Name
}

func waitForAccount(t *testing.T, namespace string) {
	t.Helper()
	err := cluster.Eventually(t.Context(), patience, func(ctx context.Context) error {
		if _, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return err
		}
		_, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// pod builds a pod with one container.
func pod(name string, change ...func(*corev1.PodSpec)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.test/main:1"}}},
	}
	for _, c := range change {
		c(&p.Spec)
	}
	return p
}

// secretVolume mounts a Secret as a volume.
func secretVolume(name string, optional bool) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		volume := corev1.Volume{Name: fmt.Sprintf("v%d", len(s.Volumes))}
		volume.Secret = &corev1.SecretVolumeSource{SecretName: name}
		if optional {
			volume.Secret.Optional = &optional
		}
		s.Volumes = append(s.Volumes, volume)
		s.Containers[0].VolumeMounts = append(s.Containers[0].VolumeMounts, corev1.VolumeMount{
			Name: volume.Name, MountPath: "/mnt/" + volume.Name,
		})
	}
}

func createSecret(t *testing.T, namespace, name string, keys ...string) {
	t.Helper()
	data := map[string][]byte{}
	for _, k := range keys {
		data[k] = []byte("x")
	}
	_, err := client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// warnings collects what the API server warns about.
type warnings struct {
	mu    sync.Mutex
	lines []string
}

func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, text)
}

// warned returns a configuration for clients, and what the API server warns
// them about.
func warned() (*rest.Config, *warnings) {
	seen := &warnings{}
	config := rest.CopyConfig(plane.Config)
	config.WarningHandler = seen
	return config, seen
}

// ownPlane starts a control plane for one test alone.
func ownPlane(t *testing.T) (*cluster.Cluster, kubernetes.Interface) {
	t.Helper()
	return ownPlaneWith(t, nil)
}

// ownPlaneWith is ownPlane with more flags for the API server.
func ownPlaneWith(t *testing.T, flags map[string]string) (*cluster.Cluster, kubernetes.Interface) {
	t.Helper()
	own, err := cluster.StartWith(flags)
	t.Cleanup(func() {
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := kubernetes.NewForConfig(own.Config)
	if err != nil {
		t.Fatal(err)
	}
	return own, c
}

// try creates a pod and returns its warnings and error.
func try(t *testing.T, namespace string, p *corev1.Pod) ([]string, error) {
	t.Helper()
	config, seen := warned()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CoreV1().Pods(namespace).Create(t.Context(), p, metav1.CreateOptions{})
	return seen.lines, err
}

// auditEvent is what tests read of an event in the API server's audit log.
type auditEvent struct {
	Verb        string
	ObjectRef   struct{ Resource, Namespace, Name string }
	Annotations map[string]string
}

// eachEvent visits the requests about something in a namespace in the audit log.
func eachEvent(visit func(auditEvent)) error {
	log, err := os.ReadFile(plane.AuditLog)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event auditEvent
		// The last line may be half written.
		if json.Unmarshal(lines.Bytes(), &event) == nil && event.ObjectRef.Namespace != "" {
			visit(event)
		}
	}
	return lines.Err()
}

// auditAnnotation returns what the API server's audit log has under a key of
// ours for the creation of a pod.
func auditAnnotation(t *testing.T, namespace, name, key string) string {
	t.Helper()
	var value string
	err := cluster.Eventually(t.Context(), patience, func(context.Context) error {
		found := false
		err := eachEvent(func(e auditEvent) {
			if e.Verb == "create" && e.ObjectRef.Resource == "pods" && e.ObjectRef.Namespace == namespace && e.ObjectRef.Name == name {
				value, found = e.Annotations["validate.pods.tokenward.dev/"+key], true
			}
		})
		if err == nil && !found {
			err = fmt.Errorf("the audit log does not have the creation of pod %s/%s", namespace, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// policyFile writes TokenPolicies to a file.
func policyFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policies.yaml")
	writeFile(t, path, []byte(text))
	return path
}

// secretExists is a policy that sets one check's action.
func secretExists(action, more string) string {
	return "apiVersion: tokenward.dev/v1alpha1\nkind: TokenPolicy\nmetadata: {name: test}\nspec:\n" +
		"  checks: [{name: secret-exists, action: " + action + "}]\n" + more
}

// waitRegistered waits until the API server asks this process about pods.
func (s *server) waitRegistered(t *testing.T, namespaces []string) {
	t.Helper()
	err := cluster.Eventually(t.Context(), patience, func(ctx context.Context) error {
		_, err := client.CoreV1().Pods(namespaces[0]).Create(ctx, pod("probe"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && !apierrors.IsForbidden(err) {
			return err
		}
		if s.metric(t, "tokenward_reviews_total") == 0 {
			return fmt.Errorf("no review has arrived")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func mustContain(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("want %q in: %s", p, text)
		}
	}
}
