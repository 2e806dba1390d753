package app

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/hold"
)

// releases marks in the Lease a leader that releases held pods.
const releases = "_releases"

// useHold has the leader release held pods, and watches that there is one.
func (s *Server) useHold() error {
	if !s.options.Hold {
		return nil
	}
	if s.inventory == nil {
		s.holds = func() bool { return true } // nothing but decisions is wanted
		return nil
	}
	config := rest.CopyConfig(s.config)
	config.QPS = -1 // as many as there are pods to release
	client, err := cluster.NewClient(config, cluster.Reducer{})
	if err != nil {
		return fmt.Errorf("--hold: %w", err)
	}
	s.releaser = hold.NewReleaser(hold.Options{
		Client: client.Core, Policies: s.policies.Snapshot, Store: s.inventory, Source: s.inventory, Only: s.options.Namespaces,
		Ready: s.loaded, Now: time.Now, Metrics: s.metrics, Log: s.log.WithName("hold"),
	})
	s.leads = append(s.leads, s.releaser.Run)
	if !s.options.LeaderElect {
		s.holds = s.loaded
		return nil
	}
	namespace, err := s.options.podNamespace()
	if err != nil {
		return fmt.Errorf("--hold: %w", err)
	}
	watch := &leaseWatch{log: s.log.WithName("leader"), now: time.Now}
	s.holds = watch.alive
	s.parts = append(s.parts, patient(func(ctx context.Context) error { return watch.run(ctx, client.Core, namespace) }))
	return nil
}

// leaseWatch tells whether a leader is alive that releases held pods. It goes by when
// the Lease was seen to be renewed, not by clocks of others.
type leaseWatch struct {
	log logr.Logger
	now func() time.Time

	mu       sync.Mutex
	holder   string // the last that there was
	renewed  metav1.MicroTime
	observed time.Time
}

// alive reports whether the leader has renewed its Lease lately. One that has given it
// up a moment ago counts, too: another one takes over.
func (l *leaseWatch) alive() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.HasSuffix(l.holder, releases) && l.now().Sub(l.observed) < leaseDuration
}

func (l *leaseWatch) run(ctx context.Context, client kubernetes.Interface, namespace string) error {
	list := cache.NewFilteredListWatchFromClient(client.CoordinationV1().RESTClient(), "leases", namespace, func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, leaseName).String()
	})
	reflector := cache.NewReflectorWithOptions(list, &coordinationv1.Lease{}, l, cache.ReflectorOptions{
		Name: "Lease", TypeDescription: "Lease", Logger: &l.log,
	})
	reflector.RunWithContext(ctx)
	return nil
}

// Add implements cache.ReflectorStore.
func (l *leaseWatch) Add(obj any) error { return l.Update(obj) }

// Update implements cache.ReflectorStore.
func (l *leaseWatch) Update(obj any) error {
	lease, ok := obj.(*coordinationv1.Lease)
	if !ok {
		return fmt.Errorf("unexpected %T", obj)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if holder := lease.Spec.HolderIdentity; holder != nil && *holder != "" {
		l.holder = *holder
	}
	if at := lease.Spec.RenewTime; at != nil && !at.Equal(&l.renewed) {
		// What a first list shows may be old; the leader renews it within seconds.
		if first := l.renewed.IsZero(); !first || l.now().Sub(at.Time) < leaseDuration {
			l.observed = l.now()
		}
		l.renewed = *at
	}
	return nil
}

// Delete implements cache.ReflectorStore. A leader makes the Lease anew.
func (l *leaseWatch) Delete(any) error { return nil }

// Replace implements cache.ReflectorStore: the result of a list.
func (l *leaseWatch) Replace(list []any, _ string) error {
	for _, one := range list {
		if err := l.Update(one); err != nil {
			return err
		}
	}
	return nil
}

// Resync implements cache.ReflectorStore; nothing here needs it.
func (*leaseWatch) Resync() error { return nil }
