package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"tokenward.dev/tokenward/pkg/admission"
	"tokenward.dev/tokenward/pkg/apis/tokenward/v1alpha1"
	"tokenward.dev/tokenward/pkg/audit"
	"tokenward.dev/tokenward/pkg/facts"
	"tokenward.dev/tokenward/pkg/hold"
	"tokenward.dev/tokenward/pkg/intake"
	"tokenward.dev/tokenward/pkg/inventory"
	"tokenward.dev/tokenward/pkg/metrics"
	"tokenward.dev/tokenward/pkg/owntoken"
	"tokenward.dev/tokenward/pkg/policy"
	"tokenward.dev/tokenward/pkg/policysource"
	"tokenward.dev/tokenward/pkg/reference"
	"tokenward.dev/tokenward/pkg/source"
	"tokenward.dev/tokenward/pkg/token"
	"tokenward.dev/tokenward/pkg/trust"
)

// start is a part that runs until its context ends.
type start func(context.Context) error

// Server is a webhook server ready to run.
type Server struct {
	options  *Options
	config   *rest.Config // nil in embedded mode
	ownToken *owntoken.Token
	log      logr.Logger
	metrics  *metrics.Metrics
	compiler *policy.Compiler
	policies policysource.Source
	source   source.Source
	synced   func() bool
	getCert  func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// trusted says why the API server does not trust the certificate yet, and
	// authority which CA issued it; both are nil where others see to that.
	trusted   func() error
	authority func() *x509.Certificate
	webhook   *webhookServer
	parts     []start              // all but the webhook itself
	inventory *inventory.Inventory // nil in embedded mode
	leads     []start              // what one replica does for all
	auditor   *audit.Auditor
	releaser  *hold.Releaser
	// holds reports whether pods can be held just now; nil for never.
	holds    func() bool
	stopping atomic.Bool
}

// New checks the options and puts a server together. Nothing runs yet.
func New(o *Options, logTo io.Writer) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	log, err := newLogger(o.LogLevel, o.LogFormat, logTo)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	logf.SetLogger(log)
	klog.SetLogger(log)
	stdlog.SetFlags(0)
	stdlog.SetOutput(&httpLog{log: log.WithName("http")})
	boundMemory()
	s := &Server{options: o, log: log, metrics: metrics.New()}
	for _, step := range []func() error{s.useConfig, s.useOwnToken, s.usePolicies, s.useSource, s.useAudit, s.useHold, s.useCertificate, s.useWebhook, s.useHealth, s.useMetrics} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	s.parts = append(s.parts, patient(s.leading(s.lead)))
	return s, nil
}

func (s *Server) usePolicies() error {
	checks := policy.Checks()
	if err := policy.ValidateChecks(checks); err != nil {
		return err
	}
	s.compiler = policy.NewCompiler(checks)
	options := policy.Options{DryRun: s.options.DryRun, Namespaces: s.options.Namespaces, Hold: s.options.Hold}
	if own, err := s.options.podNamespace(); err == nil {
		options.HoldNever = []string{own}
	}
	log := s.log.WithName("policies")
	if s.options.PolicyFile != "" || s.config == nil {
		file, err := policysource.NewFile(s.options.PolicyFile, s.compiler, options, s.metrics, log)
		if err != nil {
			return fmt.Errorf("--policy-file: %w", err)
		}
		s.policies = file
	} else {
		cluster, err := policysource.NewCluster(s.config, s.compiler, options, s.metrics, log)
		if err != nil {
			return err
		}
		s.policies = cluster
	}
	s.parts, s.leads = append(s.parts, patient(s.policies.Start)), append(s.leads, s.policies.Lead)
	return nil
}

// useConfig finds the API server, where there is one.
func (s *Server) useConfig() (err error) {
	if s.options.ClusterState != "" {
		return nil
	}
	if s.options.Kubeconfig == "" {
		s.config, err = rest.InClusterConfig()
	} else {
		s.config, err = clientcmd.BuildConfigFromFlags("", s.options.Kubeconfig)
	}
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	s.config.UserAgent = "tokenward/webhook"
	return nil
}

func (s *Server) useSource() error {
	keys, err := s.options.Keys.Read()
	if err != nil {
		return err
	}
	if s.config == nil {
		cluster, err := readState(s.options.ClusterState)
		if err != nil {
			return err
		}
		cluster.Keys = token.NewKeySet(token.KeySetOptions{
			Keys: keys, Issuers: s.options.Keys.Issuers, Unavailable: len(keys) == 0, Partial: s.options.Keys.Partial,
		})
		s.source, s.synced = &source.Stack{Stores: []source.Store{cluster}}, func() bool { return true }
		return nil
	}
	record, err := s.record()
	if err != nil {
		return err
	}
	inv, err := inventory.New(s.config, inventory.Options{
		Namespaces: s.options.Namespaces,
		Changed: func(namespace string) {
			if s.auditor != nil {
				s.auditor.Touch(namespace)
			}
		},
		ObjectChanged: func(o facts.Object) {
			if s.releaser != nil {
				s.releaser.Changed(o)
			}
		},
		Signing: trust.Options{
			Keys: keys, Issuers: s.options.Keys.Issuers, Partial: s.options.Keys.Partial,
			Refresh: s.options.SigningKeyRefresh, Settle: s.options.SigningKeySettle, Record: record,
		},
	}, s.metrics, s.log.WithName("inventory"))
	if err != nil {
		return err
	}
	s.inventory, s.source, s.synced = inv, inv, inv.Synced
	s.parts = append(s.parts, inv.Start)
	return nil
}

// record is where the replicas share what they know of signing keys; nil if nowhere.
func (s *Server) record() (trust.Record, error) {
	if s.options.SigningKeysConfigMap == "" {
		return nil, nil //nolint:nilnil // no replica shares anything
	}
	namespace, err := s.options.podNamespace()
	if err != nil {
		return nil, fmt.Errorf("--signing-keys-configmap: %w", err)
	}
	client, err := kubernetes.NewForConfig(s.config)
	if err != nil {
		return nil, fmt.Errorf("--signing-keys-configmap: %w", err)
	}
	return &trust.ConfigMapRecord{Client: client, Namespace: namespace, Name: s.options.SigningKeysConfigMap}, nil
}

func (s *Server) useWebhook() error {
	config := s.tlsConfig()
	config.NextProtos = []string{"h2", "http/1.1"}
	if s.options.ClientCA != "" {
		clients, err := newClientAuth(s.options.ClientCA, s.options.ClientName, s.metrics.ClientsRefused, s.log.WithName("clients"))
		if err != nil {
			return err
		}
		clients.configure(config)
		s.parts = append(s.parts, clients.start)
	}
	mux, err := s.handlers()
	if err != nil {
		return err
	}
	s.webhook = newWebhookServer(net.JoinHostPort(s.options.WebhookHost, strconv.Itoa(s.options.WebhookPort)), config, mux,
		intake.NewConnections(s.metrics.ConnectionsClosed.Inc))
	return nil
}

// handlers are what is served at the webhook port.
func (s *Server) handlers() (*http.ServeMux, error) {
	templates, err := s.options.Workloads.Templates()
	if err != nil {
		return nil, err
	}
	limits, err := s.options.limits()
	if err != nil {
		return nil, fmt.Errorf("--max-inflight-bytes: %w", err)
	}
	access, err := s.access()
	if err != nil {
		return nil, err
	}
	gate := intake.New(limits)
	for _, reason := range intake.Reasons() {
		s.metrics.RequestsRefused.WithLabelValues(string(reason)) // so that a rate over it is right from the first one on
	}
	endpoint := func(path string) admission.Endpoint {
		return admission.Endpoint{
			Path: path, Policies: s.policies, Source: s.source, Ready: s.loaded, Gate: gate, Now: time.Now, Metrics: s.metrics, Log: s.log.WithName("admission"),
		}
	}
	users, err := s.users(templates)
	if err != nil {
		return nil, err
	}
	policies := endpoint("/validate/policies")
	policies.Ready = nil // whoever mends a policy never waits
	mux := http.NewServeMux()
	for path, handler := range map[string]http.Handler{
		"/validate/pods":      &admission.Handler{Endpoint: endpoint("/validate/pods"), Decode: admission.Pods, AtMost: v1alpha1.Deny, Access: access},
		"/warn/pods":          &admission.Handler{Endpoint: endpoint("/warn/pods"), Decode: admission.Pods, AtMost: v1alpha1.Warn, Access: access},
		"/validate/workloads": &admission.Handler{Endpoint: endpoint("/validate/workloads"), Decode: admission.Workloads(templates), AtMost: v1alpha1.Deny, Access: access},
		"/mutate/pods":        &admission.MutateHandler{Endpoint: endpoint("/mutate/pods"), Holds: s.holds},
		"/validate/secrets":   &admission.ObjectHandler{Endpoint: endpoint("/validate/secrets"), Kind: reference.Secret, Users: users},
		"/validate/serviceaccounts": &admission.ObjectHandler{
			Endpoint: endpoint("/validate/serviceaccounts"), Kind: reference.ServiceAccount, Users: users,
		},
		"/validate/policies": &admission.PolicyHandler{Endpoint: policies, Compiler: s.compiler},
	} {
		mux.Handle(path, s.draining(handler))
	}
	return mux, nil
}

// loaded reports whether everything that a judgement stands on is there.
func (s *Server) loaded() bool { return s.synced() && s.policies.Synced() }

func (s *Server) useHealth() error {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		verbose := ""
		if r.URL.Query().Has("verbose") {
			verbose = s.checks(r)
		}
		if err := s.ready(r); err != nil {
			http.Error(w, verbose+"not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, verbose+"ok\n")
	})
	return s.useHTTP("health-addr", s.options.HealthAddr, mux, nil)
}

// readiness is what makes a server ready, in order.
func (s *Server) readiness() []readinessCheck {
	holds := func(ok func() bool, problem string) func(*http.Request) error {
		return func(*http.Request) error {
			if ok() {
				return nil
			}
			return errors.New(problem)
		}
	}
	return []readinessCheck{
		{"running", holds(func() bool { return !s.stopping.Load() }, "shutting down")},
		{"index", holds(s.synced, "the index of the cluster is not complete yet")},
		{"policies", holds(s.policies.Synced, "the policies are not loaded yet")},
		{"certificate", func(*http.Request) error { return s.certificateReady(time.Now()) }},
		{"webhook", s.webhook.reachable},
	}
}

type readinessCheck struct {
	name  string
	check func(*http.Request) error
}

// ready reports why the server should get no reviews, or nil.
func (s *Server) ready(r *http.Request) error {
	for _, c := range s.readiness() {
		if err := c.check(r); err != nil {
			if problem := s.ownTokenProblem(); problem != "" {
				return fmt.Errorf("%w; %s", err, problem)
			}
			return err
		}
	}
	return nil
}

// useHTTP adds an HTTP server, without TLS if there is no configuration for it;
// "0" means none.
func (s *Server) useHTTP(flag, addr string, handler http.Handler, tlsConfig *tls.Config) error {
	if addr == "0" {
		return nil
	}
	server := &http.Server{Addr: addr, Handler: handler, TLSConfig: tlsConfig, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	serve := server.ListenAndServe
	if tlsConfig != nil {
		serve = func() error { return server.ListenAndServeTLS("", "") }
	}
	s.parts = append(s.parts, func(ctx context.Context) error {
		stopped := context.AfterFunc(ctx, func() { _ = server.Close() })
		defer stopped()
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("--%s: %w", flag, err)
		}
		return nil
	})
	return nil
}

// Run serves until the context ends, and then: becomes unready, goes on
// serving for the shutdown delay, so that nobody is sent to a closed door,
// answers what is in flight, and returns nil.
func (s *Server) Run(ctx context.Context) error {
	partsCtx, stopParts := context.WithCancel(context.WithoutCancel(ctx))
	defer stopParts()
	parts, partsCtx := errgroup.WithContext(partsCtx)
	for _, p := range s.parts {
		parts.Go(func() error { return p(partsCtx) })
	}
	serveCtx, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	served := make(chan error, 1)
	go func() { served <- s.webhook.start(serveCtx) }()
	s.log.Info("Starting", "mode", s.mode(), "dryRun", s.options.DryRun, "policies", s.policies.Snapshot().Policies())

	var err error
	select {
	case <-ctx.Done():
		s.stopping.Store(true)
		s.log.Info("Shutting down: unready, serving on", "delay", s.options.ShutdownDelay.String())
		select {
		case <-time.After(s.options.ShutdownDelay):
		case <-partsCtx.Done():
		}
		stopServing()
		err = <-served
	case err = <-served: // it could not listen
	case <-partsCtx.Done(): // a part failed; parts.Wait tells why
		stopServing()
		err = <-served
	}
	stopParts()
	if err != nil {
		err = fmt.Errorf("webhook server: %w", err)
	}
	if err := errors.Join(err, parts.Wait()); err != nil {
		return err
	}
	s.log.Info("Stopped")
	return nil
}

func (s *Server) mode() string {
	if s.options.ClusterState != "" {
		return "embedded"
	}
	return "cluster"
}
