package inventory

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/token"
)

// Live answers by reads alone, without an index: for a program that asks little
// and ends. It needs no more rights than to get what is asked for.
type Live struct {
	signing *signing
	reader  *reader
}

// NewLive returns a Live that has read nothing yet: until Keys has, whether a
// token is good is unknown.
func NewLive(config *rest.Config, o SigningOptions, log logr.Logger) (*Live, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // reads are bounded by parallelReads
	m := metrics.New()
	signing, err := newSigning(config, o, m, log)
	if err != nil {
		return nil, err
	}
	reader, err := newReader(config, signing, m, log)
	if err != nil {
		return nil, err
	}
	return &Live{signing: signing, reader: reader}, nil
}

// Keys reads the keys and issuers that the API server publishes now, and returns
// what is known of them, after an error too.
func (l *Live) Keys(ctx context.Context) (*token.KeySet, error) {
	err := l.signing.refresh(ctx)
	return l.Known(), err
}

// Known returns what is known of the keys, without a look.
func (l *Live) Known() *token.KeySet { return l.signing.Trust().keys }

// Settled reads the keys until they have been the same for SigningOptions.Settle,
// so that a key that is not among them is gone. It returns what is known when
// the context ends.
func (l *Live) Settled(ctx context.Context) (*token.KeySet, error) {
	for {
		keys, err := l.Keys(ctx)
		if keys.Settled() {
			return keys, nil
		}
		select {
		case <-ctx.Done():
			return keys, err
		case <-time.After(l.signing.options.Settle / 5):
		}
	}
}

// Reachable tells why the cluster can't be asked, or nil.
func (l *Live) Reachable() error {
	if _, err := l.reader.clients.core.Discovery().ServerVersion(); err != nil {
		return fmt.Errorf("the cluster does not answer: %w", err)
	}
	return nil
}

// Answer answers queries, in their order.
func (l *Live) Answer(ctx context.Context, queries []facts.Query) []facts.Fact {
	answers := make([]facts.Fact, len(queries))
	slots := make(chan struct{}, parallelReads)
	var group sync.WaitGroup
	for i := range queries {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			answers[i] = l.answer(ctx, &queries[i])
		})
	}
	group.Wait()
	return answers
}

func (l *Live) answer(ctx context.Context, q *facts.Query) facts.Fact {
	if q.Kind == facts.TokenSecretsOf {
		return facts.Fact{State: facts.Present, Names: l.tokenSecretsOf(ctx, q), Fresh: true}
	}
	return l.reader.read(ctx, time.Now(), q)
}

// tokenSecretsOf returns none where they may not be listed: it is but a hint.
func (l *Live) tokenSecretsOf(ctx context.Context, q *facts.Query) []string {
	list, err := l.reader.clients.core.CoreV1().Secrets(q.Namespace).List(ctx, metav1.ListOptions{FieldSelector: tokenSecrets()})
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
