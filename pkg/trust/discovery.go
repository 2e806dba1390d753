package trust

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"tokenward.dev/tokenward/pkg/token"
)

const (
	discoveryPath = "/.well-known/openid-configuration"
	// keysPath is read last.
	keysPath = "/openid/v1/jwks"
)

// discovery reads what an API server publishes, over a connection of its own each
// time: behind a load balancer one that is kept would show the keys of one API
// server only, and two would show one API server's keys and another's issuer. It
// is for one goroutine at a time.
type discovery struct {
	client    rest.Interface
	presented []*x509.Certificate // by the last answer
}

// published is what an API server publishes and shows.
type published struct {
	keys   []token.Key
	issuer string
	// chain is the certificate that it presented, also where it published nothing.
	chain []*x509.Certificate
}

func newDiscovery(config *rest.Config) (*discovery, error) {
	d := &discovery{}
	config = rest.CopyConfig(config)
	config.Dial = (&net.Dialer{Timeout: refreshTimeout}).DialContext // a transport that nobody shares
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return roundTripper{next, d} })
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	d.client = client.Discovery().RESTClient()
	return d, nil
}

// roundTripper uses a connection for one look alone, and notes whose certificate
// it shows.
type roundTripper struct {
	next http.RoundTripper
	d    *discovery
}

// RoundTrip implements http.RoundTripper.
func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Close = request.URL.Path == keysPath
	response, err := r.next.RoundTrip(request)
	if err == nil && response.TLS != nil {
		r.d.presented = response.TLS.PeerCertificates
	}
	return response, err
}

// look reads keys and issuer. An API server whose issuer is not https publishes
// neither.
func (d *discovery) look(ctx context.Context) (published, error) {
	d.presented = nil
	var p published
	err := d.read(ctx, &p)
	p.chain = d.presented
	return p, err
}

func (d *discovery) read(ctx context.Context, p *published) error {
	raw, err := d.client.Get().AbsPath(discoveryPath).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", discoveryPath, err)
	}
	var configuration struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(raw, &configuration); err != nil {
		return fmt.Errorf("%s: %w", discoveryPath, err)
	}
	raw, err = d.client.Get().AbsPath(keysPath).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", keysPath, err)
	}
	keys, err := token.ParseKeys(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", keysPath, err)
	}
	if len(keys) == 0 {
		return errors.New(keysPath + ": no keys")
	}
	p.keys, p.issuer = keys, configuration.Issuer
	return nil
}
