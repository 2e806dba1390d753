package harness

import (
	"testing"

	"k8s.io/client-go/kubernetes"

	"tokenward.dev/tokenward/test/cluster"
)

// OwnPlane starts a control plane for one test alone.
func OwnPlane(t *testing.T) (*cluster.Cluster, kubernetes.Interface) {
	t.Helper()
	own, err := cluster.Start()
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
