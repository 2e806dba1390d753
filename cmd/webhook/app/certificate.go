package app

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"tokenward.dev/tokenward/pkg/servingcert"
)

// namespaceFile names the namespace that a pod runs in.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// podNamespace is where the objects are that Tokenward keeps for itself.
func (o *Options) podNamespace() (string, error) {
	if o.PodNamespace != "" {
		return o.PodNamespace, nil
	}
	text, err := os.ReadFile(namespaceFile)
	if err != nil {
		return "", fmt.Errorf("not in a cluster: give --pod-namespace (%w)", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// validateCertificate reports every flag about the serving certificate that
// can't be used.
func (o *Options) validateCertificate(fail func(flag, format string, args ...any)) {
	for _, f := range []struct {
		flag, value string
		problems    func(string) []string
	}{
		{"pod-namespace", o.PodNamespace, validation.IsDNS1123Label},
		{"service-name", o.ServiceName, validation.IsDNS1035Label},
		{"serving-secret", o.ServingSecret, validation.IsDNS1123Subdomain},
		{"webhook-configuration", o.WebhookConfiguration, validation.IsDNS1123Subdomain},
	} {
		if f.flag == "pod-namespace" && f.value == "" {
			continue // that of the pod
		}
		if problems := f.problems(f.value); len(problems) > 0 {
			fail(f.flag, "%q: %s", f.value, problems[0])
		}
	}
	if o.ServingCertLifetime < minLifetime {
		fail("serving-cert-lifetime", "%s is less than %s", o.ServingCertLifetime, minLifetime)
	}
	switch {
	case o.SelfSigned && o.ClusterState == "" && o.CertDir != "":
		fail("cert-dir", "is not used with --self-signed in a cluster: give one of the two")
	case !o.SelfSigned && o.CertDir == "":
		fail("cert-dir", "give a directory with tls.crt and tls.key, or --self-signed")
	}
}

// minLifetime leaves a replica some seconds to renew a certificate in.
const minLifetime = 10 * time.Second

func (s *Server) useCertificate() error {
	switch {
	case s.options.SelfSigned && s.config != nil:
		return s.useShared()
	case s.options.SelfSigned:
		return s.useOwn()
	}
	watcher, err := certwatcher.New(filepath.Join(s.options.CertDir, "tls.crt"), filepath.Join(s.options.CertDir, "tls.key"))
	if err != nil {
		return fmt.Errorf("--cert-dir: %w", err)
	}
	s.getCert = watcher.GetCertificate
	s.parts = append(s.parts, watcher.Start)
	return nil
}

// useOwn serves with a certificate that is kept in memory: the embedded mode.
func (s *Server) useOwn() error {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if h := s.options.WebhookHost; h != "" {
		hosts = append(hosts, h)
	}
	own, err := servingcert.NewSelfSigned(hosts, time.Now())
	if err != nil {
		return err
	}
	if dir := s.options.CertDir; dir != "" {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "ca.crt"), own.CA(), 0o644)); err != nil {
			return fmt.Errorf("--cert-dir: %w", err)
		}
	}
	s.getCert = own.GetCertificate
	s.parts = append(s.parts, own.Start)
	return nil
}

// useShared serves with the certificate in the Secret that the replicas share.
func (s *Server) useShared() error {
	namespace, err := s.options.podNamespace()
	if err != nil {
		return fmt.Errorf("--self-signed: %w", err)
	}
	name := s.options.ServiceName
	hosts := []string{name, name + "." + namespace, name + "." + namespace + ".svc", name + "." + namespace + ".svc.cluster.local"}
	if h := s.options.WebhookHost; h != "" {
		hosts = append(hosts, h)
	}
	shared, err := servingcert.NewShared(rest.CopyConfig(s.config), servingcert.SharedOptions{
		Namespace: namespace, Secret: s.options.ServingSecret, Configuration: s.options.WebhookConfiguration,
		Hosts: hosts, Lifetime: s.options.ServingCertLifetime, Mended: s.metrics.CABundleMended.Inc,
	}, s.log.WithName("certificate"))
	if err != nil {
		return err
	}
	s.getCert, s.trusted = shared.GetCertificate, shared.Ready
	s.authority = shared.CA
	// It goes on for as long as the server serves.
	s.parts = append(s.parts, patient(shared.Start))
	return nil
}

// certificateReady reports what is wrong with the serving certificate, or nil.
func (s *Server) certificateReady(now time.Time) error {
	cert, err := s.getCert(nil)
	if err != nil || cert == nil || cert.Leaf == nil {
		return errors.New("no serving certificate")
	}
	if now.After(cert.Leaf.NotAfter) || now.Before(cert.Leaf.NotBefore) {
		return fmt.Errorf("the serving certificate is good only from %s to %s", cert.Leaf.NotBefore, cert.Leaf.NotAfter)
	}
	if s.trusted != nil {
		return s.trusted()
	}
	return nil
}

// measureCertificate brings the metrics of the certificate up to date.
func (s *Server) measureCertificate() {
	if cert, err := s.getCert(nil); err == nil && cert != nil && cert.Leaf != nil {
		s.metrics.CertificateNotAfter.Set(float64(cert.Leaf.NotAfter.Unix()))
	}
	if s.authority == nil {
		return
	}
	if ca := s.authority(); ca != nil {
		s.metrics.CANotAfter.Set(float64(ca.NotAfter.Unix()))
	}
}

// draining asks clients to go elsewhere while the server shuts down. HTTP/1.1
// connections end after the answer, HTTP/2 gets GOAWAY: so few or none are idle
// when the listener closes, and no request meets a connection that just ends.
func (s *Server) draining(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
