package servingcert

import (
	"crypto/x509"
	"net"
	"slices"
	"testing"
	"time"
)

const day = 24 * time.Hour

// noon is the time at which all tests begin.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func testRules(hosts ...string) rules {
	if len(hosts) == 0 {
		hosts = []string{"tokenward.ns.svc", "127.0.0.1"}
	}
	return rules{hosts: hosts, lifetime: 90 * day, authorityFor: 360 * day}
}

func everything(*x509.Certificate) bool { return true }
func nothing(*x509.Certificate) bool    { return false }

// advanced is advance, which must not fail, and must come to rest at once.
func advanced(t *testing.T, r rules, s state, now time.Time, published func(*x509.Certificate) bool) state {
	t.Helper()
	next, err := r.advance(s, now, published)
	if err != nil {
		t.Fatal(err)
	}
	if i := next.issuer(next.serving, now); i < 0 {
		t.Fatal("nothing vouches for the serving certificate")
	}
	again, err := r.advance(next, now, published)
	if err != nil {
		t.Fatal(err)
	}
	if !hasData(encoded(t, again), encoded(t, next)) {
		t.Fatal("a second look at the same time changes something")
	}
	return next
}

func encoded(t *testing.T, s state) map[string][]byte {
	t.Helper()
	data, err := s.data()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (s state) keys() int {
	n := 0
	for _, a := range s.authorities {
		if a.key != nil {
			n++
		}
	}
	return n
}

func TestTheFirstCertificateIsForAllHosts(t *testing.T) {
	r := testRules("tokenward", "tokenward.ns.svc", "127.0.0.1", "::1")
	s := advanced(t, r, state{}, noon, nothing)
	for _, h := range r.hosts {
		if err := s.serving.Leaf.VerifyHostname(h); err != nil {
			t.Error(err)
		}
	}
	if len(s.authorities) != 1 || s.keys() != 1 {
		t.Errorf("%d authorities, %d keys", len(s.authorities), s.keys())
	}
	if got := s.serving.Leaf.NotAfter; !got.Equal(noon.Add(90 * day)) {
		t.Errorf("it ends %s", got)
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	r := testRules()
	s := advanced(t, r, state{}, noon, nothing)
	s = advanced(t, r, s, noon.Add(250*day), nothing) // two authorities, two keys
	data := encoded(t, s)
	if got := encoded(t, parse(data)); !hasData(got, data) || len(got) != len(data) {
		t.Error("another state is read than was written")
	}
	for key, value := range data {
		if len(value) == 0 {
			t.Errorf("%s is empty", key)
		}
	}
}

// The life of an authority, step by step.
func TestASuccessorIsTrustedBeforeItSignsAndThePredecessorUntilItEnds(t *testing.T) {
	r := testRules()
	s := advanced(t, r, state{}, noon, everything)
	old := s.authorities[0].cert
	serving := s.serving
	for _, stage := range []struct {
		name        string
		after       time.Duration
		published   func(*x509.Certificate) bool
		authorities int
		keys        int
		oldIssues   bool
		renewed     bool
	}{
		{"nothing is due", 59 * day, everything, 1, 1, true, false},
		{"the certificate is renewed", 61 * day, everything, 1, 1, true, true},
		{"and again", 122 * day, everything, 1, 1, true, true},
		{"and again", 183 * day, everything, 1, 1, true, true},
		{"the successor is made, but not trusted yet", 241 * day, nothing, 2, 2, true, false},
		{"the certificate is renewed by the old one meanwhile", 244 * day, nothing, 2, 2, true, true},
		{"the successor is trusted and issues; it alone has a key", 245 * day, everything, 2, 1, false, true},
		{"a replica that has not seen that changes nothing", 246 * day, nothing, 2, 1, false, false},
		{"a replica that has seen only the old one changes nothing", 247 * day, old.Equal, 2, 1, false, false},
		{"the old one is trusted to its end", 359 * day, everything, 2, 1, false, true},
		{"and then no more", 361 * day, everything, 1, 1, false, false},
	} {
		now := noon.Add(stage.after)
		s = advanced(t, r, s, now, stage.published)
		if len(s.authorities) != stage.authorities || s.keys() != stage.keys {
			t.Fatalf("%s: %d authorities, %d keys", stage.name, len(s.authorities), s.keys())
		}
		if issues := s.serving.Leaf.CheckSignatureFrom(old) == nil; issues != stage.oldIssues {
			t.Fatalf("%s: issued by the old one: %t", stage.name, issues)
		}
		if renewed := s.serving != serving; renewed != stage.renewed {
			t.Fatalf("%s: renewed: %t", stage.name, renewed)
		}
		serving = s.serving
		if ca := s.authorities[s.issuer(serving, now)].cert; serving.Leaf.NotAfter.After(ca.NotAfter) {
			t.Fatalf("%s: the certificate outlives its authority", stage.name)
		}
	}
}

func TestASuccessorThatNobodyCouldSeeServesWhenTheOldOneHasEnded(t *testing.T) {
	r := testRules()
	s := advanced(t, r, state{}, noon, nothing)
	old := s.authorities[0].cert
	s = advanced(t, r, s, noon.Add(300*day), nothing)
	if s.serving.Leaf.CheckSignatureFrom(old) != nil || !s.serving.Leaf.NotAfter.Equal(old.NotAfter) {
		t.Error("the old one does not issue to its end")
	}
	s = advanced(t, r, s, noon.Add(361*day), nothing)
	if s.serving.Leaf.CheckSignatureFrom(old) == nil {
		t.Error("an authority that has ended issues")
	}
}

func TestWhatIsDamagedIsMadeAnew(t *testing.T) {
	r := testRules()
	good := encoded(t, advanced(t, r, state{}, noon, everything))
	other := encoded(t, advanced(t, r, state{}, noon, everything))
	foreign, err := NewSelfSigned(r.hosts, noon)
	if err != nil {
		t.Fatal(err)
	}
	leaf := certificatePEM(foreign.cert.Load().Leaf.Raw)
	for _, c := range []struct {
		name   string
		change func(map[string][]byte)
		// servesOn: the certificate in the Secret stays, as long as what would take
		// its place is not trusted.
		servesOn bool
		trustsOn bool
	}{
		{"nothing at all", func(d map[string][]byte) { clear(d) }, false, false},
		{"no PEM", func(d map[string][]byte) { d[bundleKey] = []byte("?") }, false, false},
		{"PEM that is no certificate", func(d map[string][]byte) {
			d[bundleKey] = slices.Concat([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), d[bundleKey])
		}, true, true},
		{"a certificate that is no authority", func(d map[string][]byte) { d[bundleKey] = slices.Concat(leaf, d[bundleKey]) }, true, true},
		{"no key of the authority", func(d map[string][]byte) { delete(d, signerKey) }, true, true},
		{"another authority's key", func(d map[string][]byte) { d[signerKey] = other[signerKey] }, true, true},
		{"no certificate", func(d map[string][]byte) { delete(d, servingCert) }, false, true},
		{"another certificate's key", func(d map[string][]byte) { d[servingKey] = other[servingKey] }, false, true},
		{"another authority's certificate", func(d map[string][]byte) {
			d[servingCert], d[servingKey] = other[servingCert], other[servingKey]
		}, false, true},
		{"all of another", func(d map[string][]byte) {
			for key := range d {
				d[key] = other[key]
			}
		}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := map[string][]byte{}
			for key, value := range good {
				data[key] = value
			}
			c.change(data)
			was := parse(good)
			s := advanced(t, r, parse(data), noon.Add(time.Hour), nothing)
			if servesOn := s.serving.Leaf.Equal(was.serving.Leaf); servesOn != c.servesOn {
				t.Errorf("the certificate stays: %t", servesOn)
			}
			trustsOn := slices.ContainsFunc(s.authorities, func(a authority) bool { return a.cert.Equal(was.authorities[0].cert) })
			if trustsOn != c.trustsOn {
				t.Errorf("the authority stays: %t", trustsOn)
			}
			if s.keys() == 0 {
				t.Error("nothing can sign")
			}
			// A replica that remembers puts all back.
			s = advanced(t, r, parse(data).merge(was), noon.Add(time.Hour), nothing)
			if i := s.issuer(was.serving, noon.Add(time.Hour)); i < 0 {
				t.Error("what is served is trusted no more")
			}
		})
	}
}

func TestHostsThatChangeAreAllServedUntilTheNextRenewal(t *testing.T) {
	before, after := testRules("old.ns.svc", "10.0.0.1"), testRules("new.ns.svc")
	s := advanced(t, before, state{}, noon, everything)
	s = advanced(t, after, s, noon.Add(day), everything)
	if !before.covers(s.serving.Leaf) || !after.covers(s.serving.Leaf) {
		t.Error("not good for both")
	}
	mixed := s.serving
	if s = advanced(t, before, s, noon.Add(2*day), everything); s.serving != mixed {
		t.Error("a replica with the old flags changes it back")
	}
	s = advanced(t, after, s, noon.Add(80*day), everything)
	if before.covers(s.serving.Leaf) || !slices.Equal(s.serving.Leaf.DNSNames, after.hosts) || slices.ContainsFunc(s.serving.Leaf.IPAddresses, func(net.IP) bool { return true }) {
		t.Error("the old names stay for good")
	}
}

func TestAShorterLifetimeTakesEffectOnWhatThereIs(t *testing.T) {
	s := advanced(t, testRules(), state{}, noon, everything)
	short := testRules()
	short.lifetime = 9 * day
	if next := advanced(t, short, s, noon.Add(5*day), everything); next.serving != s.serving {
		t.Error("renewed too early")
	}
	if next := advanced(t, short, s, noon.Add(7*day), everything); next.serving == s.serving {
		t.Error("not renewed")
	}
}

func TestWhatAClockFarAheadHasMadeIsNotServedYet(t *testing.T) {
	r := testRules()
	s := advanced(t, r, state{}, noon.Add(3*day), everything) // made by the clock that is ahead
	s = advanced(t, r, s, noon, everything)                   // seen by one that is right
	if err := s.serving.Leaf.VerifyHostname("127.0.0.1"); err != nil || noon.Before(s.serving.Leaf.NotBefore) {
		t.Error("there is nothing to serve with")
	}
}
