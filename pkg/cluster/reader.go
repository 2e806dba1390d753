package cluster

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"tokenward.dev/tokenward/pkg/facts"
)

// ParallelReads is how many objects are read at a time for one caller.
const ParallelReads = 8

// Read implements source.Reader: it asks the API server for everything. It is for
// a program that asks little and ends, and needs no more rights than to get what
// is asked for.
func (c *Client) Read(ctx context.Context, _ time.Time, queries []facts.Query, _ []facts.Fact) []facts.Fact {
	return c.Answer(ctx, queries)
}

// Answer answers queries by reads that start now, in their order.
func (c *Client) Answer(ctx context.Context, queries []facts.Query) []facts.Fact {
	answers := make([]facts.Fact, len(queries))
	var group errgroup.Group
	group.SetLimit(ParallelReads)
	for i := range queries {
		group.Go(func() error {
			answers[i] = c.answer(ctx, &queries[i])
			return nil
		})
	}
	_ = group.Wait()
	return answers
}

func (c *Client) answer(ctx context.Context, q *facts.Query) facts.Fact {
	if q.Kind == facts.TokenSecretsOf {
		return facts.Fact{State: facts.Present, Names: c.tokenSecretsOf(ctx, q), Fresh: true}
	}
	o, err := c.Get(ctx, q.Object, q.WantsContents())
	if err != nil {
		return Unanswered(q.Name, err)
	}
	f := o.Fact(q)
	f.Fresh = true
	return f
}

// TokenSecrets selects token Secrets on the server's side.
func TokenSecrets() string {
	return fields.OneTermEqualSelector("type", string(corev1.SecretTypeServiceAccountToken)).String()
}

// tokenSecretsOf returns none where they may not be listed: it is but a hint.
func (c *Client) tokenSecretsOf(ctx context.Context, q *facts.Query) []string {
	list, err := c.Core.CoreV1().Secrets(q.Namespace).List(ctx, metav1.ListOptions{FieldSelector: TokenSecrets()})
	if err != nil {
		return nil
	}
	var names []string
	for i := range list.Items {
		if list.Items[i].Annotations[corev1.ServiceAccountNameKey] == q.Name {
			names = append(names, list.Items[i].Name)
		}
	}
	slices.Sort(names)
	return names
}
