package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"

	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/rest"
)

func (w *walk) address(context.Context) Step {
	if w.config.Host == "" {
		return failed("nobody says where the API server is", "In a pod KUBERNETES_SERVICE_HOST says so; elsewhere give --server or a kubeconfig.")
	}
	base, _, err := rest.DefaultServerUrlFor(w.config)
	if err != nil {
		return failed("the address is not understood", "It should be like https://kubernetes.default.svc")
	}
	if base.Scheme != "https" {
		return failed("the address is not https, so that a token would be readable on its way", "It should be like https://kubernetes.default.svc")
	}
	w.host, w.port = base.Hostname(), portOf(base)
	return ok(base.Scheme + "://" + base.Host)
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return "443"
}

func (w *walk) resolve(ctx context.Context) Step {
	if _, err := netip.ParseAddr(w.host); err == nil {
		w.addresses = []string{w.host}
		return ok(w.host + " is an address: no name to resolve")
	}
	ctx, cancel := context.WithTimeout(ctx, w.Patience)
	defer cancel()
	addresses, err := w.Resolve(ctx, w.host)
	if err != nil || len(addresses) == 0 {
		cure := "Ask the name server yourself (nslookup " + w.host + "); look at /etc/resolv.conf."
		if strings.Contains(w.host, ".svc") {
			cure = "The cluster's DNS does not answer, or a NetworkPolicy keeps this pod from it: look at the pods of kube-dns in kube-system. The address in KUBERNETES_SERVICE_HOST works without DNS."
		}
		return failed(w.host+" is not resolved: "+why(err), cure)
	}
	w.addresses = addresses
	return ok(w.host + " is " + strings.Join(addresses, ", "))
}

func (w *walk) tcp(ctx context.Context) Step {
	var last error
	for _, a := range w.addresses {
		err := w.dial(ctx, net.JoinHostPort(a, w.port), func(net.Conn) error { return nil })
		if err == nil {
			return ok("connected to " + net.JoinHostPort(a, w.port))
		}
		last = err
	}
	where := net.JoinHostPort(strings.Join(w.addresses, ", "), w.port)
	switch {
	case errors.Is(last, syscall.ECONNREFUSED):
		return failed(where+" refuses connections", "Nothing listens there: the API server is down, or port or address are wrong.")
	case timedOut(last):
		return failed(where+" does not answer", "A firewall or a NetworkPolicy drops the packets, or there is no way to that address.")
	}
	return failed("no connection to "+where+": "+cause(last), "Look at routes, firewalls and NetworkPolicies between here and there.")
}

func (w *walk) dial(ctx context.Context, address string, use func(net.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, w.Patience)
	defer cancel()
	conn, err := w.Dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	return use(conn)
}

// tls shakes hands, with whatever certificate the server shows, and then
// verifies it, so that it can be told what it is.
func (w *walk) tls(ctx context.Context) Step {
	name := w.config.ServerName
	if name == "" {
		name = w.host
	}
	var chain []*x509.Certificate
	err := w.dial(ctx, net.JoinHostPort(w.addresses[0], w.port), func(conn net.Conn) error {
		client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: name, MinVersion: tls.VersionTLS12}) //nolint:gosec // verified below
		if err := client.HandshakeContext(ctx); err != nil {
			return err
		}
		chain = client.ConnectionState().PeerCertificates
		return nil
	})
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &record):
		return failed("what answers does not speak TLS", "Another program listens there: check address and port.")
	case timedOut(err):
		return failed("connected, but nobody answers", "The API server hangs, or a load balancer before it has none behind it.")
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return failed("connected, but the other side hangs up", "A load balancer without an API server behind it, or a firewall.")
	case err != nil:
		return failed("no TLS: "+cause(err), "Check address and port.")
	case w.config.Insecure:
		return note("the certificate is not verified", "Whoever is on the way can take the token.")
	}
	return w.verify(chain, name)
}

func (w *walk) verify(chain []*x509.Certificate, name string) Step {
	leaf := chain[0]
	options := x509.VerifyOptions{DNSName: name, CurrentTime: w.Now(), Intermediates: x509.NewCertPool()}
	if len(w.bundle) > 0 {
		options.Roots = x509.NewCertPool()
		options.Roots.AppendCertsFromPEM(w.bundle)
	}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(options)
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return ok("the certificate is good, by the CA " + quoted(leaf.Issuer) + ", for " + duration.HumanDuration(leaf.NotAfter.Sub(w.Now())))
	case errors.As(err, &unknown):
		return failed("the server's certificate is by the CA "+quoted(leaf.Issuer)+", and not by the one that is trusted here",
			"The CA of the cluster was changed, or this is another server. In a pod: the ConfigMap kube-root-ca.crt has the CA of today; where a token Secret is mounted, its ca.crt is old.")
	case errors.As(err, &hostname):
		return failed("the server's certificate is not for "+name+", but for "+sans(leaf), "Call it by one of these names, or have the certificate made anew.")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return failed(expired(chain, w), "Renew the certificate of the API server, or set the clock of this machine right.")
	}
	return failed("the server's certificate is not good: "+cause(err), "")
}

// expired tells which certificate is at fault, the server's or the CA's.
func expired(chain []*x509.Certificate, w *walk) string {
	now, leaf := w.Now(), chain[0]
	switch {
	case now.After(leaf.NotAfter):
		return "the server's certificate expired " + duration.HumanDuration(now.Sub(leaf.NotAfter)) + " ago"
	case now.Before(leaf.NotBefore):
		return "the server's certificate is not valid yet, for " + duration.HumanDuration(leaf.NotBefore.Sub(now))
	}
	return "a CA of the server's certificate has expired"
}

func sans(c *x509.Certificate) string {
	const most = 6
	var names []string
	for _, n := range c.DNSNames {
		names = append(names, fmt.Sprintf("%.100q", n))
	}
	for _, a := range c.IPAddresses {
		names = append(names, a.String())
	}
	if len(names) > most {
		names = append(names[:most], "and others")
	}
	return strings.Join(names, ", ")
}

func timedOut(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// why is what a resolver says, without the name, which is told already.
func why(err error) string {
	var dns *net.DNSError
	switch {
	case err == nil:
		return "no address"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "there is no such name"
	case timedOut(err):
		return "no name server answers"
	}
	return cause(err)
}
