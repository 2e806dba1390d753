// Package metrics holds the Prometheus series of the webhook. Labels come from
// closed sets: no names, no messages. It imports nothing of ours; packages that
// are not pure may import it.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are the series of one server.
type Metrics struct {
	// Registry has all of them, and those of the process.
	Registry *prometheus.Registry

	// Reviews by path, kind, operation, and outcome: allow, audit, warn, hold, deny,
	// patch (the pod was changed), bad_request (not understood), not_ready, busy and
	// too_large (not judged), gone (the client went away), error.
	Reviews *prometheus.CounterVec
	// ReviewDuration in seconds, by path.
	ReviewDuration *prometheus.HistogramVec
	// RequestsRefused counts requests to the webhook port that were not let in, by
	// reason: busy, too_large, too_slow, too_many_headers, broken_body.
	RequestsRefused *prometheus.CounterVec
	// ConnectionsClosed counts connections that had to make room for others.
	ConnectionsClosed prometheus.Counter
	// Findings by check, action, and state: absent, unknown, present.
	Findings *prometheus.CounterVec
	// WouldFindings is the same for what policies in dry run would have done.
	WouldFindings *prometheus.CounterVec
	// Mutations by change (serviceAccount, automountServiceAccountToken,
	// longLivedTokenVolumes, hold) and result: done, left (it could not be made), conflict
	// (an earlier policy set the field otherwise), would (policies in dry run).
	Mutations *prometheus.CounterVec
	// Lookups are reads that went to the API server, by kind, and result:
	// present, absent, or why it is unknown.
	Lookups *prometheus.CounterVec
	// InventoryObjects in the index, by kind.
	InventoryObjects *prometheus.GaugeVec
	// InventorySynced is 1 once the first list of a kind is complete.
	InventorySynced *prometheus.GaugeVec
	// InventoryStale is how long ago the watch of a kind was last heard of, in
	// seconds.
	InventoryStale *prometheus.GaugeVec
	// BreakerOpen is 1 while no look-ups are tried, but for one a second: the API
	// server does not answer them.
	BreakerOpen prometheus.Gauge
	// OwnTokenRejected is 1 while the API server does not accept the webhook's own token.
	OwnTokenRejected prometheus.Gauge
	// SigningKeys that tokens are verified by.
	SigningKeys prometheus.Gauge
	// TokenVerifications by what the signature says: valid, invalid, unknown.
	TokenVerifications *prometheus.CounterVec
	// Policies in force (ready="true"), and those that do not compile.
	Policies *prometheus.GaugeVec
	// Undecided counts reviews times policies of which it was unknown whether
	// they match.
	Undecided prometheus.Counter
	// ExemptionsExpired are exemptions whose time is over.
	ExemptionsExpired prometheus.Gauge
	// ClientsRefused counts connections to the webhook port whose client
	// certificate is not good, by reason: missing, expired, untrusted, name.
	ClientsRefused *prometheus.CounterVec
	// AuditFindings on workloads that exist, by check, action (of policies in dry
	// run alone: DryRun), and state, as the last audit of each namespace left them.
	AuditFindings *prometheus.GaugeVec
	// AuditPasses are full passes over the cluster, AuditNamespaces audits of a
	// single namespace, those of full passes included, by result: ok or error.
	AuditPasses     prometheus.Counter
	AuditNamespaces *prometheus.CounterVec
	// AuditObjects counts pods and templates that were judged.
	AuditObjects prometheus.Counter
	// AuditLastPass is when the last full pass ended, in Unix seconds, and
	// AuditPassDuration how long it took.
	AuditLastPass, AuditPassDuration prometheus.Gauge
	// AuditReports counts reports that were written, by what was done: create,
	// update, delete, refused (the API server takes no such object), error.
	AuditReports *prometheus.CounterVec
	// HeldPods are pods that are held, HeldPodsOverdue those of them that are held for
	// longer than their policies say. The leader counts them.
	HeldPods, HeldPodsOverdue prometheus.Gauge
	// HeldSeconds is for how long pods were held, by why that ended: found, policy,
	// exempted, expired, excluded.
	HeldSeconds *prometheus.HistogramVec
	// HoldReleasesRefused counts releases that the API server refused.
	HoldReleasesRefused prometheus.Counter
	// CertificateNotAfter is when the serving certificate ends, in Unix seconds.
	CertificateNotAfter prometheus.Gauge
	// CANotAfter is when the authority ends that issued it, in Unix seconds; 0
	// where that is not ours.
	CANotAfter prometheus.Gauge
	// CABundleMended counts how often caBundle had to be set.
	CABundleMended prometheus.Counter
}

// New registers all series in a registry of its own.
func New() *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "tokenward", Name: name, Help: help}, labels)
		m.Registry.MustRegister(c)
		return c
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "tokenward", Name: name, Help: help}, labels)
		m.Registry.MustRegister(g)
		return g
	}
	m.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.Reviews = counter("reviews_total", "Admission reviews answered.", "path", "kind", "operation", "outcome")
	m.Findings = counter("findings_total", "Findings, by what the policies made of them.", "check", "action", "state")
	m.RequestsRefused = counter("requests_refused_total", "Requests to the webhook port that were not let in.", "reason")
	m.ConnectionsClosed = counter("connections_closed_total", "Connections to the webhook port that were closed to make room for others.").WithLabelValues()
	m.WouldFindings = counter("would_findings_total", "Findings on which a policy in dry run would have acted.", "check", "action", "state")
	m.Mutations = counter("mutations_total", "Changes of pods that policies want, by what became of them.", "change", "result")
	m.Lookups = counter("lookups_total", "Reads from the API server.", "kind", "result")
	m.InventoryObjects = gauge("inventory_objects", "Objects in the index.", "kind")
	m.InventorySynced = gauge("inventory_synced", "1 once the index has its first complete list.", "kind")
	m.InventoryStale = gauge("inventory_stale_seconds", "How long ago the watch was last heard of.", "kind")
	m.BreakerOpen = gauge("lookup_breaker_open", "1 while look-ups are not tried, since the API server does not answer.").WithLabelValues()
	m.OwnTokenRejected = gauge("own_token_rejected", "1 while the API server does not accept Tokenward's own token.").WithLabelValues()
	m.SigningKeys = gauge("signing_keys", "Keys that tokens are verified by.").WithLabelValues()
	m.TokenVerifications = counter("token_verifications_total", "Tokens whose signature was checked.", "result")
	m.Policies = gauge("policies", "Policies, by whether they are in force.", "ready")
	m.Undecided = counter("undecided_total", "Reviews in which it was unknown whether a policy matches, by policy and review.").WithLabelValues()
	m.ExemptionsExpired = gauge("exemptions_expired", "Exemptions whose time is over.").WithLabelValues()
	m.ClientsRefused = counter("clients_refused_total", "Connections refused for their client certificate.", "reason")
	m.AuditFindings = gauge("audit_findings", "Findings on workloads that exist.", "check", "action", "state")
	m.AuditPasses = counter("audit_passes_total", "Full passes of the audit.").WithLabelValues()
	m.AuditNamespaces = counter("audit_namespaces_total", "Audits of a namespace.", "result")
	m.AuditObjects = counter("audit_objects_total", "Pods and templates that the audit judged.").WithLabelValues()
	m.AuditLastPass = gauge("audit_last_pass_timestamp_seconds", "When the last full pass of the audit ended, in Unix seconds.").WithLabelValues()
	m.AuditPassDuration = gauge("audit_pass_duration_seconds", "How long the last full pass of the audit took.").WithLabelValues()
	m.AuditReports = counter("audit_reports_written_total", "Reports written by the audit.", "operation")
	m.HeldPods = gauge("held_pods", "Pods that are held.").WithLabelValues()
	m.HeldPodsOverdue = gauge("held_pods_overdue", "Pods that are held for longer than their policies say.").WithLabelValues()
	m.HoldReleasesRefused = counter("hold_releases_refused_total", "Releases of held pods that the API server refused.").WithLabelValues()
	m.HeldSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "tokenward", Name: "held_seconds", Help: "For how long pods were held that were released.",
		Buckets: []float64{1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 21600, 86400},
	}, []string{"reason"})
	m.Registry.MustRegister(m.HeldSeconds)
	m.CertificateNotAfter = gauge("serving_certificate_not_after_seconds", "When the serving certificate ends, in Unix seconds.").WithLabelValues()
	m.CANotAfter = gauge("serving_ca_not_after_seconds", "When the CA of the serving certificate ends, in Unix seconds; 0 if it is not Tokenward's own.").WithLabelValues()
	m.CABundleMended = counter("ca_bundle_mended_total", "How often the caBundle of a webhook configuration was not right and was set.").WithLabelValues()
	m.ReviewDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "tokenward", Name: "review_duration_seconds", Help: "Time from the request's arrival to the answer.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 5},
	}, []string{"path"})
	m.Registry.MustRegister(m.ReviewDuration)
	return m
}
