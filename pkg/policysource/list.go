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
// Cluster would use them. A cluster that has no such kind has none. The notes
// name policies that are not wholly in force.
func List(ctx context.Context, config *rest.Config, compiler *policy.Compiler) (policies []*policy.Policy, notes []string, err error) {
	c, err := NewCluster(config, compiler, policy.Options{}, metrics.New(), logr.Discard())
	if err != nil {
		return nil, nil, err
	}
	list, err := c.client.List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the cluster's TokenPolicies: %w", err)
	}
	for i := range list.Items {
		k, err := c.read(&list.Items[i])
		if err != nil {
			return nil, nil, err
		}
		if k.compiled == nil {
			k.compiled, k.errs = c.compiler.Compile(k.object)
		}
		if len(k.errs) > 0 {
			notes = append(notes, fmt.Sprintf("TokenPolicy %s is not wholly in force: %s", k.object.Name, k.errs.ToAggregate()))
		}
		policies = append(policies, k.compiled)
	}
	return policies, notes, nil
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
