package app

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The times of leader election are those of Kubernetes' own components.
const (
	leaseName     = "tokenward-leader"
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// leading runs a part only where, and while, this replica leads. Without leader
// election it always does.
func (s *Server) leading(part start) start {
	if !s.options.LeaderElect || s.config == nil {
		return part
	}
	return func(ctx context.Context) error {
		elector, err := s.elector(part)
		if err != nil {
			return fmt.Errorf("--leader-elect: %w", err)
		}
		for ctx.Err() == nil {
			elector.Run(ctx) // it ends when the lease is lost
		}
		return nil
	}
}

// lead does what one replica does for all.
func (s *Server) lead(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range s.leads {
		group.Go(func() error { return part(ctx) })
	}
	return group.Wait()
}

func (s *Server) elector(part start) (*leaderelection.LeaderElector, error) {
	namespace, err := s.options.podNamespace()
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	client, err := coordinationv1.NewForConfig(s.config)
	if err != nil {
		return nil, err
	}
	identity := host + "_" + string(uuid.NewUUID())
	if s.releaser != nil {
		identity += releases
	}
	log := s.log.WithName("leader")
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: leaseName},
			Client:     client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		ReleaseOnCancel: true, Name: leaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				log.Info("Leading")
				if err := part(ctx); err != nil {
					log.Error(err, "What the leader does has failed")
				}
			},
			OnStoppedLeading: func() { log.Info("Not leading") },
		},
	})
}
