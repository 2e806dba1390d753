package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"tokenward.dev/tokenward/cmd/program"
	"tokenward.dev/tokenward/pkg/intake"
	"tokenward.dev/tokenward/pkg/servingcert"
	"tokenward.dev/tokenward/pkg/trust"
)

// Options are the flags of the webhook server.
type Options struct {
	Kubeconfig   string
	ClusterState string
	PolicyFile   string
	DryRun       bool
	Hold         bool
	Namespaces   []string
	Workloads    program.WorkloadResources
	WebhookPort  int
	WebhookHost  string
	CertDir      string
	SelfSigned   bool
	ClientCA     string
	ClientName   string
	MetricsAddr  string
	// TLSMinVersion and TLSCipherSuites have the names that Kubernetes uses.
	TLSMinVersion   string
	TLSCipherSuites []string
	// MaxInflightBytes is a quantity, such as 96Mi.
	MaxInflightBytes   string
	MaxInflightReviews int
	MetricsSecure      bool
	HealthAddr         string
	ShutdownDelay      time.Duration
	LeaderElect        bool
	LogLevel           string
	LogFormat          string
	AuditInterval      time.Duration
	AuditEvents        bool

	PodNamespace         string
	ServiceName          string
	ServingSecret        string
	ServingCertLifetime  time.Duration
	WebhookConfiguration string

	Keys              program.Keys
	SigningKeyRefresh time.Duration
	SigningKeySettle  time.Duration
	// SigningKeysConfigMap is where the replicas share what they know of signing keys.
	SigningKeysConfigMap string
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	return &Options{
		WebhookPort: 9443, MetricsAddr: ":8080", HealthAddr: ":8081", ShutdownDelay: 5 * time.Second,
		LogLevel: "info", LogFormat: "json",
		ServiceName: "tokenward", ServingSecret: "tokenward-serving-cert", WebhookConfiguration: "tokenward",
		ServingCertLifetime: servingcert.DefaultLifetime,
		SigningKeyRefresh:   trust.DefaultRefresh, SigningKeySettle: trust.DefaultSettle,
		AuditInterval: time.Hour,
		TLSMinVersion: "VersionTLS12", MaxInflightBytes: defaultInflightBytes, MaxInflightReviews: intake.DefaultReviews,
	}
}

// AddFlags adds the flags to a set.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "how to reach the API server; in-cluster configuration otherwise")
	f.StringVar(&o.ClusterState, "cluster-state", o.ClusterState, "embedded mode: take all facts from the manifests in this file or directory, without an API server")
	f.StringVar(&o.PolicyFile, "policy-file", o.PolicyFile, "TokenPolicies from a file, reloaded when it changes, instead of those in the API server")
	f.BoolVar(&o.DryRun, "dry-run", o.DryRun, "deny and change nothing, record everything")
	f.BoolVar(&o.Hold, "hold", o.Hold, "let policies hold pods (the action Hold); the leader releases them, for which it needs the right to watch and patch pods")
	f.StringSliceVar(&o.Namespaces, "namespaces", o.Namespaces, "watch and judge only these namespaces; all if empty")
	o.Workloads.AddFlag(f)
	o.Keys.AddFlags(f)
	f.DurationVar(&o.SigningKeyRefresh, "signing-key-refresh", o.SigningKeyRefresh, "how often the API server's keys are read")
	f.DurationVar(&o.SigningKeySettle, "signing-key-settle", o.SigningKeySettle, "for how long refreshes must agree before a key counts as gone")
	f.IntVar(&o.WebhookPort, "webhook-port", o.WebhookPort, "port of the webhook")
	f.StringVar(&o.WebhookHost, "webhook-host", o.WebhookHost, "address that the webhook listens on; all if empty")
	f.StringVar(&o.CertDir, "cert-dir", o.CertDir, "directory with tls.crt and tls.key, reloaded when they change; with --self-signed and --cluster-state, where ca.crt is written")
	f.BoolVar(&o.SelfSigned, "self-signed", o.SelfSigned, "serve with a certificate of our own making: in a cluster kept in a Secret that the replicas share, and trusted through caBundle; with --cluster-state in memory")
	f.StringVar(&o.ServiceName, "service-name", o.ServiceName, "with --self-signed, the Service that the certificate is for")
	f.StringVar(&o.ServingSecret, "serving-secret", o.ServingSecret, "with --self-signed, the Secret that the replicas share, which must exist; it may be empty")
	f.DurationVar(&o.ServingCertLifetime, "serving-cert-lifetime", o.ServingCertLifetime, "with --self-signed, how long a certificate is good for; it is renewed after two thirds of that, its CA lives four times as long")
	f.StringVar(&o.WebhookConfiguration, "webhook-configuration", o.WebhookConfiguration, "with --self-signed, the name of the ValidatingWebhookConfiguration and of the MutatingWebhookConfiguration whose caBundle is kept right")
	f.StringVar(&o.SigningKeysConfigMap, "signing-keys-configmap", o.SigningKeysConfigMap, "ConfigMap in the pod's namespace, which must exist, where replicas share when signing keys were first and last seen; each knows only what it saw itself if empty")
	f.StringVar(&o.ClientCA, "client-ca", o.ClientCA, "let only clients to the webhook port whose certificate an authority in this file (PEM, reloaded when it changes) has signed")
	f.StringVar(&o.ClientName, "client-name", o.ClientName, "with --client-ca: the common name, or a DNS name, that the client's certificate must have")
	f.StringVar(&o.TLSMinVersion, "tls-min-version", o.TLSMinVersion, "the oldest version of TLS to take: VersionTLS12 or VersionTLS13")
	f.StringSliceVar(&o.TLSCipherSuites, "tls-cipher-suites", o.TLSCipherSuites, "cipher suites for TLS 1.2, by the names that Kubernetes uses; those of Go if empty. Those of TLS 1.3 can't be chosen")
	f.StringVar(&o.MaxInflightBytes, "max-inflight-bytes", o.MaxInflightBytes, "how much memory the requests may take that are read and judged at a time; others wait for their turn")
	f.IntVar(&o.MaxInflightReviews, "max-inflight-reviews", o.MaxInflightReviews, "how many reviews may be judged at a time; others wait for their turn")
	f.StringVar(&o.MetricsAddr, "metrics-addr", o.MetricsAddr, "address of /metrics; 0 turns it off")
	f.BoolVar(&o.MetricsSecure, "metrics-secure", o.MetricsSecure, "serve /metrics over TLS, to callers with a token that the API server accepts and whose account may get /metrics")
	f.StringVar(&o.HealthAddr, "health-addr", o.HealthAddr, "address of /healthz and /readyz; 0 turns it off")
	f.DurationVar(&o.ShutdownDelay, "shutdown-delay", o.ShutdownDelay, "how long to go on serving, unready, after SIGTERM")
	f.BoolVar(&o.LeaderElect, "leader-elect", o.LeaderElect, "with several replicas: only one of them writes to the cluster")
	f.StringVar(&o.PodNamespace, "pod-namespace", o.PodNamespace, "where Tokenward keeps its Lease and its serving certificate; by default the namespace that the pod runs in")
	f.DurationVar(&o.AuditInterval, "audit-interval", o.AuditInterval, "how often the leader audits all that runs; a namespace in which something changes is audited at once; 0 turns it off")
	f.BoolVar(&o.AuditEvents, "audit-events", o.AuditEvents, "write an Event on the owner for what the audit denies or warns about")
	f.StringVar(&o.LogLevel, "log-level", o.LogLevel, "debug, info or error")
	f.StringVar(&o.LogFormat, "log-format", o.LogFormat, "json or console")
}

// Validate reports every flag that can't be used, by name.
func (o *Options) Validate() error {
	var errs []error
	fail := func(flag, format string, args ...any) {
		errs = append(errs, fmt.Errorf("--%s: %s", flag, fmt.Sprintf(format, args...)))
	}
	if o.WebhookPort < 1 || o.WebhookPort > 65535 {
		fail("webhook-port", "%d is not between 1 and 65535", o.WebhookPort)
	}
	for flag, addr := range map[string]string{"metrics-addr": o.MetricsAddr, "health-addr": o.HealthAddr} {
		if _, _, err := net.SplitHostPort(addr); err != nil && addr != "0" {
			fail(flag, "%q is not HOST:PORT, :PORT or 0", addr)
		}
	}
	for _, ns := range o.Namespaces {
		if problems := validation.IsDNS1123Label(ns); len(problems) > 0 {
			fail("namespaces", "%q: %s", ns, problems[0])
		}
	}
	if _, err := o.Workloads.Templates(); err != nil {
		errs = append(errs, err)
	}
	for flag, d := range map[string]time.Duration{"signing-key-refresh": o.SigningKeyRefresh, "signing-key-settle": o.SigningKeySettle} {
		if d < time.Second {
			fail(flag, "%s is less than a second", d)
		}
	}
	if _, err := o.Keys.Read(); err != nil {
		errs = append(errs, err)
	}
	if o.AuditInterval != 0 && o.AuditInterval < time.Minute {
		fail("audit-interval", "%s is less than a minute; 0 turns the audit off", o.AuditInterval)
	}
	if o.ShutdownDelay < 0 {
		fail("shutdown-delay", "must not be negative")
	}
	if o.LogFormat != "json" && o.LogFormat != "console" {
		fail("log-format", "%q is neither json nor console", o.LogFormat)
	}
	if _, err := logLevel(o.LogLevel); err != nil {
		fail("log-level", "%v", err)
	}
	if o.ClusterState != "" && o.Kubeconfig != "" {
		fail("cluster-state", "takes the place of --kubeconfig: give one of the two")
	}
	if o.ClusterState != "" {
		if _, err := os.Stat(o.ClusterState); err != nil {
			fail("cluster-state", "%v", err)
		}
	}
	if name := o.SigningKeysConfigMap; name != "" {
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			fail("signing-keys-configmap", "%q: %s", name, problems[0])
		}
	}
	o.validateAccess(fail)
	o.validateTLS(fail)
	o.validateLimits(fail)
	o.validateCertificate(fail)
	return errors.Join(errs...)
}

// validateAccess is the part of Validate about who may ask.
func (o *Options) validateAccess(fail func(flag, format string, args ...any)) {
	if o.ClientName != "" && o.ClientCA == "" {
		fail("client-name", "is checked in certificates, and none is asked for: give --client-ca, too")
	}
	switch {
	case !o.MetricsSecure:
	case o.ClusterState != "":
		fail("metrics-secure", "asks the API server who may read, and with --cluster-state there is none: leave it out")
	case o.MetricsAddr == "0":
		fail("metrics-secure", "there is nothing to secure: --metrics-addr is 0")
	}
}
