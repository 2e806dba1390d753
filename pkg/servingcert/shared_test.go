package servingcert

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"strings"
	"testing"
	"time"
)

// trustsServed fails the test unless a bundle vouches for what a replica serves.
func trustsServed(t *testing.T, r *fakeReplica, bundle []byte, now time.Time) {
	t.Helper()
	cert, err := r.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle)
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "tokenward.ns.svc", CurrentTime: now}); err != nil {
		t.Fatalf("%s: %v", now.Sub(noon), err)
	}
}

func TestNothingIsDoneBeforeTheSecretWasLookedAt(t *testing.T) {
	now, api := noon, newFakeAPI()
	api.register(2)
	r := api.replica(&now, 90*day)
	r.seeConfiguration()
	r.act(t)
	if api.secret != nil || len(api.bundle()) > 0 {
		t.Error("something was written")
	}
	if _, err := r.GetCertificate(nil); err == nil {
		t.Error("there is a certificate")
	}
	if err := r.Ready(); err == nil || r.CA() != nil {
		t.Errorf("ready: %v", err)
	}
}

func TestTwoReplicasThatBothSeeAnEmptySecretAgree(t *testing.T) {
	now, api := noon, newFakeAPI()
	api.register(3)
	api.makeSecret(now)
	a, b := api.replica(&now, 90*day), api.replica(&now, 90*day)
	a.see()
	b.see()
	a.act(t)
	b.act(t) // update: a conflict
	if !a.CA().Equal(b.CA()) {
		t.Fatal("two authorities")
	}
	for _, r := range []*fakeReplica{a, b} {
		r.seeConfiguration()
		r.act(t)
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
		trustsServed(t, r, api.bundle(), now)
	}
	for _, w := range api.config.Webhooks {
		if !bytes.Equal(w.ClientConfig.CABundle, api.secret.Data[bundleKey]) {
			t.Errorf("caBundle of %s is not the Secret's", w.Name)
		}
	}
	if api.calls["patched configuration"] != 1 {
		t.Errorf("patched %d times", api.calls["patched configuration"])
	}
}

func TestAReplicaIsReadyOnceItIsTrustedAndStaysSo(t *testing.T) {
	now, api := noon, newFakeAPI()
	api.makeSecret(now)
	r := api.replica(&now, 90*day)
	r.see()
	api.register(1) // it has not been seen, and does not keep anything up
	r.act(t)
	if err := r.Ready(); err != nil {
		t.Errorf("no webhook configuration: %v", err)
	}
	r = api.replica(&now, 90*day)
	r.see()
	api.fail = func(verb, _ string) error {
		if verb == "patch" {
			return errors.New("no patch")
		}
		return nil
	}
	if err := r.step(context.Background()); err == nil || !strings.Contains(err.Error(), "no patch") {
		t.Errorf("step: %v", err)
	}
	if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "caBundle") {
		t.Errorf("caBundle is empty: %v", err)
	}
	api.fail = nil
	r.act(t)
	if err := r.Ready(); err != nil {
		t.Error(err)
	}
	api.setBundle(nil)
	r.seeConfiguration()
	api.fail = func(string, string) error { return errors.New("down") }
	_ = r.step(context.Background())
	if err := r.Ready(); err != nil {
		t.Errorf("an emptied caBundle takes replicas away: %v", err)
	}
}

// Without the right to create Secrets a replica goes on with what it remembers, and
// puts it back once the Secret is there again.
func TestAReplicaOutlivesItsSecret(t *testing.T) {
	now, api := noon, newFakeAPI()
	api.register(1)
	api.makeSecret(now)
	r := api.replica(&now, 90*day)
	r.see()
	r.act(t)
	was, data := r.CA(), api.secret.Data
	api.secret = nil
	r.see()
	for range 3 { // its certificate is renewed meanwhile
		now = now.Add(40 * day)
		if err := r.step(context.Background()); !errors.Is(err, errNoSecret) {
			t.Fatalf("got %v", err)
		}
		trustsServed(t, r, api.bundle(), now)
	}
	if !r.CA().Equal(was) || r.Ready() != nil {
		t.Errorf("another CA, or not ready: %v", r.Ready())
	}
	api.makeSecret(now)
	r.see()
	r.act(t)
	if !bytes.Equal(api.secret.Data[bundleKey], data[bundleKey]) || !bytes.Equal(api.secret.Data[signerKey], data[signerKey]) {
		t.Error("the CA was not put back")
	}
	trustsServed(t, r, api.bundle(), now)
}

// Replicas that start without the Secret have an authority each. None takes that of
// another out of caBundle, and each is ready when all API servers know its own.
func TestReplicasThatStartWithoutASecretTrustEachOther(t *testing.T) {
	now, api := noon, newFakeAPI()
	api.register(2)
	api.setBundle(foreignBundle(t))
	replicas := []*fakeReplica{api.replica(&now, 90*day), api.replica(&now, 90*day), api.replica(&now, 90*day)}
	together := func(times int, want error) {
		t.Helper()
		for range times {
			for _, r := range replicas {
				r.see()
				if err := r.step(context.Background()); !errors.Is(err, want) {
					t.Fatalf("got %v", err)
				}
			}
		}
		for _, r := range replicas {
			trustsServed(t, r, api.bundle(), now)
		}
	}
	together(2, errNoSecret)
	if n := len(blocks(api.bundle(), "CERTIFICATE")); n != 3 {
		t.Errorf("%d authorities in caBundle, want those of three replicas", n)
	}
	if replicas[0].Ready() == nil {
		t.Error("ready before all API servers can know its authority")
	}
	now = now.Add(time.Minute)
	together(1, errNoSecret)
	for _, r := range replicas {
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
	}
	api.makeSecret(now)
	replicas[0].see()
	replicas[0].act(t)
	for _, r := range replicas {
		trustsServed(t, r, api.bundle(), now)
	}
	together(3, nil)
	for range 2 {
		now = now.Add(20 * time.Minute)
		together(3, nil)
	}
	if !bytes.Equal(api.bundle(), api.secret.Data[bundleKey]) {
		t.Error("caBundle is not the Secret's")
	}
	for _, r := range replicas[1:] {
		if !r.CA().Equal(replicas[0].CA()) {
			t.Error("the replicas do not come to one authority")
		}
	}
}

// A replica that crashes again and again without a Secret does not fill caBundle.
func TestWhatReplicasWithoutASecretLeaveInCABundleIsBounded(t *testing.T) {
	now, api := noon, newFakeAPI()
	api.register(1)
	for range 2 * maxGathered {
		r := api.replica(&now, 90*day)
		r.see()
		_ = r.step(context.Background())
		trustsServed(t, r, api.bundle(), now)
		now = now.Add(time.Second)
	}
	if n := len(blocks(api.bundle(), "CERTIFICATE")); n != maxGathered+1 {
		t.Errorf("%d authorities", n)
	}
}

// foreignBundle is a CA of somebody else's.
func foreignBundle(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: "else"}, NotAfter: noon.Add(day), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return certificatePEM(der)
}

// A replica that is behind must not take away what another one has just added.
func TestAReplicaThatIsBehindAddsAndTakesNothingAway(t *testing.T) {
	now, api := noon, newFakeAPI()
	api.makeSecret(now)
	api.register(1)
	a, b := api.replica(&now, 90*day), api.replica(&now, 90*day)
	for _, r := range []*fakeReplica{a, b, a, b} {
		r.see()
		r.act(t)
	}
	now = now.Add(250 * day)
	a.see()
	a.act(t) // a successor, beside the old one
	want := api.bundle()
	if n := len(blocks(want, "CERTIFICATE")); n != 2 {
		t.Fatalf("%d authorities", n)
	}
	b.seeConfiguration() // but not the Secret
	now = noon           // for it nothing is due
	b.act(t)
	if !bytes.Equal(api.bundle(), want) {
		t.Error("the successor is gone from caBundle")
	}
}

// What was seen before is of a later version, and no more.
func TestAfterARestoreOfEtcdTheSecretIsWhatTheAPIServerHas(t *testing.T) {
	now, api := noon, newFakeAPI()
	api.makeSecret(now)
	api.register(1)
	a, b := api.replica(&now, 90*day), api.replica(&now, 90*day)
	for _, r := range []*fakeReplica{a, b, a, b} {
		r.see()
		r.act(t)
	}
	backup := api.secret.DeepCopy()
	for range 50 {
		api.secret.ResourceVersion = api.next()
	}
	a.see()
	a.act(t)

	api.secret = backup
	a.see()
	a.act(t)
	if got := a.secret.ResourceVersion; got != backup.ResourceVersion {
		t.Errorf("version %s stays known, want %s", got, backup.ResourceVersion)
	}
	api.secret = api.secret.DeepCopy() // another replica writes
	api.secret.ResourceVersion += "0"
	api.secret.Annotations = map[string]string{"written": "after"}
	a.see()
	a.act(t)
	if a.secret.Annotations["written"] == "" {
		t.Error("what is written after the restore is not seen")
	}
	reads := api.calls["get secret"]
	a.see()
	a.act(t)
	if api.calls["get secret"] != reads {
		t.Error("the Secret is read again though nothing has gone back")
	}
}

// Someone puts another whole Secret in place, with an authority that the API
// server has never heard of: it has to be heard of first.
func TestAnotherAuthorityIsServedOnlyOnceItIsTrusted(t *testing.T) {
	now, api := noon, newFakeAPI()
	api.makeSecret(now)
	api.register(1)
	r := api.replica(&now, 90*day)
	r.see()
	r.act(t)
	own := r.CA()
	now = now.Add(day)
	other := encoded(t, advanced(t, r.rules, state{}, now, nothing))
	api.secret.Data, api.secret.ResourceVersion = other, api.next()
	r.seeSecret()
	r.act(t)
	if !r.CA().Equal(own) {
		t.Fatal("served before any API server can trust it")
	}
	if n := len(blocks(api.bundle(), "CERTIFICATE")); n != 2 {
		t.Errorf("%d authorities in caBundle", n)
	}
	trustsServed(t, r, api.bundle(), now)
	now = now.Add(r.settle)
	r.act(t) // it has been seen now
	now = now.Add(r.settle)
	r.act(t)
	if r.CA().Equal(own) {
		t.Error("not served when it is trusted")
	}
	trustsServed(t, r, api.bundle(), now)
}
