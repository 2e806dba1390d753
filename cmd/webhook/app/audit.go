package app

import (
	"fmt"
	"time"

	reportsclient "github.com/openreports/reports-api/pkg/client/clientset/versioned"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/audit"
	"tokenward.dev/tokenward/pkg/cluster"
	"tokenward.dev/tokenward/pkg/listing"
)

// What the audit may ask in a second, so that it is never in the way.
const (
	auditQPS   = 40
	auditBurst = 80
)

// useAudit has the leader audit what runs.
func (s *Server) useAudit() error {
	if s.inventory == nil || s.options.AuditInterval == 0 {
		return nil
	}
	templates, err := s.options.Workloads.Templates()
	if err != nil {
		return err
	}
	config := rest.CopyConfig(s.config)
	config.QPS, config.Burst = auditQPS, auditBurst
	client, err := cluster.NewClient(config, cluster.Reducer{})
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	reports, err := reportsclient.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	s.auditor = audit.NewAuditor(audit.Options{
		Lister: listing.NewLister(client, templates), Reports: reports,
		Policies: s.policies.Snapshot, Session: func() audit.Session { return s.inventory.Session() }, Namespaces: s.inventory.Namespaces,
		Only: s.options.Namespaces, Ready: s.loaded, Settled: s.inventory.Settled, Interval: s.options.AuditInterval, Events: s.options.AuditEvents,
		Now: time.Now, Metrics: s.metrics, Log: s.log.WithName("audit"),
	})
	s.leads = append(s.leads, s.auditor.Run)
	return nil
}
