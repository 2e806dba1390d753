package harness

import (
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Warnings collects what the API server warns about.
type Warnings struct {
	mu    sync.Mutex
	Lines []string
}

// HandleWarningHeader takes a warning.
func (w *Warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Lines = append(w.Lines, text)
}

// WarnedConfig returns a configuration for clients, and what the API server warns
// them about.
func (e *Env) WarnedConfig() (*rest.Config, *Warnings) {
	seen := &Warnings{}
	config := rest.CopyConfig(e.Plane.Config)
	config.WarningHandler = seen
	return config, seen
}

// CreatePod creates a pod and returns its warnings and error.
func (e *Env) CreatePod(t *testing.T, namespace string, p *corev1.Pod) ([]string, error) {
	t.Helper()
	config, seen := e.WarnedConfig()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CoreV1().Pods(namespace).Create(t.Context(), p, metav1.CreateOptions{})
	return seen.Lines, err
}
