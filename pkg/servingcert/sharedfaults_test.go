package servingcert

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestErrorsOfTheAPIServerCostNoCertificate(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(verb, kind string) error
	}{
		{"down", func(string, string) error { return errors.New("connection refused") }},
		{"forbidden to update", func(verb, _ string) error {
			if verb == "update" {
				return apierrors.NewForbidden(secretResource, "s", errors.New("no"))
			}
			return nil
		}},
		{"always a conflict", func(verb, _ string) error {
			if verb == "update" {
				return apierrors.NewConflict(secretResource, "s", errors.New("changed"))
			}
			return nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			now, api := noon, newFakeAPI()
			api.makeSecret(now)
			api.register(1)
			r := api.replica(&now, 90*day)
			r.see()
			r.act(t)
			now = now.Add(61 * day)
			before := api.secret.DeepCopy()
			api.fail = c.fail
			_ = r.step(context.Background())
			trustsServed(t, r, api.bundle(), now)
			if !hasData(api.secret.Data, before.Data) {
				t.Error("written all the same")
			}
			// A replica that starts now serves what there is.
			api.fail = nil
			other := api.replica(&now, 90*day)
			other.see()
			api.fail = c.fail
			_ = other.step(context.Background())
			if c.name != "always a conflict" {
				trustsServed(t, other, api.bundle(), now)
			}
			api.fail = nil
			r.see()
			r.act(t)
			if hasData(api.secret.Data, before.Data) {
				t.Error("not renewed when it was possible again")
			}
		})
	}
}

func TestAPatchThatIsRefusedForGoodIsAnError(t *testing.T) {
	now, api := noon, newFakeAPI()
	api.makeSecret(now)
	api.register(1)
	r := api.replica(&now, 90*day)
	r.see()
	api.fail = func(verb, _ string) error {
		if verb == "patch" {
			return apierrors.NewInvalid(schema.GroupKind{Kind: "ValidatingWebhookConfiguration"}, "tokenward", nil)
		}
		return nil
	}
	if err := r.step(context.Background()); err != nil {
		t.Errorf("it may have changed meanwhile: %v", err)
	}
	if err := r.step(context.Background()); !apierrors.IsInvalid(err) {
		t.Errorf("got %v", err)
	}
}

// Three replicas over twenty-five lives of a certificate, with everything that can
// go wrong: watches late by more than a step, writes that fail or meet another's,
// restarts, a Secret deleted, made again and scribbled over, caBundle emptied. At any time
// whatever a ready replica serves is trusted by caBundle, as an API server that
// lags behind has it, too.
func TestThroughAllFaultsWhatIsServedIsTrusted(t *testing.T) {
	const (
		lifetime = 1000 * time.Second
		tick     = 10 * time.Second // an API server lags three of these; to settle takes five
		ticks    = 2500
		lag      = 3
	)
	random := rand.New(rand.NewPCG(1, 2))
	chance := func(of float64) bool { return random.Float64() < of }
	now, api := noon, newFakeAPI()
	api.makeSecret(now)
	api.register(2)
	replicas := []*fakeReplica{api.replica(&now, lifetime), api.replica(&now, lifetime), api.replica(&now, lifetime)}
	broken := func(verb, _ string) error {
		if verb != "get" && chance(.2) {
			return errors.New("a write that fails")
		}
		return nil
	}
	var seen [][]byte // the last states of caBundle
	authorities, emptied := map[string]bool{}, 0
	for i := range ticks {
		now = now.Add(tick)
		switch n := random.IntN(1000); {
		case n < 5:
			api.secret = nil
		case n < 55 && api.secret == nil:
			api.makeSecret(now) // the release is upgraded
		case n >= 5 && n < 10 && api.secret != nil:
			key := []string{bundleKey, signerKey, servingCert, servingKey}[random.IntN(4)]
			api.secret.Data[key], api.secret.ResourceVersion = []byte("scribble"), api.next()
		case n >= 10 && n < 15 && api.secret != nil && now.Sub(api.secret.CreationTimestamp.Time) > 10*tick*5:
			// Where each replica has an authority of its own, each has to put it back.
			api.setBundle(nil)
			emptied++
			seen = nil
		case n < 25 && i > 100 && (api.secret == nil || parse(api.secret.Data).issuer(parse(api.secret.Data).serving, now) >= 0):
			replicas[random.IntN(3)] = api.replica(&now, lifetime)
		}
		for _, n := range random.Perm(3) {
			if chance(.5) {
				replicas[n].seeSecret()
			}
			if chance(.5) {
				replicas[n].seeConfiguration()
			}
			api.fail = broken
			_ = replicas[n].step(context.Background())
			api.fail = nil
		}
		if len(api.bundle()) == 0 {
			continue // it costs every request; it does not last, see below
		}
		if seen = append(seen, api.bundle()); len(seen) > lag {
			seen = seen[1:]
		}
		for _, r := range replicas {
			if r.Ready() != nil {
				continue
			}
			authorities[string(r.CA().Raw)] = true
			for _, bundle := range seen {
				trustsServed(t, r, bundle, now)
			}
		}
	}
	if api.secret == nil {
		api.makeSecret(now)
	}
	for _, r := range replicas {
		r.see()
		r.act(t)
		r.act(t)
		trustsServed(t, r, api.bundle(), now)
	}
	if len(authorities) < 8 || emptied < 5 {
		t.Errorf("only %d authorities, emptied %d times: the test shows little", len(authorities), emptied)
	}
	t.Logf("%d authorities, emptied %d times, %v", len(authorities), emptied, api.calls)
}
