package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const metricsPath = "/metrics"

// How often callers of /metrics may make us ask the API server, and how long one
// of them is kept waiting. Whoever reaches the port can send tokens at will; the
// rest of our calls must not queue behind theirs.
const (
	metricsQPS, metricsBurst = 5, 10
	metricsAuthTimeout       = 5 * time.Second
)

func (s *Server) useMetrics() error {
	series := promhttp.HandlerFor(s.metrics.Registry, promhttp.HandlerOpts{})
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.measureCertificate()
		series.ServeHTTP(w, r)
	})
	var tlsConfig *tls.Config
	if s.options.MetricsSecure {
		guard, err := newGuard(s.config, handler, s.log.WithName("metrics"))
		if err != nil {
			return err
		}
		handler, tlsConfig = guard, s.tlsConfig()
	}
	mux := http.NewServeMux()
	mux.Handle(metricsPath, handler)
	return s.useHTTP("metrics-addr", s.options.MetricsAddr, mux, tlsConfig)
}

// guard lets through whoever shows a token that the API server accepts, and may
// get /metrics by RBAC. controller-runtime's metrics/filters does the same, but
// brings a gRPC stack and a tracing exporter into a process that can read every
// Secret; it also has no bound on the calls that strangers cause.
type guard struct {
	client   kubernetes.Interface
	next     http.Handler
	log      logr.Logger
	throttle throttle
}

func newGuard(config *rest.Config, next http.Handler, log logr.Logger) (*guard, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = metricsQPS, metricsBurst
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &guard{client: client, next: next, log: log}, nil
}

// ServeHTTP implements http.Handler. What can't be found out is 503: neither
// "no", which people would look into RBAC for, nor "yes".
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), metricsAuthTimeout)
	defer cancel()
	user, err := g.authenticate(ctx, r.Header.Get("Authorization"))
	if err == nil && user == nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "a token that the API server accepts is needed", http.StatusUnauthorized)
		return
	}
	allowed := false
	if err == nil {
		allowed, err = g.authorize(ctx, user)
	}
	switch {
	case err != nil:
		if omitted, ok := g.throttle.allow(time.Now()); ok {
			g.log.Error(err, "It can't be found out who may read metrics", "omittedBefore", omitted)
		}
		http.Error(w, "who may read metrics can't be found out now", http.StatusServiceUnavailable)
	case !allowed:
		http.Error(w, "the account of this token may not get the non-resource URL "+metricsPath, http.StatusForbidden)
	default:
		g.next.ServeHTTP(w, r)
	}
}

// authenticate returns whose token it is, or nil.
func (g *guard) authenticate(ctx context.Context, header string) (*authenticationv1.UserInfo, error) {
	scheme, token, _ := strings.Cut(header, " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, nil
	}
	review, err := g.client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("TokenReview: %w", err)
	}
	if !review.Status.Authenticated {
		return nil, nil
	}
	return &review.Status.User, nil
}

func (g *guard) authorize(ctx context.Context, user *authenticationv1.UserInfo) (bool, error) {
	review, err := g.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, Groups: user.Groups, UID: user.UID, Extra: extraOf(user),
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: metricsPath, Verb: "get"},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("SubjectAccessReview: %w", err)
	}
	return review.Status.Allowed, nil
}
