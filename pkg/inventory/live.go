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
)

// Live answers by reads alone, without an index: for a program that asks little
// and ends. It needs no more rights than to get what is asked for.
type Live struct{ reader *reader }

// NewLive reads the signing keys once. Where they can't be read, whether a token
// is good is unknown.
func NewLive(ctx context.Context, config *rest.Config, log logr.Logger) (*Live, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // reads are bounded by parallelReads
	m := metrics.New()
	signing, err := newSigning(config, SigningOptions{}, m, log)
	if err != nil {
		return nil, err
	}
	_ = signing.refresh(ctx) // it has told what is wrong; tokens are unknown then
	reader, err := newReader(config, signing, m, log)
	if err != nil {
		return nil, err
	}
	return &Live{reader: reader}, nil
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
