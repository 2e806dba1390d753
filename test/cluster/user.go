package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// As returns a configuration, and the path of a kubeconfig, for a client that is
// some user. By a client certificate: a service account's token would end with
// the key that signed it, and there is no kubelet to bring another.
func (c *Cluster) As(user string, groups ...string) (*rest.Config, string, error) {
	u, err := c.env.AddUser(envtest.User{Name: user, Groups: groups}, nil)
	if err != nil {
		return nil, "", fmt.Errorf("user %s: %w", user, err)
	}
	kubeconfig, err := u.KubeConfig()
	if err != nil {
		return nil, "", fmt.Errorf("user %s: %w", user, err)
	}
	path := filepath.Join(c.dir, "kubeconfig-"+strings.ReplaceAll(user, ":", "-"))
	return u.Config(), path, os.WriteFile(path, kubeconfig, 0o600)
}
