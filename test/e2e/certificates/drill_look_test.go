package certificates

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tokenward.dev/tokenward/test/cluster"
	"tokenward.dev/tokenward/test/e2e/harness"
)

func eventually(t *testing.T, limit time.Duration, condition func() error) {
	t.Helper()
	if err := cluster.Eventually(t.Context(), limit, func(context.Context) error { return condition() }); err != nil {
		t.Fatal(err)
	}
}

// setBundles does what somebody's hand, or tool, may do.
func (d *drill) setBundles(t *testing.T, bundle []byte) {
	t.Helper()
	patch, err := json.Marshal([]map[string]any{{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}})
	if err != nil {
		t.Fatal(err)
	}
	api := d.Client.AdmissionregistrationV1()
	_, v := api.ValidatingWebhookConfigurations().Patch(t.Context(), d.Name, types.JSONPatchType, patch, metav1.PatchOptions{})
	_, m := api.MutatingWebhookConfigurations().Patch(t.Context(), d.Name, types.JSONPatchType, patch, metav1.PatchOptions{})
	if err := errors.Join(v, m); err != nil {
		t.Fatal(err)
	}
}

// authorities are those that the API server is told to trust.
func (d *drill) authorities(t *testing.T) []*x509.Certificate {
	t.Helper()
	bundles, err := d.Bundles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return certificates(t, bundles[0])
}

func certificates(t *testing.T, text []byte) []*x509.Certificate {
	t.Helper()
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, cert)
	}
	return all
}

// served is the certificate that a replica serves with.
func (d *drill) served(t *testing.T, s *harness.Server) *x509.Certificate {
	t.Helper()
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(s.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// shakeHands goes on opening connections until the test ends, since the API
// server keeps the few that it has. Each must be trusted by caBundle as it was
// before or after.
func (d *drill) shakeHands(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	n, failed := 0, 0
	group.Go(func() {
		for ctx.Err() == nil {
			bundles, err := d.Bundles(ctx)
			if err != nil {
				continue
			}
			n++
			err = d.handshake(ctx, bundles[0])
			if err != nil && ctx.Err() == nil {
				if again, _ := d.Bundles(ctx); len(again) > 0 && bytes.Equal(again[0], bundles[0]) {
					failed++
					t.Errorf("a connection that is not trusted: %v", err)
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	t.Cleanup(func() {
		stop()
		group.Wait()
		t.Logf("%d connections, %d not trusted", n, failed)
		if n < 100 {
			t.Error("too few connections to show anything")
		}
	})
}

func (d *drill) handshake(ctx context.Context, bundle []byte) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle)
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: d.Name + "." + d.Namespace + ".svc"}}
	conn, err := dialer.DialContext(ctx, "tcp", d.balancer.address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// leader waits until a replica leads, and returns it.
func (d *drill) leader(t *testing.T) *harness.Server {
	t.Helper()
	var found *harness.Server
	eventually(t, harness.Patience, func() error {
		for _, s := range d.Replicas {
			if strings.Contains(s.Log.String(), `"Leading"`) {
				found = s
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return found
}
