package policysource

import (
	"context"
	"fmt"
	"os"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/go-logr/logr"

	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/policy"
)

// List reads the policies of an API server once: those that it serves now, as a
// Cluster would use them. A cluster that has no such kind has none.
func List(ctx context.Context, config *rest.Config, compiler *policy.Compiler) ([]*policy.Policy, error) {
	c, err := NewCluster(config, compiler, policy.Options{}, metrics.New(), logr.Discard())
	if err != nil {
		return nil, err
	}
	list, err := c.client.List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the cluster's TokenPolicies: %w", err)
	}
	policies := make([]*policy.Policy, 0, len(list.Items))
	for i := range list.Items {
		k, err := c.read(&list.Items[i])
		if err != nil {
			return nil, err
		}
		if k.compiled == nil {
			k.compiled, _ = compiler.Compile(k.object) // what is wrong with it stands in its status
		}
		policies = append(policies, k.compiled)
	}
	return policies, nil
}

// Read reads the policies in files. A name may be there only once.
func Read(files []string, compiler *policy.Compiler) ([]*policy.Policy, error) {
	var policies []*policy.Policy
	at := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("policy file: %w", err)
		}
		found, err := compiler.Parse(file, content)
		if err != nil {
			return nil, err
		}
		for _, p := range found {
			if first := at[p.Name]; first != "" {
				return nil, fmt.Errorf("%s: TokenPolicy %q is in %s, too", file, p.Name, first)
			}
			at[p.Name] = file
		}
		policies = append(policies, found...)
	}
	return policies, nil
}
