package inventory

import (
	"context"
	"crypto/x509"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/token"
)

// Direct answers every query by a live read, without watches and without an
// index: for programs that run once. It can't list the token Secrets of an account.
type Direct struct {
	signing *signing
	reader  *reader
}

// NewDirect returns a Direct that reads from the API server of config.
func NewDirect(config *rest.Config, o SigningOptions) (*Direct, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	m := metrics.New()
	signing, err := newSigning(config, o, m, logr.Discard())
	if err != nil {
		return nil, err
	}
	reader, err := newReader(config, signing, m, logr.Discard())
	if err != nil {
		return nil, err
	}
	return &Direct{signing: signing, reader: reader}, nil
}

// Keys reads the keys and issuers that the API server publishes now, and returns
// what is known of them, after an error too.
func (d *Direct) Keys(ctx context.Context) (*token.KeySet, error) {
	err := d.signing.refresh(ctx)
	return d.signing.Trust().keys, err
}

// Known returns what is known of the keys, without a look.
func (d *Direct) Known() *token.KeySet { return d.signing.Trust().keys }

// Settled reads the keys until they have been the same for SigningOptions.Settle,
// so that a key that is not among them is gone. It returns what is known when
// the context ends.
func (d *Direct) Settled(ctx context.Context) (*token.KeySet, error) {
	for {
		keys, err := d.Keys(ctx)
		if keys.Settled() {
			return keys, nil
		}
		select {
		case <-ctx.Done():
			return keys, err
		case <-time.After(d.signing.options.Settle / 5):
		}
	}
}

// Presented returns the certificates that the API server showed with its keys,
// leaf first.
func (d *Direct) Presented() []*x509.Certificate {
	if chain := d.signing.presented.Load(); chain != nil {
		return *chain
	}
	return nil
}

// Gather answers what is needed by live reads.
func (d *Direct) Gather(ctx context.Context, arrived time.Time, needs func(*facts.Set) []facts.Query) *facts.Set {
	return facts.Collect(needs, func(queries []facts.Query, set *facts.Set) {
		answers := make([]facts.Fact, len(queries))
		slots := make(chan struct{}, parallelReads)
		var group sync.WaitGroup
		for i := range queries {
			slots <- struct{}{}
			group.Go(func() {
				defer func() { <-slots }()
				answers[i] = d.reader.read(ctx, arrived, &queries[i])
			})
		}
		group.Wait()
		for i := range queries {
			set.Put(queries[i].Object, answers[i])
		}
	})
}
